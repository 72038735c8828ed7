"""Objects of Azure's and Google's stores, which are read only, through obstore.

Which credentials are used is said by the environment, in the variables of these clouds, and exactly
once: where none are named, or several kinds of them, nothing is tried. In particular no file of the
home folder is looked for, and no server of the machine is asked who it is, unless
CAMFLEET_MACHINE_IDENTITY says so.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from camfleet.errors import (
    AccessDenied,
    CamfleetError,
    InvalidRequest,
    ObjectMissing,
    SourceUnreachable,
)
from camfleet.settings import Settings
from camfleet.storage.errors import status_in
from camfleet.storage.obstore import Stores, at_home, stored
from camfleet.storage.place import Place, StoredObject, split_uri

if TYPE_CHECKING:
    from obstore.store import AzureStore, ClientConfig, GCSStore

_TRUE = ("1", "true", "yes", "on")
_DENIED = (401, 403)
_CONTAINER = re.compile(r"\$?[a-z0-9][a-z0-9._-]{1,221}")


@dataclass(frozen=True)
class Cloud:
    """One of the clouds: `kinds` of credentials, each with the variables that it takes."""

    name: str
    account: tuple[str, ...]  # variables that it takes in any case
    kinds: Mapping[str, tuple[str, ...]]
    public: str  # the variable that says that nothing is signed
    endpoint: str  # the variable of another address


AZURE: Final = Cloud(
    name="Azure",
    account=("AZURE_STORAGE_ACCOUNT_NAME",),
    kinds={
        "access_key": ("AZURE_STORAGE_ACCOUNT_KEY",),
        "sas_token": ("AZURE_STORAGE_SAS_TOKEN",),
        "client_secret": ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_ID", "AZURE_TENANT_ID"),
        "workload_identity": ("AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_ID", "AZURE_TENANT_ID"),
    },
    public="AZURE_SKIP_SIGNATURE",
    endpoint="AZURE_STORAGE_ENDPOINT",
)
GOOGLE: Final = Cloud(
    name="Google Cloud",
    account=(),
    kinds={
        "service_account": ("GOOGLE_SERVICE_ACCOUNT",),
        "service_account_key": ("GOOGLE_SERVICE_ACCOUNT_KEY",),
        "application_credentials": ("GOOGLE_APPLICATION_CREDENTIALS",),
    },
    public="GOOGLE_SKIP_SIGNATURE",
    endpoint="GOOGLE_BASE_URL",
)
CLOUDS: Final = {"az": AZURE, "gs": GOOGLE}


class Clouds:
    """Reads objects at `az://container/key` and `gs://bucket/key`; safe to share by threads.

    `seconds` limits the wait for an answer to begin and to continue, `longest` that for all of it.
    """

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str] = os.environ,
        *,
        seconds: float = 15,
        longest: float = 300,
    ) -> None:
        self._machine = settings.machine_identity
        self._environ = environ
        self._seconds = seconds
        self._longest = longest
        self._stores: Stores[tuple[str, str], AzureStore | GCSStore] = Stores()

    def get(self, uri: str, *, limit: int | None = None) -> StoredObject:
        """Return an object's bytes; raise `ObjectMissing` or, before reading, `ObjectTooLarge`.

        `AccessDenied`: refused, or there are no credentials. `InvalidRequest`: no such URI.
        `SourceUnreachable`: no answer, or one that the cloud itself is to blame for.
        """
        scheme = uri.partition("://")[0]
        if scheme not in CLOUDS:
            raise InvalidRequest(f"{uri!r} begins neither with az:// nor with gs://")
        cloud = CLOUDS[scheme]
        bucket, key = split_uri(uri, scheme)
        place = Place(cloud.name, bucket, key, own=False, scheme=scheme)
        if not _CONTAINER.fullmatch(bucket) or "" in key.split("/"):
            raise InvalidRequest(f"{uri!r} can't be an object of {cloud.name}")
        if not at_home():
            raise SourceUnreachable(f"{uri}: this process was forked by one that reads objects")
        with _errors(cloud, place):
            return stored(self._store(cloud, place).get(key), place, limit)

    def _store(self, cloud: Cloud, place: Place) -> "AzureStore | GCSStore":
        name = (place.scheme, place.bucket)
        return self._stores.get(name, lambda: self._make_store(cloud, place))

    def _make_store(self, cloud: Cloud, place: Place) -> "AzureStore | GCSStore":
        from obstore.store import AzureStore, GCSStore

        kind = credentials(cloud, self._environ, machine=self._machine)
        make: Any = AzureStore if cloud is AZURE else GCSStore
        typed = {"credential_type": kind} if cloud is AZURE and kind != "public" else {}
        with _unusable(cloud, kind, place):
            return make(  # type: ignore[no-any-return]
                place.bucket,
                client_options=self._options(cloud),
                retry_config={
                    "max_retries": 1,
                    "retry_timeout": timedelta(seconds=self._seconds / 3),
                },
                **typed,
            )

    def _options(self, cloud: Cloud) -> "ClientConfig":
        plain = self._environ.get(cloud.endpoint, "").startswith("http://")
        return {
            "allow_http": plain,
            "connect_timeout": timedelta(seconds=min(5, self._seconds)),
            "read_timeout": timedelta(seconds=self._seconds),
            "timeout": timedelta(seconds=self._longest),
        }


def credentials(cloud: Cloud, environ: Mapping[str, str], *, machine: bool) -> str:
    """Return the one kind of credentials that the environment names, or `public` for none.

    `machine`: the machine's own identity, where no other is named. Raises `AccessDenied`.
    """
    for name in cloud.account:
        if not environ.get(name):
            raise AccessDenied(f"{cloud.name} needs {name}, which isn't set")
    if environ.get(cloud.public, "").lower() in _TRUE:
        return "public"
    named = [kind for kind, names in cloud.kinds.items() if environ.get(names[0])]
    choice = environ.get("AZURE_CREDENTIAL_TYPE", "") if cloud is AZURE else ""
    if len(named) > 1 and choice not in named:
        variables = " and ".join(cloud.kinds[kind][0] for kind in named)
        way_out = " or AZURE_CREDENTIAL_TYPE says which" if cloud is AZURE else ""
        raise AccessDenied(
            f"{variables} are several credentials for {cloud.name}: take all but one away{way_out}"
        )
    if not named and machine:
        return "managed_identity"
    if not named:
        variables = ", ".join(names[0] for names in cloud.kinds.values())
        raise AccessDenied(
            f"there are no credentials for {cloud.name}: set one of {variables}; {cloud.public}="
            "true for what is public, or CAMFLEET_MACHINE_IDENTITY=1 for the machine's own"
        )
    kind = choice if len(named) > 1 else named[0]
    lacking = [name for name in cloud.kinds[kind] if not environ.get(name)]
    if lacking:
        raise AccessDenied(
            f"{cloud.kinds[kind][0]} needs {' and '.join(lacking)} beside it for {cloud.name}"
        )
    return kind


@contextmanager
def _unusable(cloud: Cloud, kind: str, place: Place) -> Iterator[None]:
    """Translate what says that credentials can't be read; the text might quote them."""
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, ValueError, OSError) as error:
        variables = ", ".join(cloud.kinds.get(kind, (kind,)))
        raise AccessDenied(
            f"{place}: the credentials for {cloud.name} can't be used ({variables}): "
            f"{type(error).__name__}"
        ) from None


@contextmanager
def _errors(cloud: Cloud, place: Place) -> Iterator[None]:
    """Translate what obstore raises; the texts of clouds are not shown."""
    from obstore.exceptions import (
        BaseError,
        GenericError,
        PermissionDeniedError,
        UnauthenticatedError,
    )

    try:
        yield
    except AccessDenied as error:
        named = f"{error}" if str(place) in str(error) else f"{place}: {error}"
        raise AccessDenied(named) from error
    except CamfleetError:
        raise
    except FileNotFoundError as error:
        raise ObjectMissing(f"{place} does not exist, nor perhaps its container") from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise AccessDenied(f"{place}: {cloud.name} refuses these credentials") from error
    except GenericError as error:
        raise _answered(cloud, place, status_in(str(error))) from error
    except (BaseError, ValueError) as error:
        raise InvalidRequest(f"{place} can't be read: {type(error).__name__}") from error


def _answered(cloud: Cloud, place: Place, status: int | None) -> CamfleetError:
    if status in _DENIED:
        return AccessDenied(f"{place}: {cloud.name} refuses these credentials ({status})")
    if status is not None and 400 <= status < 500 and status not in (408, 429):
        return InvalidRequest(f"{place}: {cloud.name} answers {status}")
    said = f"answers {status}" if status else "doesn't answer"
    return SourceUnreachable(f"{place}: {cloud.name} {said}")
