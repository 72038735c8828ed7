"""The page of a gallery: what it says, and what others wrote in it."""

from pathlib import Path

import pytest

from camfleet.audit.pictures import render
from camfleet.pictures.gallery import Card, Counts, Shown, page_name

ROW = {
    "item_id": "cat",
    "image_uri": "/photos/cat.png",
    "model_id": "lite0",
    "model_version": "1",
    "method": "gradcam",
    "layer": "top_activation",
    "class_index": 285,
    "class_name": "Egyptian cat",
    "probability": 0.707,
    "status": "ok",
    "error_code": None,
    "error_message": None,
    "grid_height": 7,
    "grid_width": 7,
    "geometry": {"image_height": 300, "image_width": 451},
    "label": None,
}
FAILED = {
    "status": "failed",
    "error_code": "image_not_found",
    "error_message": "gone",
    "class_index": None,
    "class_name": None,
    "geometry": None,
}
PHOTO, OVERLAY = "pictures/cat-1.photo.jpg", "pictures/cat-1.overlay.jpg"


def card(*rows, photo=PHOTO):
    shown = [
        Shown({**ROW, **row}, None if row.get("status") == "failed" else OVERLAY) for row in rows
    ]
    return Card("job", shown, photo, "" if photo else "image not found")


def page(*cards, number=1, **given):
    counts = Counts()
    for one in cards:
        counts.add(one)
    around = {"before": None, "after": None, "gradient": "#000, #fff", "pages": 1, **given}
    return render(
        "gallery.html",
        style="gallery.css",
        cards=cards,
        number=number,
        counts=counts.pairs,
        page_name=page_name,
        **around,
    )


def test_a_page_shows_the_class_its_probability_its_layer_and_the_grid():
    text = page(card({}))
    for said in ("Egyptian cat", "70.7%", "top_activation", "7 × 7 map", "451 × 300", "cat.png"):  # noqa: RUF001
        assert said in text
    assert f'<img src="{PHOTO}" alt="photograph cat.png" loading="lazy">' in text
    assert f'<img src="{OVERLAY}"' in text


def test_an_image_has_one_card_and_one_original_for_all_its_classes():
    text = page(card({}, {"rank": 1, "class_name": "tabby"}))
    assert text.count("<article>") == 1
    assert text.count(f'src="{PHOTO}"') == 1
    assert text.count(f'src="{OVERLAY}"') == 2


@pytest.mark.parametrize(
    "field", ["class_name", "layer", "model_id", "model_version", "method", "label", "image_uri"]
)
def test_text_of_results_is_never_markup(field):
    text = page(card({field: '<script>alert("x")</script>'}))
    assert "<script" not in text
    assert "script&gt;" in text


def test_text_of_errors_is_never_markup():
    text = page(card({**FAILED, "error_code": "<b>", "error_message": "<img onerror=x>"}))
    assert "&lt;b&gt;" in text
    assert "&lt;img onerror=x&gt;" in text
    assert "<b>" not in text


def test_a_file_name_can_not_leave_its_attribute():
    text = page(card({}, photo='pictures/a" onload="x#1.png'))
    assert 'onload="x' not in text
    assert "pictures/a%22%20onload%3D%22x%231.png" in text


def test_text_of_results_shows_all_its_signs_and_no_secrets():
    failed = {**FAILED, "error_message": "https://u:geheim@h/a?sig=geheim \u202e"}
    text = page(card({"class_name": "a\u202e\0\x1b\udcff"}), card(failed))
    assert r"a\u202e\u0000\u001b\udcff" in text
    assert r"https://**@h/a?sig=** \u202e" in text
    assert "geheim" not in text


def test_the_counts_tell_what_failed():
    text = page(card({}), card(FAILED, photo=None))
    assert "<dt>images</dt><dd>2</dd>" in text
    assert "<dt>model</dt><dd>1</dd>" in text
    assert "<dt>failed</dt><dd>1</dd>" in text
    assert "image not found" in text


def test_a_probability_that_rounds_to_nothing_is_not_called_zero_and_may_be_unknown():
    assert "&lt; 0.1%" in page(card({"probability": 0.0004}))
    assert "%</span>" not in page(card({"probability": None}))


def test_an_image_for_which_no_class_was_reached_says_so():
    unreached = {
        "status": "no_evidence",
        "class_index": None,
        "class_name": None,
        "error_message": "no class reaches 0.5",
    }
    assert "no class reaches 0.5" in page(card(unreached))


def test_the_page_asks_nobody_else_for_anything_and_runs_nothing():
    text = page(card({}))
    assert "http:" not in text
    assert "https:" not in text
    assert "default-src 'none'" in text
    assert "<script" not in text


def test_pages_lead_to_each_other():
    first = page(card({}), number=1, after="page-2.html", pages=3)
    assert "page 1 of 3" in first
    assert '<a href="page-3.html">3</a>' in first
    middle = page(card({}), number=2, before="index.html", after="page-3.html", pages=0)
    assert '<a href="index.html" rel="prev">' in middle
    assert '<a href="page-3.html" rel="next">' in middle
    assert "<nav>" not in page(card({}))


def test_an_empty_gallery_says_so():
    assert "No result passes the filters." in page()


def test_the_style_has_no_address_in_it():
    import camfleet.audit

    style = Path(camfleet.audit.__file__).parent / "templates" / "gallery.css"
    assert "url(" not in style.read_text()
