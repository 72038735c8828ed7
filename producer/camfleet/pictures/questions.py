"""What workers are asked for the sake of pictures."""

from typing import Protocol

from camfleet.contract.messages import ErrorInfo, RenderRequest, ThumbnailsRequest


class Questions(Protocol):
    """Questions to workers; each returns why there's no picture, or None, and may time out."""

    def render(self, request: RenderRequest, timeout: float) -> tuple[ErrorInfo | None, ...]:
        """Draw maps of a results part."""

    def thumbnails(
        self, request: ThumbnailsRequest, timeout: float
    ) -> tuple[ErrorInfo | None, ...]:
        """Make small pictures of images."""
