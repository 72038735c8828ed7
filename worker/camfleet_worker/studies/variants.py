"""An image with cells taken away, again and again, and what its class's probabilities mean."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from camfleet.contract.studies import Curves
from camfleet_worker.arrays import Array, Integers, Map
from camfleet_worker.pictures.fills import FILLS
from camfleet_worker.pictures.heat import normalise
from camfleet_worker.pictures.prepare import Box
from camfleet_worker.studies.cells import Cells, behind, generator


@dataclass(frozen=True)
class Variants:
    """All variants of one image: `pixels` as the model takes it, of which `shown` is the image.

    `relevance` is the signed map on the grid of `cells`, `steps` how many a curve has at most,
    `item_id` what random orders depend on.
    """

    pixels: Array
    shown: Box
    relevance: Map
    cells: Cells
    steps: int
    item_id: str

    def images(self) -> Iterator[Array]:
        """Yield the image, and what is made of it; `read` takes their probabilities in order."""
        yield self.pixels
        masks = self.masks()
        for make in FILLS.values():
            fill = make(self.pixels, self.shown)
            for order in self._orders():
                for size in self._sizes()[1:-1]:
                    yield self.cells.without(self.pixels, fill, order[:size])
            yield self.cells.without(self.pixels, fill, self.cells.visible)
            for mask in masks:
                yield behind(self.pixels, fill, mask)

    def read(self, probabilities: Sequence[float]) -> dict[str, Any]:
        """Return what the variants' probabilities say, as fields of a `RowFaithfulness`."""
        given = iter(probabilities)
        whole = next(given)
        inner = len(self._sizes()) - 2
        fills = {}
        for name in FILLS:
            curves = [[next(given) for _ in range(inner)] for _ in _ORDERS]
            empty, kept, shuffled = next(given), next(given), next(given)
            ends = {
                order: (whole, *curve, empty) for order, curve in zip(_ORDERS, curves, strict=True)
            }
            fills[name] = Curves(**ends, kept=kept, shuffled=shuffled)
        own, other = (self.cells.mean(mask) for mask in self.masks())
        steps = tuple(float(size) / len(self.cells.visible) for size in self._sizes())
        return {
            "probability": whole,
            "steps": steps,
            **fills,
            "mask_mean": own,
            "mask_shuffled": other,
        }

    def masks(self) -> tuple[Array, Array]:
        """Return the map as a mask, and one of the same cells in another order."""
        heat = normalise(self.relevance)
        other = self.cells.shuffled(heat, generator(self.item_id, "mask"))
        return self.cells.mask(heat), self.cells.mask(other)

    def _orders(self) -> tuple[Integers, ...]:
        """Return the orders in which cells are taken away, as `_ORDERS` names them."""
        most = self.cells.ranked(self.relevance)
        drawn = generator(self.item_id, "order").permutation(self.cells.visible)
        return most, most[::-1], drawn, self.cells.from_centre()

    def _sizes(self) -> list[int]:
        """Return how many cells are gone at each step: even steps, rounded half up."""
        count = len(self.cells.visible)
        sizes = np.arange(self.steps + 1) * count * 2 // self.steps
        return [int(size) for size in np.unique((sizes + 1) // 2)]


_ORDERS = ("most", "least", "random", "centre")
