"""What would do nothing is refused by one rule: in Python, over HTTP and on the command line."""

import pytest

from camfleet.contract import unused
from camfleet.contract.outputs import DRAWN, PICTURES, Drawing, Outputs
from camfleet.errors import InvalidRequest
from camfleet.exports.export import FORMATS
from camfleet.exports.job import options_of
from camfleet.gateway.endpoints.results.pictures import DrawingQuery
from camfleet.jobs.options import request_fields
from camfleet.pictures.pictures import Pictures
from camfleet_worker.pictures.draw import canvas_side

VALUES = {
    "colormap": "jet",
    "opacity": 0.25,
    "max_side": 64,
    "threshold": "otsu",
    "components": "all",
}


def drawn_in_python(picture, **options):
    Pictures(None, None, 0, None).render("JOB", "folder", drawing={"picture": picture, **options})


def drawn_over_http(picture, **options):
    DrawingQuery(picture=picture, **options).drawing()


@pytest.mark.parametrize("draw", [drawn_in_python, drawn_over_http])
@pytest.mark.parametrize("option", unused.OF_DRAWINGS)
def test_a_drawing_takes_only_what_it_shows(draw, option):
    for picture in DRAWN:
        if picture in unused.OF_DRAWINGS[option]:
            assert unused.of_pictures(VALUES, [picture], {option: (picture,)}) is None
            continue
        with pytest.raises(InvalidRequest, match=f"^{option} does nothing: .*{picture}.*leave it"):
            draw(picture, **{option: VALUES[option]})


def test_a_drawing_as_an_object_says_what_differs_from_the_usual():
    with pytest.raises(InvalidRequest, match="opacity does nothing"):
        Pictures(None, None, 0, None).render(
            "JOB", "f", drawing=Drawing(picture="heatmap", opacity=0.1)
        )


@pytest.mark.parametrize("draw", [drawn_in_python, drawn_over_http])
def test_the_size_of_a_photograph_is_none_of_a_heatmap(draw):
    with pytest.raises(InvalidRequest, match="max_side 0 is the photograph's own size"):
        draw("heatmap", max_side=0)


@pytest.mark.parametrize("option", unused.OF_JOBS)
def test_pictures_of_jobs_take_only_what_one_of_them_shows(option):
    for picture in PICTURES:
        words = {"pictures": [picture], option: VALUES[option]}
        if picture in unused.OF_JOBS[option]:
            assert request_fields(words)["outputs"][option] == VALUES[option]
            continue
        with pytest.raises(InvalidRequest, match=rf"^{option} does nothing: .*\({picture}\)"):
            request_fields(words)
        whole = Outputs(kinds=(), thumbnail=picture == "thumbnail", **{option: VALUES[option]})
        with pytest.raises(InvalidRequest, match=f"^{option} does nothing"):
            request_fields({"outputs": whole})
    assert request_fields({option: VALUES[option]})["outputs"][option] == VALUES[option]


def test_workers_draw_at_a_size_what_the_size_is_for():
    assert canvas_side(Outputs(kinds=("overlay",), max_side=64)) == 64
    assert canvas_side(Outputs(kinds=("heatmap", "raw"), max_side=64)) is None


def test_what_is_usual_may_be_said_of_anything_in_an_outputs():
    assert request_fields({"outputs": Outputs(kinds=("raw",))})["outputs"]["kinds"] == ("raw",)


@pytest.mark.parametrize("form", FORMATS)
def test_an_export_takes_only_what_its_format_uses_be_it_the_default(form):
    used = {
        "heat": ("label-studio", "fiftyone"),
        "config": ("coco-results", "label-studio"),
        "per_file": ("coco", "coco-results", "label-studio", "cvat"),
        "prefix": ("label-studio", "fiftyone"),
    }
    for name, value in {"heat": True, "config": "x", "per_file": 10_000, "prefix": "x"}.items():
        root = {"root": "/"} if name == "prefix" else {}
        if form in used[name]:
            options_of(form, {name: value, **root})
            continue
        with pytest.raises(InvalidRequest, match=f"^{name} does nothing in the format {form}: "):
            options_of(form, {name: value, **root})
    options_of(form, {"heat": False, "config": None, "per_file": None, "root": "", "prefix": ""})


def test_one_layer_has_nothing_to_fuse():
    with pytest.raises(InvalidRequest, match=r"fuse does nothing with one layer \(last\)"):
        request_fields({"fuse": "max", "layer": "last"})
    for layer in ("auto", ["a", "b"]):
        assert request_fields({"fuse": "max", "layer": layer})["fuse"] == "max"
