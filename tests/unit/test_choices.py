from typing import Annotated, Literal

import msgspec
import pytest

from camfleet.contract.choices import with_choices
from camfleet.contract.results import Status


class Inner(msgspec.Struct):
    kind: Literal["top", "above"] | None = None


class Outer(msgspec.Struct):
    side: Literal[160, 256] = 160
    status: tuple[Status, ...] = ()
    inner: Annotated[Inner, msgspec.Meta(description="of a field")] | None = None
    many: list[Inner] = []
    size: Annotated[int, msgspec.Meta(ge=1)] = 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"side": 250}, "Invalid enum value 250 - at `$.side`: there are 160, 256"),
        (
            {"status": ["okay"]},
            "Invalid enum value 'okay' - at `$.status[0]`: there are ok, no_evidence, failed",
        ),
        (
            {"inner": {"kind": "x"}},
            "Invalid enum value 'x' - at `$.inner.kind`: there are above, top",
        ),
        (
            {"many": [{}, {"kind": "x"}]},
            "Invalid enum value 'x' - at `$.many[1].kind`: there are above, top",
        ),
        ({"size": 0}, "Expected `int` >= 1 - at `$.size`"),
    ],
)
def test_an_error_lists_the_values_that_there_are(given, said):
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(given, Outer)
    assert with_choices(caught.value, Outer) == said


def test_a_value_by_itself_has_its_choices_too():
    kind = Literal["box", "rle"]
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert("circle", kind)
    assert with_choices(caught.value, kind) == "Invalid enum value 'circle': there are box, rle"
