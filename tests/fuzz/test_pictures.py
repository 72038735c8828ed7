"""Whatever is done to a picture: it's decoded or refused, within time and memory."""

import pytest
from hypothesis import given
from tests.fuzz.pictures import hostile_pictures, seeds
from tests.fuzz.runs import MARKS, examples
from tests.fuzz.targets import MAX_PIXELS, QUICK_SECONDS
from tests.fuzz.units import FORMS
from tests.fuzz.victim import Limits, victim

pytestmark = MARKS

# docs/operating.md, Memory: 16 N bytes and three times the file; and what the allocator keeps.
MIB = 16 * MAX_PIXELS / 2**20 + 40
PATIENCE = 3  # times the bound of a worker's own decoding, on a machine that does other things too


@pytest.fixture(scope="module")
def here():
    with victim("pictures", Limits(QUICK_SECONDS * PATIENCE, MIB, per_byte=3)) as made:
        yield made


@pytest.fixture(scope="module")
def apart():
    with victim("decoders", Limits(8, MIB, per_byte=3)) as made:
        yield made


@pytest.mark.parametrize("kind", FORMS)
def test_a_picture_that_nobody_has_changed_is_decoded(kind, here, apart):
    for key, units in seeds().items():
        if key[0] == kind:
            data = FORMS[kind].join(list(units))
            assert here.attack(data).taken, key
            assert apart.attack(data).taken, key


@pytest.mark.parametrize("kind", FORMS)
def test_no_picture_does_harm_to_a_worker(kind, here):
    @examples(100)
    @given(hostile_pictures(kind))
    def attack(data):
        here.attack(data)

    attack()


@pytest.mark.parametrize("kind", FORMS)
def test_every_picture_is_decoded_or_refused_in_time(kind, apart):
    @examples(20)
    @given(hostile_pictures(kind))
    def attack(data):
        apart.attack(data)

    attack()
