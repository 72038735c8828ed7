"""Small models of every build: right answers and maps, or a refusal that names the reason."""

import numpy as np
import pytest

from camfleet_worker.signature import Signature
from camfleet_worker.split import split
from zoo.checks import check
from zoo.table import REFUSED, SMALL


@pytest.mark.parametrize("name", SMALL)
def test_a_small_model_is_cut_and_explained_right(name):
    check(SMALL[name])


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_that_cannot_be_explained_is_refused_with_the_reason(name):
    case = REFUSED[name]
    signature, probe = Signature(case.shape), np.zeros((2, *case.shape), np.float32)
    with pytest.raises(case.error, match=case.words):
        split(case.build(), signature, case.chosen, "auto", probe)
