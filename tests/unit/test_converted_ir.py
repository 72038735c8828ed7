"""What may be in OpenVINO's XML: what camfleet's own conversions write, and nothing else."""

import pytest

from camfleet_worker.models import openvino_engine, openvino_graph
from camfleet_worker.models.converted import ir
from camfleet_worker.models.tf import conversion
from helpers.networks import cut
from zoo.table import SMALL

CHOSEN = ("mixed_bfloat16", "attention and its scores", "resizing", "squeeze and excitation")


def saved(model, folder):
    openvino_engine.save(model, folder)
    return folder / openvino_engine.XML, folder / openvino_engine.WEIGHTS


@pytest.mark.parametrize("name", CHOSEN)
def test_what_a_worker_converts_passes(tmp_path, name):
    case = SMALL[name]
    split = cut(case.build(), case.chosen, shape=case.shape)
    ir.check(*saved(conversion.from_split(split), tmp_path / "made"))
    openvino_graph.check_shapes(openvino_engine.read(tmp_path / "made"))


NET = '<?xml version="1.0"?>\n<net name="n" version="11">{}</net>'
LAYER = '<layers><layer id="0" name="a" type="{}" version="{}">{}</layer></layers>'
CONSTANT = '<data element_type="{}" shape="{}" offset="{}" size="{}" />'


def constant(*words):
    return NET.format(LAYER.format("Const", "opset1", CONSTANT.format(*words)))


@pytest.mark.parametrize(
    "words", [("f32", "2, 2", 0, 16), ("i64", "", 8, 8), ("u8", "16", 0, 16), ("i32", "0", 16, 0)]
)
def test_constants_within_the_weights_pass(tmp_path, words):
    check(tmp_path, constant(*words))


def check(folder, text):
    (folder / "m.xml").write_text(text)
    (folder / "m.bin").write_bytes(bytes(16))
    ir.check(folder / "m.xml", folder / "m.bin")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<net/>",
        "\ufeff" + constant("u8", "1", 0, 1),
        " " + constant("u8", "1", 0, 1),
        constant("u8", "1", 0, 1).replace('version="11"', 'version="7"'),
        constant("u8", "1", 0, 1).replace("</net>", "</net><net/>"),
        constant("u8", "1", 0, 1).replace('"1.0"', '"1.0" encoding="utf-7"'),
        constant("f32", "2, 2", 4, 16),
        constant("f32", "2, 2", -4, 16),
        constant("f32", "2, 3", 0, 16),
        constant("f32", "-2, -2", 0, 16),
        constant("f32", "4294967296, 4294967296, 4294967296", 0, 0),
        constant("string", "1", 0, 1),
        constant("f32", "a", 0, 1),
        NET.format(LAYER.format("If", "opset8", "")),
        NET.format(LAYER.format("TensorIterator", "opset1", "")),
        NET.format(LAYER.format("ReadValue", "opset6", "")),
        NET.format(LAYER.format("NonZero", "opset3", "")),
        NET.format(LAYER.format("Add", "custom", "")),
        NET.format(LAYER.format("Add", "opset1", "<body><layers/></body>")),
        NET.format("<layers><layers><layer/></layers></layers>"),
        NET.format('<rt_info><info name="__weights_path" value="/etc/passwd" /></rt_info>'),
        NET.format("<meta_data><path>/etc/passwd</path></meta_data>"),
        NET.format('<?xml-stylesheet href="file:///etc/passwd"?>'),
        NET.format("&e;").replace("<net", '<!DOCTYPE n [<!ENTITY e "e">]><net'),
    ],
)
def test_anything_else_is_suspicious(tmp_path, text):
    with pytest.raises(ir.Suspicious):
        check(tmp_path, text)
