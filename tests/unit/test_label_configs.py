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


def test_images_and_controls_without_end_are_read_in_time():
    images = "".join(f'<Image name="i{number}" value="$a"/>' for number in range(15_000))
    controls = '<Choices name="c" toName="other"/>' * 15_000
    with pytest.raises(InvalidRequest, match=r"for the image 'i0' or 'i1' or 'i2'$"):
        parse_config(f"<View>{images}{controls}</View>")


def test_more_controls_than_anybody_has_are_refused():
    control = '<Choices name="c" toName="i,i"><Choice value="x"/></Choices>'
    assert len(parse_config(f"<View>{IMAGE}{control * 100}</View>").controls["Choices"]) == 100
    with pytest.raises(InvalidRequest, match="has 101 controls for the image 'i': 100 are"):
        parse_config(f"<View>{IMAGE}{control * 101}</View>")


def test_tags_are_known_in_any_case_as_in_the_editor():
    tags = '<choices name="c" toName="i"><CHOICE value="cat"/></choices>'
    config = parse_config(f"<view>{IMAGE.replace('Image', 'image')}{tags}</view>")
    assert (config.image, config.value.text) == ("i", "$image")
    assert config.control("Choices", "cat").kind == "choices"
