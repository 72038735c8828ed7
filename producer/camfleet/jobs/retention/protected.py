"""Jobs that something besides its owner needs, and what that is, in words."""

from camfleet.reviews.protected import protected_jobs

__all__ = ["protected_jobs"]
