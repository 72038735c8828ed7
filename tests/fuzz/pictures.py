"""Small valid pictures in every format and many of its forms, and hostile ones made of them."""

import io
import zlib
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
from hypothesis import strategies as st
from PIL import Image
from tests.fuzz.units import FORMS, Unit, deflated, inflated

from helpers import image_files

NUMBERS = [0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 24, 32, 64, 100, 127, 128, 255, 256, 257, 1000, 1999]
NUMBERS += [2000, 2001, 4000, 8192, 16383, 16384, 32767, 32768, 65499, 65500, 65535, 65536, 10**6]
NUMBERS += [2**24 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1, 2**63, 2**64 - 1]
_TIFFS = ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "group4", "jpeg", "zstd")


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@cache
def seeds() -> dict[tuple[str, int], tuple[Unit, ...]]:
    """Return valid pictures as their units, by format and number."""
    noise = np.random.default_rng(0).integers(0, 255, (24, 20, 4), np.uint8)
    colours, rgba = Image.fromarray(noise[:, :, :3]), Image.fromarray(noise)
    other = Image.fromarray(noise[::-1, ::-1, :3].copy())
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    exif.get_ifd(0x8769)[0x9286] = b"comment"
    large = Image.fromarray(np.repeat(np.repeat(noise[:20, :20, :3], 99, 0), 99, 1))
    grown = large.quantize(16)
    found = {
        "PNG": [*_pngs(colours, rgba, exif), encoded(grown, "PNG")],
        "JPEG": [*_jpegs(colours, exif), encoded(large, "JPEG", progressive=True, subsampling=0)],
        "GIF": [*_gifs(colours, other), encoded(grown, "GIF")],
        "WebP": [*_webps(colours, rgba, other, exif), encoded(large, "WEBP", lossless=True)],
        "AVIF": [*_avifs(colours, rgba, other, exif), encoded(large, "AVIF", speed=10)],
        "BMP": _bmps(colours),
        "TIFF": [*_tiffs(colours, rgba), encoded(large, "TIFF", compression="tiff_lzw")],
    }
    return {
        (kind, number): tuple(FORMS[kind].split(data))
        for kind, files in found.items()
        for number, data in enumerate(files)
    }


def _pngs(colours: Image.Image, rgba: Image.Image, exif: Image.Exif) -> Iterator[bytes]:
    deep = Image.fromarray(np.asarray(colours.convert("L")).astype(np.uint16) * 257)
    yield encoded(colours, "PNG", exif=exif)
    yield encoded(rgba, "PNG")
    yield encoded(deep, "PNG")
    yield encoded(colours.convert("P"), "PNG", transparency=3, bits=4)
    yield encoded(colours.convert("1"), "PNG")
    yield encoded(colours, "PNG", icc_profile=b"profile" * 9)
    rows = b"".join(b"\4" + bytes(range(16)) for _ in range(3))
    yield image_files.png(2, 3, rows, bits=16, colour=6)


def _jpegs(colours: Image.Image, exif: Image.Exif) -> Iterator[bytes]:
    yield encoded(colours, "JPEG", exif=exif, comment=b"hello")
    yield encoded(colours, "JPEG", progressive=True, subsampling=0)
    yield encoded(colours.convert("L"), "JPEG", progressive=True)
    yield encoded(colours.convert("CMYK"), "JPEG", progressive=True)
    yield encoded(colours, "JPEG", restart_marker_blocks=1, icc_profile=b"profile" * 9)


def _gifs(colours: Image.Image, other: Image.Image) -> Iterator[bytes]:
    yield encoded(colours.quantize(7), "GIF")
    yield encoded(colours, "GIF", save_all=True, append_images=[other], duration=40, loop=0)
    yield encoded(colours.quantize(4), "GIF", interlace=1, transparency=1, comment=b"hello")


def _webps(
    colours: Image.Image, rgba: Image.Image, other: Image.Image, exif: Image.Exif
) -> Iterator[bytes]:
    yield encoded(colours, "WEBP", exif=exif)
    yield encoded(rgba, "WEBP", lossless=True)
    yield encoded(rgba, "WEBP", quality=40, icc_profile=b"profile" * 9)
    yield encoded(colours, "WEBP", save_all=True, append_images=[other])


def _avifs(
    colours: Image.Image, rgba: Image.Image, other: Image.Image, exif: Image.Exif
) -> Iterator[bytes]:
    yield encoded(colours, "AVIF", speed=10, exif=exif)
    yield encoded(rgba, "AVIF", speed=10)
    yield encoded(colours, "AVIF", speed=10, save_all=True, append_images=[other])


def _bmps(colours: Image.Image) -> Iterator[bytes]:
    yield encoded(colours, "BMP")
    yield encoded(colours.convert("P"), "BMP")
    yield encoded(colours.convert("1"), "BMP")
    yield image_files.bmp(
        4, 2, b"\4\1\0\0\0\3\2\1\0\0\0\1", bits=8, compression=1, palette=[(9, 9, 9)] * 4
    )
    masks = (0xF800, 0x7E0, 0x1F)
    yield image_files.bmp(2, 2, b"\xff" * 8, bits=16, compression=3, masks=masks)
    yield image_files.bmp(2, 2, b"\xff" * 16, bits=32, compression=3, masks=masks, header=124)


def _tiffs(colours: Image.Image, rgba: Image.Image) -> Iterator[bytes]:
    for compression in _TIFFS:
        image = colours.convert("1") if compression == "group4" else colours
        yield encoded(image, "TIFF", compression=compression)
    yield encoded(rgba, "TIFF", compression="tiff_lzw", tiffinfo={317: 2})
    yield encoded(colours.convert("P"), "TIFF")
    yield encoded(colours.convert("CMYK"), "TIFF")
    tiles = [zlib.compress(bytes(range(256))) for _ in range(4)]
    yield image_files.tiff(tiles, t256=24, t257=20, t259=8, t322=16, t323=16)
    planes = [b"\1\2" * 12 for _ in range(3)]
    tags = {"t258": [16] * 3, "t262": 2, "t277": 3, "t278": 3, "t284": 2}
    yield image_files.tiff(planes, t256=4, t257=3, **tags)
    sub = {"t262": 6, "t277": 3, "t258": [8] * 3, "t530": [2, 2], "t278": 16}
    yield image_files.tiff([bytes(range(96)) * 4], t256=16, t257=16, **sub)


_SMALL = st.integers(0, 400)
_PLACE = st.one_of(st.integers(0, 40), st.integers(0, 2**16))
_BODY = st.one_of(st.binary(max_size=12), st.sampled_from([b"\0" * 4096, b"\xff" * 64, b"\0" * 32]))
_NUMBER = st.tuples(
    st.just("number"),
    _PLACE,
    st.sampled_from([1, 1, 2, 4, 4, 8]),
    st.sampled_from(["big", "little"]),
    st.one_of(st.sampled_from(NUMBERS), st.integers(0, 2**32 - 1)),
)
_BYTES = st.one_of(
    _NUMBER,
    _NUMBER,
    st.tuples(st.just("insert"), _PLACE, _BODY),
    st.tuples(st.just("cut"), _PLACE, st.integers(1, 64)),
    st.tuples(st.just("repeat"), st.sampled_from([2, 3, 17, 256, 3000])),
)
_EDIT = st.one_of(
    st.tuples(st.just("body"), _SMALL, _BYTES),
    st.tuples(st.just("body"), _SMALL, _BYTES),
    st.tuples(st.just("inside"), _SMALL, _BYTES),
    st.tuples(st.just("drop"), _SMALL),
    st.tuples(st.just("double"), _SMALL, st.sampled_from([2, 2, 3, 20, 150, 6000])),
    st.tuples(
        st.just("again"), _SMALL, st.sampled_from([2, 2, 3, 4]), st.sampled_from([2, 30, 2000])
    ),
    st.tuples(st.just("swap"), _SMALL, _SMALL),
    st.tuples(st.just("name"), _SMALL, st.one_of(_SMALL, st.binary(min_size=1, max_size=4))),
    st.tuples(st.just("depth"), _SMALL, st.sampled_from([-1, 1, 2])),
    st.tuples(st.just("graft"), _SMALL, _SMALL, _SMALL),
)
_TEAR = st.one_of(
    st.none(), st.none(), st.tuples(st.just("end"), _PLACE), st.tuples(st.just("at"), _BYTES)
)
_LARGEST = 3 * 2**20


@st.composite
def hostile_pictures(draw: st.DrawFn, kind: str) -> bytes:
    """Return a valid picture of a format after some changes of its units or its bytes."""
    known = [units for key, units in seeds().items() if key[0] == kind]
    units = list(draw(st.sampled_from(known)))
    for edit in draw(st.lists(_EDIT, max_size=6)):
        units = _edited(units, edit, known)
    data = FORMS[kind].join(units)[:_LARGEST]
    match draw(_TEAR):
        case ("end", place):
            return data[: place % (len(data) + 1)]
        case ("at", change):
            return _changed(data, change)
    return data


def _edited(units: list[Unit], edit: tuple, known: list[tuple[Unit, ...]]) -> list[Unit]:
    """Return units of which one became none, another one or several."""
    if not units:
        return units
    what, number, *rest = edit
    place = number % len(units)
    if what == "again":  # such as a scan's header and its data
        length, times = rest
        run = units[place : place + length]
        size = sum(len(unit.body) + 16 for unit in run)
        return units[:place] + run * min(times, _LARGEST // size) + units[place + length :]
    made = _instead(units, units[place], (what, *rest), known)
    return units[:place] + made + units[place + 1 :]


def _instead(  # noqa: PLR0911  # one per kind of change
    units: list[Unit], unit: Unit, edit: tuple, known: list[tuple[Unit, ...]]
) -> list[Unit]:
    match edit:
        case "body", change:
            return [replace(unit, body=_changed(unit.body, change))]
        case "inside", change:
            return [_changed_inside(unit, change)]
        case "double", times:
            return [unit] * min(times, _LARGEST // (len(unit.body) + 16))
        case "swap", other:
            return [units[other % len(units)]]
        case "name", int(other):
            return [replace(unit, name=units[other % len(units)].name)]
        case "name", bytes(name):
            return [replace(unit, name=name.ljust(len(unit.name), b"a")[: len(unit.name)])]
        case "depth", step:
            return [replace(unit, depth=max(0, unit.depth + step))]
        case "graft", seed, other:
            donor = known[seed % len(known)]
            return [unit, donor[other % len(donor)]]
    return []  # dropped


def _changed_inside(unit: Unit, change: tuple) -> Unit:
    """Return a unit with a change of what it holds compressed, or of itself."""
    try:
        inner = inflated(unit)
    except zlib.error:
        return replace(unit, body=_changed(unit.body, change))
    return deflated(replace(inner, body=_changed(inner.body, change)))


def _changed(body: bytes, change: tuple) -> bytes:
    match change:
        case "number", place, width, order, value:
            place %= max(1, len(body))
            number = (value % 256**width).to_bytes(width, order)
            return body[:place] + number + body[place + width :]
        case "insert", place, more:
            place %= len(body) + 1
            return body[:place] + more + body[place:]
        case "cut", place, size:
            place %= max(1, len(body))
            return body[:place] + body[place + size :]
        case "repeat", times:
            return body * min(times, _LARGEST // (len(body) + 1))
    raise AssertionError(change)
