"""What is said about series of measurements."""

from collections.abc import Sequence
from statistics import median, quantiles


def milliseconds(seconds: float) -> float:
    return round(1e3 * seconds, 1)


def percentile_95(seconds: Sequence[float]) -> float:
    return quantiles(seconds, n=20)[-1]


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Return median and 95th percentile, in milliseconds."""
    return {
        "median_ms": milliseconds(median(seconds)),
        "percentile_95_ms": milliseconds(percentile_95(seconds)),
    }
