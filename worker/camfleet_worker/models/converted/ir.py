"""What a stranger's OpenVINO model may be: plain operations on constants that lie in its file.

OpenVINO itself trusts its files: it tells other formats from their content, and believes sizes.
"""

import re
from collections.abc import Callable
from math import prod
from pathlib import Path
from xml.parsers import expat

_BEGINNING = re.compile(rb'<\?xml version="1\.0"\?>\s*<net name="[^"<]*" version="11">')
_DEEPEST = 12
_LAYERS = 2**16
_PIECE = 2**16

_PLAIN = {"net", "layers", "input", "output", "port", "dim", "edges", "edge", "rt_info"}
_ELEMENTS = {*_PLAIN, "layer", "data", "attribute", "info"}
_PLACES = {"net/layers/layer", "net/rt_info/info", "net/layers/layer/rt_info/attribute"}
_BYTES = (  # of an element of each type
    dict.fromkeys(("f64", "i64", "u64"), 8)
    | dict.fromkeys(("f32", "i32", "u32"), 4)
    | dict.fromkeys(("f16", "bf16", "i16", "u16"), 2)
    | dict.fromkeys(("i8", "u8", "boolean"), 1)
)

# What Keras' layers become at inference. Nothing here has a body of its own, repeats, draws random
# numbers, keeps a state, or decides by values how much it gives out.
_OPERATIONS = """
Abs Acos Acosh Add Asin Asinh Atan Atanh AvgPool BatchNormInference BatchToSpace BitwiseAnd
BitwiseNot BitwiseOr BitwiseXor Broadcast Ceiling Clamp Concat Const Convert ConvertLike
Convolution ConvolutionBackpropData Cos Cosh CumSum DepthToSpace Divide Einsum Elu Equal Erf
Exp ExtractImagePatches Floor FloorMod Gather GatherElements GatherND Gelu Greater
GreaterEqual GroupConvolution GroupConvolutionBackpropData GroupNormalization HSigmoid HSwish
HardSigmoid Interpolate LRN Less LessEqual Log LogSoftmax LogicalAnd LogicalNot LogicalOr
LogicalXor MVN MatMul MaxPool Maximum Minimum Mish Mod Multiply Negative NormalizeL2 NotEqual
OneHot PReLU Pad Parameter Power ReLU Range ReduceL1 ReduceL2 ReduceLogicalAnd ReduceLogicalOr
ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Reshape Result ReverseSequence Roll Round
ScaledDotProductAttention ScatterElementsUpdate ScatterNDUpdate ScatterUpdate Select Selu
ShapeOf ShuffleChannels Sigmoid Sign Sin Sinh Slice SoftMax SoftPlus SoftSign SpaceToBatch
SpaceToDepth Split Sqrt SquaredDifference Squeeze StridedSlice Subtract Swish Tan Tanh Tile
TopK Transpose Unsqueeze VariadicSplit
"""
OPERATIONS = frozenset(_OPERATIONS.split())


class Suspicious(Exception):
    """A model isn't one that a worker would have written. Never leaves `models`."""


def check(xml: Path, weights: Path) -> None:
    """Raise `Suspicious` unless a model in OpenVINO's own form can be read without danger.

    It must be XML of version 11 without a document type, of known elements and operations, and its
    constants must lie within the file of weights, as long as their shapes say.
    """
    with xml.open("rb") as file:
        if not _BEGINNING.match(file.read(_PIECE)):
            raise Suspicious("it doesn't begin as OpenVINO's XML does")
        file.seek(0)
        reader = _Reader(weights.stat().st_size)
        try:
            reader.parser.ParseFile(file)
        except expat.ExpatError as error:
            raise Suspicious(f"it's broken XML: {error}") from error


class _Reader:
    """Reads the XML piece by piece; nothing of it is kept but the path to where it is."""

    def __init__(self, weights: int) -> None:
        self._weights = weights
        self._path: list[str] = []
        self._layers = 0
        self._type = ""
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        for handler in ("StartDoctypeDeclHandler", "EntityDeclHandler"):
            setattr(self.parser, handler, _refuse("it has a document type or entities"))
        self.parser.ProcessingInstructionHandler = _refuse("it has processing instructions")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._path.append(name)
        if name in _PLAIN and len(self._path) <= _DEEPEST:
            return
        place = "/".join(self._path)
        if name not in _ELEMENTS or len(self._path) > _DEEPEST:
            raise Suspicious(f"it has an element {place[:200]!r}")
        if name in ("layer", "info", "attribute") and place not in _PLACES:
            raise Suspicious(f"it has an element {place[:200]!r}")
        if name == "info" and attributes.get("name") != "OpenVINO Runtime":
            raise Suspicious(f"it says {str(attributes)[:200]} of itself")
        if name == "layer":
            self._layer(attributes)
        if place == "net/layers/layer/data" and self._type == "Const":
            self._constant(attributes)

    def _end(self, _name: str) -> None:
        self._path.pop()

    def _layer(self, attributes: dict[str, str]) -> None:
        self._layers += 1
        self._type = attributes.get("type", "")
        versioned = re.fullmatch(r"opset\d{1,2}", attributes.get("version", ""))
        if self._type not in OPERATIONS or not versioned or self._layers > _LAYERS:
            raise Suspicious(f"it has a layer {str(attributes)[:200]}")

    def _constant(self, attributes: dict[str, str]) -> None:
        try:
            shape = [int(size) for size in attributes["shape"].split(",") if size.strip()]
            offset, size = int(attributes["offset"]), int(attributes["size"])
            length = _BYTES[attributes["element_type"]] * prod(shape)
        except (KeyError, ValueError) as error:
            raise Suspicious(f"it has a constant {str(attributes)[:200]}") from error
        within = 0 <= offset <= offset + size <= self._weights
        fits = size == length or (length, size) == (0, 1)  # nothing takes a byte, too
        if not within or not fits or min(shape, default=0) < 0:
            raise Suspicious(f"it has a constant {str(attributes)[:200]} outside its weights")


def _refuse(reason: str) -> Callable[..., None]:
    def handle(*_: object) -> None:
        raise Suspicious(reason)

    return handle
