"""The keywords of `Client`: what they ask for, and what is said about a wrong one."""

import click
import numpy as np
import pytest
from click.testing import CliRunner

from camfleet.cli import options as command_options
from camfleet.contract.codec import decode
from camfleet.contract.follow_ups import FollowUps
from camfleet.contract.outputs import DEFAULT_OUTPUTS, Outputs, Regions
from camfleet.contract.records import ModelRef
from camfleet.errors import InvalidRequest
from camfleet.jobs.options import job_fields, request_fields
from camfleet.jobs.order import make_order
from camfleet.registry.cards import Card, CardInput


def outputs(**options):
    return decode(request_fields(options)["outputs"], Outputs)


def test_without_keywords_everything_is_as_documented():
    fields = request_fields({})
    assert (fields["target"], fields["method"], fields["layer"]) == ("top", "gradcam", "auto")
    assert fields["fuse"] is None
    assert outputs() == DEFAULT_OUTPUTS


def test_none_is_the_same_as_leaving_a_keyword_out():
    words = ("target", "method", "layer", "fuse", "pictures", "shapes", "threshold", "outputs")
    assert request_fields(dict.fromkeys(words)) == request_fields({})
    nothing = {"callback": None, "pack": False, "follow_ups": None}
    left_out = dict.fromkeys(("callback", "pack", "report", "faithfulness"))
    assert job_fields(left_out) == {**request_fields({}), **nothing}


def test_packed_pictures_are_said_by_true_or_false_and_need_pictures():
    assert job_fields({"pack": True})["pack"] is True
    with pytest.raises(TypeError, match="pack is 'yes', of type str: give True or False"):
        job_fields({"pack": "yes"})
    with pytest.raises(InvalidRequest, match="pack without pictures"):
        job_fields({"pack": True, "pictures": []})
    assert job_fields({"pack": True, "pictures": "thumbnail"})["pack"] is True


def test_what_is_to_follow_a_jobs_end_is_checked():
    def follow_ups(**options):
        return decode(job_fields(options)["follow_ups"], FollowUps)

    assert follow_ups(report=True) == FollowUps(report=True)
    place = "s3://reports/weekly"
    assert follow_ups(report=place) == FollowUps(report=True, place=place)
    assert follow_ups(faithfulness=256) == FollowUps(faithfulness=256)
    assert job_fields({"report": False})["follow_ups"] is None
    with pytest.raises(InvalidRequest, match="not of the form s3://bucket/key"):
        follow_ups(report="reports/weekly")
    with pytest.raises(InvalidRequest, match="not of the form s3://bucket/key"):
        follow_ups(report="")
    with pytest.raises(TypeError, match="report is 3, of type int: give True, or a place"):
        follow_ups(report=3)
    for number in (0, -1, "many", 10**9):
        with pytest.raises(InvalidRequest, match="faithfulness: "):
            follow_ups(faithfulness=number)
    with pytest.raises(TypeError, match="faithfulness is True"):
        follow_ups(faithfulness=True)


def test_plain_keywords_say_what_outputs_and_regions_say():
    assert outputs(
        pictures=["overlay"],
        colormap="jet",
        opacity=0.25,
        max_side=0,
        shapes=["box", "rle"],
        threshold="otsu",
        components="all",
    ) == Outputs(
        kinds=("overlay",),
        colormap="jet",
        opacity=0.25,
        max_side=0,
        regions=Regions(threshold="otsu", components="all", shapes=("box", "rle")),
    )


def test_one_word_may_stand_for_a_list_of_one():
    assert outputs(pictures="raw", shapes="polygon") == outputs(
        pictures=("raw",), shapes=iter(["polygon", "polygon"])
    )


def test_an_empty_list_asks_for_nothing():
    assert outputs(pictures=[], shapes=[]) == Outputs(kinds=())
    assert outputs(pictures="thumbnail") == Outputs(kinds=(), thumbnail=True)
    both = outputs(pictures=["thumbnail", "raw"])
    assert (both.kinds, both.pictures) == (("raw",), ("raw", "thumbnail"))


def test_outputs_say_it_in_one():
    wanted = Outputs(kinds=("raw",), regions=Regions(threshold=0.2))
    assert outputs(outputs=wanted) == wanted


def test_a_class_index_may_be_a_number_and_layers_a_list():
    fields = request_fields({"target": 282, "layer": ["a/b", "c"], "fuse": "max"})
    assert (fields["target"], fields["layer"], fields["fuse"]) == ("282", "a/b,c", "max")


def test_numbers_of_numpy_are_numbers():
    assert request_fields({"target": np.int64(7)})["target"] == "7"
    words = {"opacity": np.float32(0.5), "max_side": np.int32(64), "threshold": np.float32(0.25)}
    found = outputs(shapes=["box"], **words)
    assert (found.opacity, found.max_side, found.regions.threshold) == (0.5, 64, 0.25)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "guess"}, "method is one of gradcam, .*not 'guess'"),
        ({"target": "top:many"}, "top:K"),
        ({"target": -1}, "target -1: class indices count from 0"),
        ({"layer": ["a", "a"]}, "several different ones"),
        ({"fuse": "sum"}, "fuse is one of mean, max"),
        (
            {"pictures": ["heatmap", "png"]},
            "pictures is one of heatmap, overlay, raw, thumbnail, not 'png'",
        ),
        ({"colormap": "hot"}, "colormap is one of"),
        ({"opacity": 1.5}, "opacity: .*1.*not 1.5"),
        ({"max_side": -1}, "max_side: .*0.*not -1"),
        ({"shapes": "circle"}, "shapes is one of box, rle, polygon"),
        ({"shapes": ["box"], "threshold": 0}, "threshold: .*not 0"),
        ({"shapes": ["box"], "threshold": "half"}, "threshold: .*not 'half'"),
        ({"shapes": ["box"], "components": "two"}, "components is one of largest, all"),
        ({"threshold": 0.5}, r"threshold without shapes: say shapes=\['box'\] too"),
        ({"components": "all", "shapes": []}, "components without shapes"),
        (
            {"outputs": Outputs(), "pictures": ["raw"], "threshold": 0.5, "shapes": ["box"]},
            "leave out pictures and shapes and threshold, or",
        ),
        ({"outputs": Outputs(opacity=7)}, "opacity"),
    ],
)
def test_a_wrong_value_is_named_with_the_way_out(options, message):
    with pytest.raises(InvalidRequest, match=message):
        request_fields(options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"treshold": 0.5}, "no keyword treshold: did you mean threshold?"),
        ({"callback": "https://a/b"}, "no keyword callback: there are target, method"),
        ({"target": True}, "target is True, of type bool: give a string"),
        ({"target": 1.5}, "target is 1.5, of type float"),
        ({"layer": 3}, "layer is 3, of type int: give a layer's path"),
        ({"pictures": [1]}, r"pictures is \[1\], of type list: give a list of heatmap"),
        ({"shapes": Regions()}, "shapes is Regions"),
        ({"outputs": {"kinds": ["raw"]}}, "outputs is .*of type dict: give an Outputs"),
    ],
)
def test_a_wrong_type_or_keyword_is_named_with_the_way_out(options, message):
    with pytest.raises(TypeError, match=message):
        request_fields(options)


def test_a_callback_is_for_jobs():
    assert job_fields({"callback": "https://host/path"})["callback"] == "https://host/path"
    with pytest.raises(InvalidRequest, match="callback 'nowhere' is not of the form"):
        job_fields({"callback": "nowhere"})
    with pytest.raises(TypeError, match="callback is 3"):
        job_fields({"callback": 3})


@pytest.mark.parametrize("name", ["target", "layer"])
def test_words_that_are_not_utf8_are_refused(name):
    with pytest.raises(InvalidRequest, match=rf"{name} 'caf\\xe9' isn't UTF-8"):
        request_fields({name: "caf\udce9"})


class AnyModel:
    """A registry that knows every model, by its id and version too; those in bf16 say so."""

    def find(self, name):
        digest = 64 * ("b" if "bf16" in name else "0")
        return ModelRef(id=name.removesuffix("@1"), version="1", digest=digest)

    def card(self, digest):
        precision = "bf16" if digest.startswith("b") else None
        size = CardInput(height=8, width=8)
        return Card(id="net", artifact="net.keras", input=size, precision=precision)


def test_a_model_that_is_named_twice_counts_once():
    order = make_order(AnyModel(), ["lite0", "lite0@1", "lite0"], {})
    assert [(ref["id"], ref["version"]) for ref in order["models"]] == [("lite0", "1")]


def test_a_job_has_the_precision_of_its_models_cards_unless_another_is_asked_for():
    def precision(*models, **options):
        return make_order(AnyModel(), models, options).get("precision")

    assert precision("lite0") is None, "older workers run it"
    assert precision("in-bf16", "also-bf16") == "bf16"
    assert precision("in-bf16", precision="float32") is None
    assert precision("lite0", "in-bf16", precision="bf16") == "bf16"
    with pytest.raises(InvalidRequest, match="lite0@1 in float32, in-bf16@1 in bf16; say which"):
        precision("lite0", "in-bf16")
    with pytest.raises(InvalidRequest, match="precision is one of float32, bf16, not 'int8'"):
        precision("lite0", precision="int8")


def on_the_command_line(*words):
    """Return the client's keywords for the options of a command, and what it prints."""
    found = {}

    @click.command()
    @command_options.explain_options
    def command(**given):
        found.update(command_options.client_keywords(given))

    return found, CliRunner().invoke(command, words).output


def test_no_picture_contradicts_a_picture():
    assert on_the_command_line("--picture", "none")[0]["pictures"] == []
    found, said = on_the_command_line("--picture", "heatmap", "--picture", "none")
    assert not found
    assert "--picture none contradicts every other --picture" in said


@pytest.mark.parametrize(("name", "value"), [("threshold", "otsu"), ("components", "all")])
def test_an_option_of_shapes_without_a_shape_is_refused(name, value):
    words = (f"--{name}", value)
    assert f"--{name} needs --shape" in on_the_command_line(*words)[1]
    found, _ = on_the_command_line(*words, "--shape", "box")
    assert (found["shapes"], found[name]) == (("box",), value)
    assert request_fields(found)
