"""Odd label configs, read as Label Studio's editor reads them."""

import pytest

from camfleet.errors import InvalidRequest
from camfleet.exports.label_config import parse_config

IMAGE = '<Image name="i" value="$image"/>'
NESTED = (
    '<Choices name="c" toName="i" allowNested="%s"><View><Choice value="pet" alias="p">'
    '<Choice value="cat"/><Choice value="hound" alias="dog"/></Choice></View>'
    '<Choice value="wolf"/><Choice value="wild"><Choice value="cat"/></Choice></Choices>'
)


def choices(tags):
    """Return the choices of a label config."""
    (control,) = parse_config(f"<View>{IMAGE}{tags}</View>").controls["Choices"]
    return control


def test_choices_within_others_are_none_as_in_the_editor():
    control = choices(NESTED % "false")
    assert [control.has(label) for label in ("cat", "dog", "wolf", "pet")] == [
        False, False, True, True
    ]  # fmt: skip


def test_nested_choices_are_left_alone():
    with pytest.raises(InvalidRequest, match="has none of Choices"):
        choices(NESTED % "true")


def test_choices_that_are_nested_without_end_are_read_in_time():
    deep = "<Choice value='x'>" * 20_000 + "<Choice value='y'/>" + "</Choice>" * 20_000
    control = choices(f'<Choices name="c" toName="i">{deep}</Choices>')
    assert control.has("x")
    assert not control.has("y")


def test_tags_are_known_in_any_case_as_in_the_editor():
    tags = '<choices name="c" toName="i"><CHOICE value="cat"/></choices>'
    config = parse_config(f"<view>{IMAGE.replace('Image', 'image')}{tags}</view>")
    assert (config.image, config.value.text) == ("i", "$image")
    assert config.control("Choices", "cat").kind == "choices"
