"""Label Studio's backend: what addresses, label configs and tasks may say."""

import re

import pytest

from camfleet.contract.outputs import Outputs, Regions
from camfleet.contract.records import ModelRef
from camfleet.errors import ConfigurationError, InvalidRequest, SourceForbidden
from camfleet.exports.images import Found, Image, Region
from camfleet.exports.writer import full_version, version_of
from camfleet.gateway.label_studio import plans
from camfleet.gateway.label_studio.plans import BackendOptions, Planner, parse_options
from camfleet.gateway.label_studio.words import Selection
from camfleet.jobs.options import ExplainOptions
from camfleet.label_studio.places import Server, TaskImages, origin_of, origins_of

MODEL = ModelRef(id="net", version="1", digest="0" * 64)
CLASSES = ["cat", "dog", "Zwerg & Söhne"]
CHOICES = "".join(f'<Choice value="{name.replace("&", "&amp;")}"/>' for name in CLASSES)
LABELS = CHOICES.replace("Choice", "Label")


def config(*tags):
    shapes = {
        "box": f'<RectangleLabels name="b" toName="i">{LABELS}</RectangleLabels>',
        "polygon": f'<PolygonLabels name="p" toName="i">{LABELS}</PolygonLabels>',
        "rle": f'<BrushLabels name="m" toName="i">{LABELS}</BrushLabels>',
        "heat": '<BrushLabels name="heat" toName="i"><Label value="heat"/></BrushLabels>',
        "choices": f'<Choices name="c" toName="i">{CHOICES}</Choices>',
    }
    return f'<View><Image name="i" value="$image"/>{"".join(map(shapes.get, tags))}</View>'


@pytest.fixture
def planner(monkeypatch, tmp_path):
    class Registry:
        precision = None

        def find(self, _name):
            return MODEL

        def card(self, _digest):
            return self

    monkeypatch.setattr(plans, "classes_of", lambda *_: CLASSES)
    return Planner(Registry(), {})


def plan(planner, text, address=""):
    return planner.plan("net", parse_options(address), text)


@pytest.mark.parametrize(
    ("tags", "address", "shape", "version"),
    [
        (("choices",), "", None, "net@1 gradcam auto"),
        (("choices", "box"), "", "box", "net@1 gradcam auto 0.5 box"),
        (("rle",), "", "rle", "net@1 gradcam auto 0.5 rle"),
        (("polygon", "box"), "", "box", "net@1 gradcam auto 0.5 box"),
        (("polygon", "box"), "shape=polygon", "polygon", "net@1 gradcam auto 0.5 polygon"),
        (("choices", "box"), "shape=none", None, "net@1 gradcam auto"),
        (("box",), "threshold=0.25&components=all", "box", "net@1 gradcam auto 0.25 box"),
        (("box",), "threshold=otsu", "box", "net@1 gradcam auto otsu box"),
        (("box", "heat"), "heat=1", "box", "net@1 gradcam auto 0.5 box heat"),
        (
            ("box",),
            "target=top:3&method=gradcam%2B%2B",
            "box",
            "net@1 gradcam++ auto 0.5 top:3 box",
        ),
        (("box",), "layer=a%2Fb,c", "box", "net@1 gradcam a/b+c 0.5 box"),
        (("box",), "precision=bf16", "box", "net@1 gradcam auto 0.5 bf16 box"),
        (("box",), "precision=float32", "box", "net@1 gradcam auto 0.5 box"),
    ],
)
def test_a_label_config_and_an_address_say_what_is_shown(planner, tags, address, shape, version):
    made = plan(planner, config(*tags), address)
    assert (made.predictions.shape, made.version) == (shape, version)


def test_the_precision_of_the_card_counts_unless_the_address_says_another(planner):
    planner._registry.precision = "bf16"
    found = [plan(planner, config("box"), text) for text in ("", "precision=float32")]
    assert [made.version for made in found] == [
        "net@1 gradcam auto 0.5 bf16 box",
        "net@1 gradcam auto 0.5 box",
    ]
    assert [made.asked.get("precision") for made in found] == [None, "float32"]


def test_an_address_can_say_all_that_is_asked_of_an_image():
    drawn = {"pictures", "colormap", "opacity", "max_side"}
    own = {"shapes", "outputs"}  # the option `shape`
    assert ExplainOptions.__annotations__.keys() - drawn - own <= {
        *BackendOptions.__struct_fields__
    }


def test_no_version_has_what_label_studio_separates_versions_with():
    outputs = Outputs(regions=Regions())
    text = version_of(MODEL, "gradcam", "a,b", 'a "good" [dog]', outputs)
    assert full_version(text, "box", heat=False) == "net@1 gradcam a+b 0.5 a+good+dog+ box"


@pytest.mark.parametrize(
    ("tags", "address", "message"),
    [
        (
            ("choices",),
            "shape=box",
            "no RectangleLabels with the model's labels, which the",
        ),
        (("box",), "heat=1", 'no <BrushLabels name="heat"> with the label'),
        (("box",), "shap=box", "option 'shap'; did you mean shape"),
        (("box",), "shape", "say shape=VALUE, once"),
        (("box",), "heat=1&heat=0", "say heat=VALUE, once"),
        (("box",), "shape=circle", "Invalid enum value 'circle'.*: there are box, "),
        (("choices",), "threshold=0.2", "threshold and components are for regions"),
        (("box",), "threshold=2", "threshold"),
        (("box",), "target=not:", "target"),
        (("box",), "precision=int8", "Invalid enum value 'int8'.*: there are bf16, float32"),
        ((), "", "none of Choices, RectangleLabels"),
    ],
)
def test_what_does_not_fit_is_named(planner, tags, address, message):
    with pytest.raises(InvalidRequest, match=message):
        plan(planner, config(*tags), address)


@pytest.mark.parametrize("text", ["", "<View", "<View><Text/></View>", "<a>" * 10**5])
def test_what_is_no_label_config_is_refused(planner, text):
    with pytest.raises(InvalidRequest, match="the label config"):
        plan(planner, text)


BOXES = f'<RectangleLabels name="b" toName="i">{LABELS}</RectangleLabels>'
QUALITY = '<Choices name="q" toName="i"><Choice value="sharp"/><Choice value="blurred"/></Choices>'
KINDS = f'<Choices name="c" toName="i">{CHOICES}</Choices>'
IMAGE = '<Image name="i" value="$image"/>'
TEXT = '<Text name="t" value="$text"/>'
CRACKS = '<RectangleLabels name="r" toName="i"><Label value="crack"/></RectangleLabels>'


@pytest.mark.parametrize(
    ("tags", "names"),
    [
        (f"{IMAGE}{QUALITY}{KINDS}{BOXES}", ["c", "b"]),
        (f"{IMAGE}{QUALITY}{BOXES}", ["b"]),
        (f"{IMAGE}<View><View>{KINDS}</View></View>{BOXES}", ["c", "b"]),
        (IMAGE + KINDS.replace(" name", ' perRegion="true" name') + BOXES, ["b"]),
        (IMAGE + KINDS.replace(" name", ' perItem="True" name') + BOXES, ["b"]),
        (IMAGE + BOXES.replace('"i"', '"other, i"'), ["b"]),
        (f'<Image name="logo" value="$logo"/>{IMAGE}{BOXES}', ["b"]),
        (TEXT + IMAGE + BOXES + KINDS.replace('"i"', '"t"'), ["b"]),
        (f'{IMAGE}<Choices name="d" toName="i" value="$kinds"/>{KINDS}', ["c"]),
        (f'{IMAGE}<KeyPointLabels name="k" toName="i">{LABELS}</KeyPointLabels>{BOXES}', ["b"]),
        (f'{IMAGE}<Choices name="d" toName="i" value="$kinds"/>', ["d"]),
        (IMAGE + BOXES.replace("<Label ", '<Label hotkey="1" background="red" '), ["b"]),
        (IMAGE + CRACKS + BOXES.replace("Rectangle", "Polygon"), ["b"]),
    ],
)
def test_controls_are_those_that_have_the_models_labels(planner, tags, names):
    made = plan(planner, f"<View>{tags}</View>")
    region = Region((1, 1, 5, 5), 25, 0.5, None, ((1, 1, 6, 1, 6, 6),))
    found = Found("cat", 0, 0.9, (region,), None)
    prediction = made.predictions.of(Image("1", "", "", "", 10, 10, (found,)))
    assert [one["from_name"] for one in prediction["result"]] == names
    assert {one["to_name"] for one in prediction["result"]} == {"i"}


def test_labels_of_one_kind_may_be_spread_over_several_controls(planner):
    first, *others = LABELS.split("/>")[:-1]
    parts = [
        f'<RectangleLabels name="b{number}" toName="i">{some}</RectangleLabels>'
        for number, some in enumerate((f"{first}/>", "".join(f"{one}/>" for one in others)))
    ]
    made = plan(planner, f"<View>{IMAGE}{''.join(parts)}</View>")
    region = Region((1, 1, 5, 5), 25, 0.5, None, ())
    found = tuple(Found(name, place, 0.5, (region,), None) for place, name in enumerate(CLASSES))
    prediction = made.predictions.of(Image("1", "", "", "", 10, 10, found))
    assert [one["from_name"] for one in prediction["result"]] == ["b0", "b1", "b1"]
    with pytest.raises(InvalidRequest, match="RectangleLabels 'b0' or 'b1' lacks 1 of 3"):
        plan(planner, f"<View>{IMAGE}{''.join(parts).replace('dog', 'wolf')}</View>")


@pytest.mark.parametrize("shown", ["cat", "feline"])
def test_a_label_with_an_alias_is_known_by_both_and_stored_by_its_alias(planner, shown):
    other = {"cat": "feline", "feline": "cat"}[shown]
    text = config("choices", "box").replace('"cat"', f'"{shown}" alias="{other}"')
    made = plan(planner, text)
    region = Region((1, 1, 5, 5), 25, 0.5, None, ())
    found = Found("cat", 0, 0.9, (region,), None)
    choice, box = made.predictions.of(Image("1", "", "", "", 10, 10, (found,)))["result"]
    assert choice["value"]["choices"] == box["value"]["rectanglelabels"] == [other]


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ('<Video name="v" value="$video"/>', "but Video: camfleet explains images"),
        ('<Text name="t" value="$t"/><Audio name="a" value="$a"/>', "but Audio and Text: camfleet"),
        ('<Image name="i" valueList="$pages"/>', "several pages or a repeated one"),
        ('<Image name="i_{{x}}" value="$pages[{{x}}].url"/>', "several pages or a repeated one"),
        ('<Image value="$image"/>', 'no <Image name="..." value="$...">'),
        (f'<Image name="a" value="$a"/>{IMAGE}', "for the image 'a' or 'i'"),
    ],
)
def test_projects_of_other_things_are_told_so(planner, tags, message):
    with pytest.raises(InvalidRequest, match=re.escape(message)):
        plan(planner, "<View>" + tags + BOXES.replace('"i"', '"v"') + "</View>")


def test_boxes_of_other_labels_are_an_error_where_there_is_no_other_shape(planner):
    with pytest.raises(InvalidRequest, match="RectangleLabels 'r' lacks 3 of 3"):
        plan(planner, f"<View>{IMAGE}{KINDS}{CRACKS}</View>")
    assert plan(planner, f"<View>{IMAGE}{KINDS}{CRACKS}</View>", "shape=none").version


def test_labels_that_a_config_lacks_are_named_with_the_ways_out(planner):
    text = config("choices", "box").replace('<Label value="dog"/>', "")
    with pytest.raises(InvalidRequest, match=r"RectangleLabels 'b' lacks 1 of 3.*'dog'") as caught:
        plan(planner, text)
    for way in ("Add them there", "--labels net=FILE", "labels=known"):
        assert way in str(caught.value)
    assert plan(planner, text, "labels=known").labels.names == ["cat", CLASSES[2]]
    with pytest.raises(InvalidRequest, match="no class of net has a label"):
        plan(planner, text.replace("cat", "lynx").replace("Zwerg", "Ries"), "labels=known")


def test_names_come_from_a_file_that_is_read_anew(planner, tmp_path, monkeypatch):
    file = tmp_path / "names.toml"
    monkeypatch.setattr(planner, "_files", {"net": file})
    file.write_text('cat = "dog"\n"Zwerg & Söhne" = false\n')
    text = config("choices").replace('<Choice value="cat"/>', "").replace("Zwerg", "Ries")
    assert plan(planner, text).labels.names == ["dog"]
    file.write_text('cta = "dog"\n')
    with pytest.raises(InvalidRequest, match=r"names.toml.*no class 'cta'; did you mean 'cat'"):
        plan(planner, text)


IMAGES = TaskImages(Server("http://ls:8080"), origins_of(["https://b.s3.example"]))
BELOW = TaskImages(Server("https://ls/labels"), ())


@pytest.mark.parametrize(
    ("images", "value", "uri"),
    [
        (IMAGES, "/data/upload/1/a b.png", "http://ls:8080/data/upload/1/a b.png"),
        (IMAGES, "/data/local-files/?d=x/a.png", "http://ls:8080/data/local-files/?d=x/a.png"),
        (
            IMAGES,
            "/data/local-files/?d=x/a..b.png",
            "http://ls:8080/data/local-files/?d=x/a..b.png",
        ),
        (IMAGES, "http://ls:8080/data/upload/1/a.png", "http://ls:8080/data/upload/1/a.png"),
        (IMAGES, "s3://b/a.png", "s3://b/a.png"),
        (IMAGES, "https://b.s3.example/a.png?X-Sig=1", "https://b.s3.example/a.png?X-Sig=1"),
        (IMAGES, "https://B.s3.example:443/a.png", "https://B.s3.example:443/a.png"),
        (BELOW, "/labels/data/upload/1/a.png", "https://ls/labels/data/upload/1/a.png"),
        (BELOW, "/data/upload/1/a.png", "https://ls/labels/data/upload/1/a.png"),
    ],
)
def test_an_image_is_found_where_a_task_says(images, value, uri):
    assert images.find(value) == uri


@pytest.mark.parametrize(
    "value",
    [
        "/api/users/",
        "/data/upload/../../api/users/",
        "/data/upload/%2e%2e/%2E%2E/api/users/",
        "/data/upload/%252e%252e/api",
        "/data/upload/..\\..\\api",
        "/data/upload/.\t./.%0a./api",
        "/data/local-files/?d=../../etc/passwd",
        "/data/local-files/?d=x/%2e%2e/%2e%2e/etc/passwd",
        "/data/local-files/?a=b&d=..%5c..",
        "//evil/data/upload/a.png",
        "http://ls:8080/api/users/",
        "http://ls:8080@evil/data/upload/1/a.png",
        "http://ls:80/data/upload/1/a.png",
        "https://evil/data/upload/1/a.png",
        "https://b.s3.example.evil/a.png",
        "https://user@b.s3.example/a.png",
        "http://b.s3.example/a.png",
        "http://[::1/a.png",
        "file:///etc/passwd",
        "gs://b/a.png",
        "data:image/png;base64,AA==",
        "a.png",
    ],
)
def test_what_a_task_may_not_name_is_refused(value):
    with pytest.raises(SourceForbidden):
        IMAGES.find(value)


@pytest.mark.parametrize("value", [None, "", 7, ["s3://b/a.png"]])
def test_what_names_no_image_is_told(value):
    with pytest.raises(InvalidRequest, match="names no image"):
        IMAGES.find(value)


def test_errors_name_the_setting_that_is_missing():
    with pytest.raises(
        SourceForbidden, match=r"add https://c\.example to CAMFLEET_LABEL_STUDIO_OR"
    ):
        IMAGES.find("https://c.example/a.png?token=secret")
    with pytest.raises(ConfigurationError, match="set CAMFLEET_LABEL_STUDIO_URL") as caught:
        TaskImages(Server(""), ()).find("/data/upload/1/a.png")
    assert "CAMFLEET_LABEL_STUDIO_TOKEN" in str(caught.value)


def test_an_origin_is_scheme_host_and_port():
    assert origin_of("HTTPS://Host:443/x?y") == "https://host"
    assert origin_of("http://[::1]:8080/x") == "http://[::1]:8080"


@pytest.mark.parametrize(
    ("project", "number"),
    [("1.1795960635", 1), (7, 7), ("", None), ("x.1", None), ("9" * 12, None)],
)
def test_the_number_of_a_project(project, number):
    assert Selection(project=project).project_id == number
