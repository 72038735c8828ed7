"""How unlike two maps of one image are: arrays in, arrays out.

`p` and `q` are shares of heat on a common grid, (N, h, w) each, that sum to 1.
"""

import numpy as np

from camfleet.audit.heat import Doubles, bits


def jensen_shannon(p: Doubles, q: Doubles) -> Doubles:
    """Return the Jensen-Shannon divergence in bits, (N,): 0 for equal ones, 1 where none is shared.

    Lin 1991, "Divergence measures based on the Shannon entropy".
    """
    return np.asarray(np.clip(bits((p + q) / 2) - (bits(p) + bits(q)) / 2, 0, 1))


def similarity(p: Doubles, q: Doubles) -> Doubles:
    """Return how much heat is common, (N,): 1 minus the total variation distance."""
    return np.asarray(np.minimum(p, q).sum(axis=(1, 2)))


def centre_distance(p: Doubles, q: Doubles) -> Doubles:
    """Return how far the centres of heat lie apart, (N,), in sides of the picture."""
    apart = [_centre(p, axis) - _centre(q, axis) for axis in (1, 2)]
    return np.asarray(np.hypot(*apart))


def transport_distance(p: Doubles, q: Doubles) -> Doubles:
    """Return by how much heat moved along the axes, (N,), in sides of the picture.

    That is the norm of the Wasserstein distances of both marginals: never more than the earth
    mover's distance, and never less than that of the centres.
    """
    apart = []
    for axis in (1, 2):
        rest = 3 - axis
        steps = np.cumsum((p - q).sum(axis=rest), axis=1)
        apart.append(np.abs(steps).sum(axis=1) / p.shape[axis])
    return np.asarray(np.hypot(*apart))


def _centre(shares: Doubles, axis: int) -> Doubles:
    size = shares.shape[axis]
    places = (np.arange(size) + 0.5) / size
    return np.asarray(shares.sum(axis=3 - axis) @ places)
