"""Whatever is done to a picture: it's opened or refused, within time and memory."""

import pytest
from hypothesis import given
from tests.fuzz.pictures import hostile_pictures, seeds
from tests.fuzz.runs import MARKS, examples
from tests.fuzz.targets import MAX_PIXELS
from tests.fuzz.units import FORMS
from tests.fuzz.victim import Limits, victim

pytestmark = MARKS

# docs/operating.md, Memory: 16 N bytes and three times the file; and what the allocator keeps.
LIMITS = Limits(seconds=8, mib=16 * MAX_PIXELS / 2**20 + 40, per_byte=3)


@pytest.fixture(scope="module")
def attacked():
    with victim("pictures", LIMITS) as made:
        yield made


@pytest.mark.parametrize("kind", FORMS)
def test_a_picture_that_nobody_has_changed_is_opened(kind, attacked):
    for key, units in seeds().items():
        if key[0] == kind:
            assert attacked.attack(FORMS[kind].join(list(units))).taken, key


@pytest.mark.parametrize("kind", FORMS)
def test_no_picture_does_harm(kind, attacked):
    @examples(400)
    @given(hostile_pictures(kind))
    def attack(data):
        attacked.attack(data)

    attack()
