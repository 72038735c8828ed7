"""Trained models by other people, as published."""

import pytest

from zoo.checks import check
from zoo.packages import PACKAGES

pytestmark = pytest.mark.zoo


@pytest.mark.parametrize("name", PACKAGES)
def test_a_published_model_is_cut_and_explained_right(name):
    check(PACKAGES[name])
