"""What needs an extra of the package: imported late, and missed by name."""

from typing import TYPE_CHECKING

from camfleet.errors import ConfigurationError
from camfleet.storage.storage import Storage

if TYPE_CHECKING:
    from camfleet.audit.photographs import Ask
    from camfleet.audit.reporting import Reporter
    from camfleet.audit.studies import asking


def reporter(storage: Storage, ask: "Ask", study: "asking.Ask") -> "Reporter":
    """Return what makes reports; raise `ConfigurationError` without the extra `report`."""
    try:
        from camfleet.audit.reporting import Reporter
    except ImportError as error:
        raise ConfigurationError(
            f"reports need {error.name}, which comes with camfleet's extra `report`"
        ) from error
    return Reporter(storage, ask, study)
