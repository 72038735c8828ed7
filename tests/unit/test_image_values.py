"""What a label config's image shows of a task, as `parseValue` of Label Studio's editor has it."""

import tracemalloc

import pytest

from camfleet.errors import InvalidRequest
from camfleet.exports.image_value import ImageValue
from camfleet.exports.label_config import parse_config

CHOICES = '<Choices name="c" toName="i"><Choice value="cat"/></Choices>'


@pytest.mark.parametrize(
    ("text", "data", "place"),
    [
        ("$image", {"image": "s3://b/a.jpg"}, "s3://b/a.jpg"),
        ("http://x/$image", {"image": "a.jpg"}, "http://x/a.jpg"),
        ("http://x/$image?w=9", {"image": "a.jpg"}, "http://x/a.jpg?w=9"),
        ("$image/full.jpg", {"image": "s3://b/7"}, "s3://b/7/full.jpg"),
        ("s3://b/$number/full.jpg", {"number": 7}, "s3://b/7/full.jpg"),
        ("$folder/$file", {"folder": "s3://b", "file": "a.jpg"}, "s3://b/a.jpg"),
        ("s3://b/$file-$file", {"file": "a"}, "s3://b/a-a"),
        ("$meta.image", {"meta": {"image": "s3://b/a.jpg"}}, "s3://b/a.jpg"),
        ("$meta.image", {"meta.image": "s3://b/a.jpg"}, "s3://b/a.jpg"),
        ("$pages[1].url", {"pages": [{}, {"url": "s3://b/a.jpg"}]}, "s3://b/a.jpg"),
        ("http://x/$meta.image", {"meta": {"image": "a.jpg"}}, "http://x/a.jpg"),
        ("$image", {"image": ["a"]}, ["a"]),  # which names no image, as is said elsewhere
    ],
)
def test_a_value_shows_what_the_editor_shows(text, data, place):
    assert ImageValue(text).place(data) == place


@pytest.mark.parametrize(
    ("text", "data", "message"),
    [
        ("$image", {"picture": "a"}, "no 'image', which the label config shows"),
        ("http://x/$image", {}, "no 'image'"),
        ("http://x/$image.jpg", {"image": "a"}, "no 'image.jpg'"),
        ("$meta.image", {"meta": "s3://b/a.jpg"}, "no 'meta.image'"),
        ("$pages[2]", {"pages": ["a", "b"]}, r"no 'pages\[2\]'"),
        ("$pages[x]", {"pages": ["a", "b"]}, r"no 'pages\[x\]'"),
        ("http://x/$image", {"image": ["a"]}, "'image' is neither a text nor a whole number"),
        ("http://x/$image", {"image": True}, "'image' is neither"),
        ("http://x/$image", {"image": 10**5000}, "'image' is neither"),
    ],
)
def test_what_a_task_lacks_is_named(text, data, message):
    with pytest.raises(InvalidRequest, match=message):
        ImageValue(text).place(data)
    assert ImageValue(text).place_or_none(data) is None


def test_an_address_is_too_long_before_it_takes_memory():
    value, data = ImageValue("$a," * 1000), {"a": "x" * 4000}
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequest, match="an address of 4001000 characters: 4096 are"):
            value.place(data)
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()
    assert len(value.place({"a": "xyz"})) == 4000


def test_a_value_longer_than_any_address_is_refused():
    with pytest.raises(InvalidRequest, match="value in the label config has 4098 characters"):
        parse_config(f'<View><Image name="i" value="{"$a" * 2049}"/>{CHOICES}</View>')


@pytest.mark.parametrize(
    ("text", "place", "data"),
    [
        ("$image", "s3://b/a.jpg", {"image": "s3://b/a.jpg"}),
        ("http://x/$image", "http://x/a/b.jpg", {"image": "a/b.jpg"}),
        ("http://x/$image?w=9", "http://x/a.jpg?w=9", {"image": "a.jpg"}),
        ("$meta.image", "s3://b/a.jpg", {"meta": {"image": "s3://b/a.jpg"}}),
        ("s3://b/$pages[0].url", "s3://b/a.jpg", {"pages": [{"url": "a.jpg"}]}),
    ],
)
def test_a_task_is_made_whose_data_shows_an_image(text, place, data):
    assert ImageValue(text).data(place) == data
    assert ImageValue(text).place(data) == place


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("http://x/$image", "s3://b/a.jpg", r"http://x/\$image.*s3://b/a.jpg isn't of that form"),
        ("http://x/$image", "http://x/", "isn't of that form: --root and --prefix"),
        ("ab$image", "a", "isn't of that form"),
        ("aba$image?aba", "aba?aba", "isn't of that form"),
        ("$folder/$file", "s3://b/a.jpg", "folder and which file: make the tasks in Label Studio"),
        ("$pages[1]", "s3://b/a.jpg", "one of several images of a task"),
        ("$[0]", "s3://b/a.jpg", "names no data of a task"),
        ("$a" + ".b" * 50, "s3://b/a.jpg", "51 levels deep in a task's data: 50 are the most"),
        ("$a" + "[0]" * 1300, "s3://b/a.jpg", "1301 levels deep"),
    ],
)
def test_where_no_data_shows_an_image_the_way_out_is_said(text, place, message):
    with pytest.raises(InvalidRequest, match=message):
        ImageValue(text).data(place)


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ('value="http://x/a.jpg"', r"but 'http://x/a.jpg' for all tasks: say \$image"),
        ('value="image"', r"but 'image' for all tasks: say \$image"),
        ('value="$images[{{idx}}]"', "a repeated one"),
        ('value="http://x/{{idx}}/$image"', "a repeated one"),
        ('valueList="$pages"', "several pages"),
        ("", r'has no <Image name="..." value="\$..."'),
    ],
)
def test_an_image_that_is_of_no_task_is_refused_by_its_name(tag, message):
    with pytest.raises(InvalidRequest, match=message):
        parse_config(f'<View><Image name="i" {tag}/>{CHOICES}</View>')
