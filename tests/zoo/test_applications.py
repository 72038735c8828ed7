"""The families of keras.applications."""

import pytest

from zoo.applications import FAMILIES
from zoo.checks import check

pytestmark = pytest.mark.zoo


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_of_keras_applications_is_cut_and_explained_right(name):
    check(FAMILIES[name])
