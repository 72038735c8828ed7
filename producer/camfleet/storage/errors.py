"""What the exceptions of boto3 and obstore mean, in camfleet's errors.

A problem with the settings' own bucket is never the fault of an object in it: a missing bucket
and refused credentials are `StorageUnavailable` there, and the caller's fault in any other.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from camfleet.errors import (
    AccessDenied,
    CamfleetError,
    InvalidRequest,
    ObjectChanged,
    ObjectDamaged,
    ObjectMissing,
    OperationUnsupported,
    StorageUnavailable,
)
from camfleet.storage.place import AMAZON, Place

_MISSING = {"404", "NoSuchKey", "NotFound"}
_DENIED = {
    "401",
    "403",
    "AccessDenied",
    "AllAccessDisabled",
    "Forbidden",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
}
_STALE = {"ExpiredToken", "InvalidToken", "RequestExpired"}
_SKEWED = "RequestTimeTooSkewed"
_PASSING = {408, 409, 425, 429}  # timeouts, concurrent writes, throttling
_UNKNOWN = 501

# What botocore raises where it looks for credentials, and before it asks the store for anything.
_SEARCH = (
    "ConfigNotFound",
    "ConfigParseError",
    "CredentialRetrievalError",
    "InfiniteLoopConfigError",
    "InvalidConfigError",
    "LoginError",
    "MetadataRetrievalError",
    "MissingDependencyException",
    "PartialCredentialsError",
    "ProfileNotFound",
    "RefreshWithMFAUnsupportedError",
    "SSOError",
    "TokenRetrievalError",
    "UnknownCredentialError",
)
_SOURCES = ("AssumeRole", "GetRoleCredentials", "CreateToken", "CreateOAuth2Token")

_STATUS = re.compile(r"Server returned non-2xx status code: (\d{3})")
_KIND = re.compile(r"HttpError \{\s+kind: (\w+)")
_DISTRUST = re.compile(r"InvalidCertificate\(\s+(\w+?)(?:Context)?\b")  # rustls' words
_DEBUG = "\n\nDebug source:"


class NotHandled(Exception):
    """obstore can't do or explain this: fall back to boto3, `always` for the whole bucket."""

    def __init__(self, *, always: bool = False) -> None:
        super().__init__()
        self.always = always


@contextmanager
def boto_errors(place: Place) -> Iterator[None]:
    """Translate what boto3 raises."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        NoCredentialsError,
        ParamValidationError,
        SSLError,
    )

    try:
        yield
    except ClientError as error:
        raise _ungiven(place, error) or _answered(place, error) from error
    except (ParamValidationError, UnicodeEncodeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InvalidRequest(f"{str(place)!r} can't be an S3 object: {reason}") from error
    except NoCredentialsError as error:
        raise _refused(place, "there are none") from error
    except SSLError as error:
        raise _distrusted(place, _why(error)) from error
    except (BotoCoreError, Boto3Error) as error:
        raise _failed(place, error) from error
    except OSError as error:  # of a local file: botocore wraps those of the network
        raise StorageUnavailable(f"{place}: {error}") from error


@contextmanager
def obstore_errors(place: Place) -> Iterator[None]:
    """Translate what obstore raises, or raise `NotHandled`.

    Its exceptions carry text only, and some of them quote the key, which anybody may choose. So
    the class counts first, and text only where no key stands before it.
    """
    from obstore.exceptions import AlreadyExistsError, BaseError, GenericError, PreconditionError

    try:
        yield
    except FileNotFoundError as error:
        text = _text(error).removeprefix(f"Object at location {place.key} not found: ")
        raise _missing(place, no_bucket="<Code>NoSuchBucket<" in text) from error
    except (AlreadyExistsError, PreconditionError) as error:
        raise _conflict(place, _text(error)) from error
    except GenericError as error:
        raise _generic(place, str(error)) from error
    except (BaseError, ValueError) as error:  # refused, no credentials; a key it can't take
        raise NotHandled from error


def _ungiven(place: Place, error: Any) -> StorageUnavailable | None:
    """Return what it means if it's not the store that answers, but who gives credentials."""
    asked: str = error.operation_name
    if not asked.startswith(_SOURCES):
        return None
    code = error.response.get("Error", {}).get("Code")
    return _without_credentials(place, f"{asked} is answered with {code}")


def _answered(place: Place, error: object) -> CamfleetError:
    """Return what boto3's `ClientError` means."""
    response = getattr(error, "response", {})
    code = response.get("Error", {}).get("Code", "")
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    if code in _MISSING or code == "NoSuchBucket":
        return _missing(place, no_bucket=code == "NoSuchBucket")
    if code in _DENIED:
        return _refused(place, code)
    own: dict[object, CamfleetError] = {
        _SKEWED: _skewed(place),
        412: _changed(place),
        416: ObjectDamaged(f"{place} ends before what was asked of it"),
        _UNKNOWN: OperationUnsupported(f"{place}: {error}"),
    }
    if code in own or status in own:
        return own[code if code in own else status]
    if status >= 500 or status in _PASSING or code in _STALE:
        return StorageUnavailable(f"{place}: {error}")
    return InvalidRequest(f"{place}: the object store refuses this: {error}")


def _failed(place: Place, error: Exception) -> StorageUnavailable:
    """Return what an error of boto3 means that isn't the store's answer."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    known: dict[str, str] = getattr(error, "kwargs", {})
    if kinds.intersection(_SEARCH):
        quoting = "error_msg" in known  # another program's words, perhaps a secret
        reason = f"{known.get('provider')} failed" if quoting else str(error)
        return _without_credentials(place, f"{type(error).__name__}: {reason}"[:300])
    asked = urlsplit(str(known.get("endpoint_url") or "")).netloc.lower()
    if asked and not _is_store(place.host, asked):
        return _without_credentials(place, f"no answer from {asked}")
    return _unanswered(place, type(error).__name__)


def _is_store(host: str, asked: str) -> bool:
    """Return whether a request to `asked` went to the store, and not to where credentials are."""
    return asked.endswith(host.lower()) or (host == AMAZON and ".s3" in f".{asked}")


def status_in(text: str) -> int | None:
    """Return the status of an answer that obstore's `GenericError` tells of."""
    found = _STATUS.search(text)
    return int(found[1]) if found else None


def _generic(place: Place, text: str) -> Exception:
    """Return what obstore's `GenericError` means; its text quotes the URL, never the bare key."""
    status = status_in(text)
    kind = _KIND.search(text)
    distrust = _DISTRUST.search(text)
    if status is None and distrust:
        return _distrusted(place, distrust[1])
    if status is None and kind:
        return _unanswered(place, kind[1])
    if status is None:  # a redirect is the sign of another region, which boto3 finds
        return NotHandled(always="Received redirect" in text)
    if status in _PASSING or (status >= 500 and status != _UNKNOWN):
        return StorageUnavailable(f"{place}: the object store answers {status}")
    return NotHandled(always="<Code>AuthorizationHeaderMalformed<" in text)  # likewise


def _conflict(place: Place, text: str) -> CamfleetError:
    """Return why a write on a condition failed; such keys are our own."""
    if "status code: 409" in text:
        return StorageUnavailable(f"{place} is being written by another client right now")
    if "status code: 404" in text:
        return _missing(place, no_bucket="<Code>NoSuchBucket<" in text)
    return _changed(place)


def _missing(place: Place, *, no_bucket: bool) -> CamfleetError:
    if no_bucket and place.own:
        return StorageUnavailable(
            f"there is no bucket {place.bucket} at {place.host}: is CAMFLEET_BUCKET right? "
            "`camfleet setup` makes it"
        )
    return ObjectMissing(f"{place} does not exist" + (", nor its bucket" if no_bucket else ""))


def _refused(place: Place, reason: str) -> CamfleetError:
    way_out = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or profile and role"
    if place.own:
        refused = StorageUnavailable(
            f"{place}: {place.host} refuses these credentials for the bucket {place.bucket} of "
            f"CAMFLEET_BUCKET ({reason}); {way_out}"
        )
        refused.refused = True
        return refused
    return AccessDenied(
        f"{place}: the object store refuses these credentials ({reason}); {way_out}"
    )


def _skewed(place: Place) -> StorageUnavailable:
    return StorageUnavailable(
        f"{place}: the object store at {place.host} refuses what is signed now, as this machine's "
        "clock is too far from its own: set the clock, and let NTP keep it"
    )


def _changed(place: Place) -> ObjectChanged:
    return ObjectChanged(f"{place} is not, or not any more, what was expected there")


def _without_credentials(place: Place, reason: str) -> StorageUnavailable:
    """Return that nobody gives us credentials: the operator's fault, whatever the bucket."""
    return StorageUnavailable(
        f"{place}: there are no credentials for {place.host} at present ({reason}); check role, "
        "profile and tokens (AWS_ROLE_ARN, AWS_WEB_IDENTITY_TOKEN_FILE, AWS_PROFILE)"
    )


def _unanswered(place: Place, reason: str) -> StorageUnavailable:
    return StorageUnavailable(
        f"{place}: no answer from the object store at {place.host} ({reason}); is it running, and "
        "is CAMFLEET_S3_ENDPOINT right?"
    )


def _distrusted(place: Place, reason: str) -> StorageUnavailable:
    return StorageUnavailable(
        f"{place}: the certificate of the object store at {place.host} can't be trusted "
        f"({reason}), so nothing was sent; CAMFLEET_CA_FILE (or AWS_CA_BUNDLE) names the "
        "certificate authority"
    )


def _why(error: BaseException) -> str:
    """Return what a verification found, as deep down as it's known."""
    reason = str(error)
    cause: BaseException | None = error
    while cause is not None:
        reason = getattr(cause, "verify_message", reason)
        cause = cause.__cause__ or cause.__context__
    return reason


def _text(error: BaseException) -> str:
    return str(error).partition(_DEBUG)[0]
