"""Every setting of producer and worker: read once, from a mapping, here and nowhere else.

They stand in `setting_groups` by who reads them; docs/settings.md has a table for each group.
"""

import difflib
from collections.abc import Collection, Mapping
from dataclasses import Field, dataclass, fields
from typing import Any, Self

from camfleet import addresses, variables
from camfleet.errors import ConfigurationError
from camfleet.setting_groups import (
    GROUPS,
    ConnectionSettings,
    GatewaySettings,
    ProducerSettings,
    WatchingSettings,
    WorkerSettings,
)

__all__ = ["GROUPS", "PREFIX", "Settings", "variable"]

PREFIX = "CAMFLEET_"


@dataclass(frozen=True, kw_only=True)
class Settings(
    GatewaySettings, WatchingSettings, WorkerSettings, ProducerSettings, ConnectionSettings
):
    """All settings; `from_environ` reads them from variables named CAMFLEET_<FIELD>.

    Numbers of bytes may carry K, M, G or T. Booleans are 1/0, true/false, yes/no. A secret may also
    stand in the file that CAMFLEET_<FIELD>_FILE names.
    S3 credentials are read by boto3 itself (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, profiles).
    """

    def __post_init__(self) -> None:
        if self.redis_url:
            object.__setattr__(self, "redis_url", addresses.normalize(self.redis_url))
            self._check_sentinels()
        addresses.check_key_prefix(self.key_prefix)
        if self.s3_endpoint:
            addresses.check_endpoint(self.s3_endpoint, virtual=self.s3_addressing == "virtual")
        if self.ca_file:
            addresses.check_ca_file(self.ca_file)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Return the settings in `environ`; raise `ConfigurationError` naming a bad variable."""
        known = {variable(setting): setting for setting in fields(cls)}
        files = [f"{name}_FILE" for name, setting in known.items() if not setting.repr]
        _refuse_unknown(environ, {*known, *files})
        values: dict[str, Any] = {}
        for name, setting in known.items():
            text = environ.get(name, "")
            if not text and (path := environ.get(f"{name}_FILE")):
                text = variables.read_file(f"{name}_FILE", path)
            if text:
                values[setting.name] = variables.parse(name, text, setting)
            elif setting.metadata["required"]:
                raise ConfigurationError(
                    f"{name} is not set ({setting.metadata['doc']}): export it, or start a local "
                    "stack with `camfleet up` and source the file that it names"
                )
        variables.check_secret(values.get("webhook_secret", ""))
        variables.check_keys(values.get("signing_key", ""))
        variables.check_address("CAMFLEET_LABEL_STUDIO_URL", values.get("label_studio_url", ""))
        return cls(**values)

    def _check_sentinels(self) -> None:
        """Raise `ConfigurationError` unless there's a primary's name exactly for sentinels."""
        if addresses.is_sentinel(self.redis_url):
            if not self.sentinel_master:
                raise ConfigurationError(
                    "CAMFLEET_REDIS_URL names sentinels, but CAMFLEET_SENTINEL_MASTER isn't set: "
                    "it's the name by which they watch the primary, such as mymaster"
                )
        elif self.sentinel_master or self.sentinel_user or self.sentinel_password:
            raise ConfigurationError(
                "CAMFLEET_SENTINEL_MASTER, _USER and _PASSWORD are for sentinels, which "
                "CAMFLEET_REDIS_URL must name then: sentinel://HOST:PORT;HOST:PORT;HOST:PORT"
            )

    @property
    def signing_keys(self) -> tuple[str, ...]:
        return tuple(key.strip() for key in self.signing_key.split(",") if key.strip())

    def to_environ(self) -> dict[str, str]:
        """Return the variables that `from_environ` reads back as these settings."""
        return {
            variable(setting): variables.as_text(getattr(self, setting.name))
            for setting in fields(self)
        }


def variable(setting: "Field[Any]") -> str:
    return PREFIX + setting.name.upper()


def _refuse_unknown(environ: Mapping[str, str], known: Collection[str]) -> None:
    for name in environ:
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
            hint = f"did you mean {near[0]}? " if near else ""
            raise ConfigurationError(
                f"{name} is not a setting of camfleet; {hint}docs/settings.md lists them all"
            )
