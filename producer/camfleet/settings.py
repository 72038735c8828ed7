"""Every setting of producer and worker: read once, from a mapping, here and nowhere else.

They stand in groups by who reads them; docs/settings.md has a table for each group.
"""

import difflib
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from camfleet import addresses
from camfleet.errors import ConfigurationError

PREFIX = "CAMFLEET_"
_SECRET_BYTES = range(24, 65)
_KEY_CHARACTERS = 32
_S3_ROOT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,254}(?:/(?!\.{1,2}(?:/|$))[^/]+)*/?")
_UNITS = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def _setting(
    doc: str,
    default: Any = None,
    *,
    required: bool = False,
    least: int = 1,
    secret: bool = False,
    choices: tuple[str, ...] = (),
    part: Callable[[str], Any] = str,
) -> Any:
    metadata = {"doc": doc, "required": required, "least": least, "choices": choices, "part": part}
    return field(default=default, repr=not secret, metadata=metadata)


def _s3_root(text: str) -> str:
    if text != "*" and not _S3_ROOT.fullmatch(text):
        raise ConfigurationError(
            f"CAMFLEET_S3_ROOTS has {text!r}, which is neither `bucket` nor `bucket/prefix/` "
            "(without s3://, and an access point by its alias), nor `*`"
        )
    return text


# ruff: noqa: RUF009  # _setting is dataclasses.field with our metadata


@dataclass(frozen=True, kw_only=True)
class ConnectionSettings:
    """Read by producers and workers; give both the same values."""

    redis_url: str = _setting(
        "Redis or Valkey: broker, results and progress", "", required=True, secret=True
    )
    bucket: str = _setting("bucket for models, jobs and heatmaps", "", required=True)
    s3_endpoint: str = _setting("S3 endpoint URL; empty for Amazon's own", "")
    s3_region: str = _setting("S3 region", "us-east-1")
    ca_file: str = _setting(
        "PEM file of certificate authorities to trust besides the system's, for Redis "
        "(`rediss://`) and CAMFLEET_S3_ENDPOINT (`https://`)",
        "",
    )
    visibility_timeout: int = _setting(
        "seconds after which Redis hands an unfinished message to another worker; longer than "
        "the longest chunk takes",
        3600,
    )
    answer_expires: int = _setting("seconds that Redis keeps an interactive answer", 3600)
    job_expires: int = _setting(
        "seconds that Redis keeps a job's progress after the job's end", 2592000
    )
    fault_dir: str = _setting("folder of the fault suite's switches; empty for none", "")


@dataclass(frozen=True, kw_only=True)
class ProducerSettings:
    """Read by producers only."""

    chunk_size: int = _setting("images per chunk of a job, one message each", 256)


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """Read by workers only."""

    lease_seconds: float = _setting(
        "seconds after which a chunk whose worker has died runs again", 30.0
    )
    stop_seconds: float = _setting(
        "seconds that a worker keeps working after SIGTERM; unfinished chunks then go back to "
        "the queue",
        8.0,
        least=0,
    )
    stop_after_failed: int = _setting(
        "failed chunks in a row after which a worker takes no more work", 5
    )
    file_roots: tuple[Path, ...] = _setting(
        "folders that workers may read images from, separated by `:`; empty for no local files",
        (),
        part=lambda text: Path(text).resolve(),
    )
    s3_roots: tuple[str, ...] = _setting(
        "buckets and prefixes (`bucket`, `bucket/prefix/`) that workers may read images from "
        "besides CAMFLEET_BUCKET, separated by `:`; `*` for all that their credentials open",
        (),
        part=_s3_root,
    )
    allow_private_hosts: bool = _setting(
        "let workers fetch http(s) images from private and loopback addresses, and send "
        "callbacks there",
        default=False,
    )
    webhook_secret: str = _setting(
        "`whsec_...`, which workers sign callbacks with; without it they send none",
        "",
        secret=True,
    )
    signing_key: str = _setting(
        "secret of 32 characters or more, which workers sign converted models with; several, "
        "separated by commas, are all accepted, and the first signs",
        "",
        secret=True,
    )
    webhook_retry_seconds: float = _setting(
        "seconds before a callback's second attempt; later pauses are multiples of it", 5.0
    )
    max_image_bytes: int = _setting("largest image file, in bytes", 64 * 2**20)
    max_image_pixels: int = _setting("most pixels of an image, by its header", 100_000_000)
    decode_seconds: float = _setting("seconds of computing that decoding one image may take", 20.0)
    fetch_timeout: float = _setting("seconds for one image to arrive", 20.0)
    model_dir: Path = _setting(
        "folder where workers keep downloaded model files", Path("~/.cache/camfleet/models")
    )
    allow_custom_code: bool = _setting(
        "let workers run the code that a model card names (`custom_code`)", default=False
    )
    model_load_memory: int = _setting(
        "bytes of memory that the process which loads and converts a model may take", 8 * 2**30
    )
    model_load_seconds: float = _setting(
        "seconds that the process which loads and converts a model may take", 300.0
    )
    model_cache_bytes: int = _setting(
        "bytes of weights that one process keeps in memory", 4 * 2**30
    )
    batch_size: int = _setting("images per forward pass in a job", 16)
    concurrency: int = _setting("chunks that one worker process runs side by side", 4)
    interactive_concurrency: int = _setting(
        "interactive requests that one worker process runs side by side", 16
    )
    io_threads: int = _setting("threads that download and upload", 8)
    cpu_threads: int = _setting(
        "threads that models compute with, and as many that decode and render; 0 for one per core",
        0,
        least=0,
    )
    engine: str = _setting(
        "what models compute in: `openvino`, `tensorflow`, or `auto`, which is OpenVINO where "
        "it's installed and there's no GPU",
        "auto",
        choices=("auto", "tensorflow", "openvino"),
    )
    mixed_precision: bool = _setting(
        "let GPUs compute partly in float16 (not measured)", default=False
    )
    xla: bool = _setting("let XLA compile models for GPUs (not measured)", default=False)


@dataclass(frozen=True, kw_only=True)
class WatchingSettings:
    """Read by workers, for whoever watches them."""

    log_format: str = _setting(
        "form of a worker's log lines: `text` or `json`", "text", choices=("text", "json")
    )
    metrics_port: int = _setting(
        "port where a worker answers Prometheus, one for each worker of a machine; 0 for none",
        0,
        least=0,
    )
    metrics_host: str = _setting("address that the metrics port listens on", "127.0.0.1")


GROUPS: dict[str, type] = {
    "connection": ConnectionSettings,
    "producer": ProducerSettings,
    "worker": WorkerSettings,
    "watching": WatchingSettings,
}


@dataclass(frozen=True, kw_only=True)
class Settings(WatchingSettings, WorkerSettings, ProducerSettings, ConnectionSettings):
    """All settings; `from_environ` reads them from variables named CAMFLEET_<FIELD>.

    Numbers of bytes may carry K, M, G or T. Booleans are 1/0, true/false, yes/no.
    S3 credentials are read by boto3 itself (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, profiles).
    """

    def __post_init__(self) -> None:
        if self.redis_url:
            object.__setattr__(self, "redis_url", addresses.normalize(self.redis_url))
        if self.s3_endpoint:
            addresses.check_endpoint(self.s3_endpoint)
        if self.ca_file:
            addresses.check_ca_file(self.ca_file)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Return the settings in `environ`; raise `ConfigurationError` naming a bad variable."""
        known = {variable(setting): setting for setting in fields(cls)}
        _refuse_unknown(environ, known)
        values: dict[str, Any] = {}
        for name, setting in known.items():
            text = environ.get(name, "")
            if text:
                values[setting.name] = _parse(name, text, setting)
            elif setting.metadata["required"]:
                raise ConfigurationError(
                    f"{name} is not set ({setting.metadata['doc']}): export it, or start a local "
                    "stack with `camfleet up` and source the file that it names"
                )
        _check_secret(values.get("webhook_secret", ""))
        _check_keys(values.get("signing_key", ""))
        return cls(**values)

    @property
    def signing_keys(self) -> tuple[str, ...]:
        return tuple(key.strip() for key in self.signing_key.split(",") if key.strip())

    def to_environ(self) -> dict[str, str]:
        """Return the variables that `from_environ` reads back as these settings."""
        return {variable(setting): as_text(getattr(self, setting.name)) for setting in fields(self)}


def variable(setting: "Field[Any]") -> str:
    return PREFIX + setting.name.upper()


def _refuse_unknown(environ: Mapping[str, str], known: Mapping[str, Any]) -> None:
    for name in environ:
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
            hint = f"did you mean {near[0]}? " if near else ""
            raise ConfigurationError(
                f"{name} is not a setting of camfleet; {hint}docs/settings.md lists them all"
            )


def _check_secret(text: str) -> None:
    """Raise `ConfigurationError` unless `text` is empty or a secret of Standard Webhooks."""
    prefix, _, code = text.partition("_")
    try:
        length = len(b64decode(code, validate=True))
    except ValueError:
        length = 0
    if text and not (prefix == "whsec" and length in _SECRET_BYTES):
        raise ConfigurationError(
            "CAMFLEET_WEBHOOK_SECRET is not of the form whsec_ and 24 to 64 bytes in base64: make "
            'one with echo "whsec_$(openssl rand -base64 32)"'
        )


def _check_keys(text: str) -> None:
    """Raise `ConfigurationError` unless all of the keys are long enough."""
    if text and min(map(len, map(str.strip, text.split(",")))) < _KEY_CHARACTERS:
        raise ConfigurationError(
            f"CAMFLEET_SIGNING_KEY has a key of less than {_KEY_CHARACTERS} characters: make one "
            "with openssl rand -base64 32; several are separated by commas"
        )


def as_text(value: object) -> str:
    """Return a setting's value as a variable holds it."""
    if isinstance(value, tuple):
        return ":".join(map(str, value))
    return str(int(value)) if isinstance(value, bool) else str(value)


def _parse(name: str, text: str, setting: "Field[Any]") -> Any:
    default = setting.default
    if isinstance(default, bool):
        return _boolean(name, text)
    if isinstance(default, int | float):
        return _number(name, text, type(default), setting.metadata["least"])
    if isinstance(default, Path):
        return Path(text)
    if isinstance(default, tuple):
        return tuple(setting.metadata["part"](part) for part in text.split(":") if part)
    return _word(name, text, setting.metadata["choices"])


def _word(name: str, text: str, choices: tuple[str, ...]) -> str:
    if choices and text not in choices:
        raise ConfigurationError(f"{name}={text!r} is none of {', '.join(choices)}")
    return text


def _boolean(name: str, text: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if text.lower() not in words:
        raise ConfigurationError(f"{name}={text!r} is neither 1 nor 0")
    return words[text.lower()]


def _number(name: str, text: str, kind: type[int] | type[float], least: int) -> float:
    unit = _UNITS.get(text[-1:].lower(), 1)
    try:
        value = kind(text[:-1] if unit > 1 else text) * unit
    except ValueError:
        raise ConfigurationError(
            f"{name}={text!r} is not a number; bytes may be written as 512M or 2G"
        ) from None
    if not value >= least:
        raise ConfigurationError(f"{name}={text!r}: at least {least}")
    return value
