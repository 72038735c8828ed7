"""Drawings of a report: curves say what their axes are."""

import re

import numpy as np

from camfleet.audit.reports import drawings
from camfleet.audit.studies.document import Estimate, FillFindings

NAMES = (
    *("deletion", "random", "centre", "gap_random", "gap_centre", "insertion", "better", "drop"),
    *("drop_shuffled", "increase", "increase_shuffled"),
)


def drawn(curves, steps):
    nothing = Estimate(value=0, low=0, high=0)
    found = FillFindings(**dict.fromkeys(NAMES, nothing), steps=steps, curves=curves)
    return str(drawings.curves(found))


def test_curves_have_figures_from_0_to_1_and_from_no_cells_to_all():
    steps = (0.0, 0.25, 1.0)
    page = drawn(((1.0, 0.5, 0.0), (1.0, 0.9, 0.0), (0.5, 0.5, 0.5), (0.0, 0.0, 0.0)), steps)
    texts = re.findall(r'<text x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]+)</text>', page)
    assert {text for *_, text in texts} == {
        *("0", "0.5", "1"),
        *("0 %", "50 %", "100 %", "cells filled"),
    }
    places = {text: (float(x), float(y)) for x, y, text in texts}
    most, _, flat, zero = (
        np.array([point.split(",") for point in points.split()], float)
        for points in re.findall(r'points="([^"]+)"', page)
    )
    assert [most[0, 0], most[-1, 0]] == [places["0 %"][0], places["100 %"][0]]
    middle = 4  # of a figure's height, below its line
    assert most[0, 1] == places["1"][1] - middle
    assert set(flat[:, 1]) == {places["0.5"][1] - middle}
    assert set(zero[:, 1]) == {places["0"][1] - middle}
    assert most[1, 0] == places["0 %"][0] + 0.25 * (places["100 %"][0] - places["0 %"][0])
