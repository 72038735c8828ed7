"""Names of pictures: readable, safe on every file system, and different for different pictures."""

import unicodedata

import pytest

from camfleet.pictures import names

ROW = {
    "item_id": "/photos/cat.png",
    "image_uri": "/photos/cat.png",
    "image_etag": "1",
    "model_id": "net",
    "target": "top:3",
    "rank": 0,
    "class_index": 285,
    "class_name": "Egyptian cat",
}
NASTY = [
    "../../etc/passwd",
    "..\\..\\boot.ini",
    "a/b/../c",
    "C:\\x",
    ".hidden",
    "...",
    "CON",
    "nul.txt",
    "aux",
    "a\0b",
    "line\nbreak\ttab",
    "\x1b[31mred",
    "e\u0301 \u202e\u200b\ufeff",
    "<script>\"'&;|`$()*?:",
    "",
    "   ",
    "-rf",
    "~",
    "x" * 5000,
    "\u00e4" * 3000,
    "\U0001f600" * 900,
    "\udcff",
    "日本語の写真",
    "https://[::1/x?y",
    "https://u:geheim@h/a%2f..%2fb.jpg?sig=geheim#x",
]


def picture(**changed):
    return names.of_picture({**ROW, **changed}, "key", ".overlay.jpg")


def test_a_name_says_image_rank_and_class():
    assert picture().startswith("cat-1-Egyptian_cat-")
    assert picture().endswith(".overlay.jpg")
    assert picture(rank=1, class_name=None).startswith("cat-2-class_285-")
    assert picture(target="not:cat").startswith("cat-1-not-Egyptian_cat-")
    with_model = names.of_picture(ROW, "key", ".jpg", with_model=True)
    assert with_model.startswith("cat-net-1-Egyptian_cat-")


@pytest.mark.parametrize(
    ("item", "uri", "name"),
    [
        ("patient 7/left", "s3://b/1.png", "left"),
        ("scan.v2", "s3://b/1.png", "scan"),
        ("17", "https://b/x/rose%20garden.jpg", "rose_garden"),
        ("17", "s3://b/x/50%20?#1.jpg", "50_20_1"),
        ("https://h/a/b.JPG?x=1", "https://h/a/b.JPG?x=1", "b"),
        ("17", "https://h/", "_"),
        ("17", "https://h", "_"),
        ("17", "https://[::1/a.png", "a"),
    ],
)
def test_an_image_is_called_by_its_id_or_else_by_its_file(item, uri, name):
    assert names.of_image({**ROW, "item_id": item, "image_uri": uri}) == name


@pytest.mark.parametrize("text", NASTY, ids=ascii)
@pytest.mark.parametrize("field", ["item_id", "class_name", "image_uri", "model_id"])
def test_no_name_leaves_its_folder_or_is_one_that_a_system_refuses(field, text):
    row = {**ROW, field: text} | ({"item_id": text} if field == "image_uri" else {})
    made = (
        names.of_picture(row, "key", ".overlay.jpg", with_model=True),
        names.of_original(row),
        names.of_photograph(row),
    )
    for name in made:
        assert len(name.encode()) < 240
        assert unicodedata.normalize("NFC", name) == name
        assert not set(name) & set('/\\:*?"<>|\0\n\r\t ')
        assert all(unicodedata.category(sign)[0] in "LNMP" for sign in name)
        first = name.partition(".")[0]
        assert first
        assert first[0] != "-"
        assert first.upper() not in {"CON", "NUL", "AUX", "PRN", "COM1", "LPT1"}
        assert "geheim" not in name


def test_different_pictures_have_different_names_where_case_is_ignored_too():
    rows = [
        {**ROW, "item_id": "CAT", "class_name": "A"},
        {**ROW, "item_id": "cat", "class_name": "a"},
        {**ROW, "item_id": "c?t", "class_name": "a"},
        {**ROW, "item_id": "c*t", "class_name": "a"},
        {**ROW, "item_id": "x" * 500 + "1"},
        {**ROW, "item_id": "x" * 500 + "2"},
    ]
    made = {
        unicodedata.normalize("NFD", names.of_picture(row, number, ".jpg")).casefold()
        for number, row in enumerate(rows)
    }
    assert len(made) == len(rows)


def test_a_copy_of_a_photograph_has_no_other_suffix_than_an_images():
    assert names.of_original(ROW).endswith(".png")
    for odd in ("a.html", "a.exe", "a", "a.tar.gz", "a.PNG.lnk", "https://h/x.php?f=.jpg"):
        assert "." not in names.of_original({**ROW, "image_uri": odd})
    assert names.of_original({**ROW, "image_uri": "s3://b/a.JPEG"}).endswith(".jpeg")


def test_all_rows_of_an_image_share_its_photograph():
    assert names.of_original(ROW) == names.of_original({**ROW, "rank": 2, "class_name": "x"})
    assert names.of_original(ROW) != names.of_original({**ROW, "image_etag": "2"})
