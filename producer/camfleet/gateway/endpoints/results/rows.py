"""Single rows of a job: an image with all its maps, and the raw maps of a part."""

from functools import partial
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from starlette.responses import Response

from camfleet.contract.results import Result
from camfleet.gateway.calls import Call, Route, reply
from camfleet.gateway.endpoints import served
from camfleet.gateway.endpoints.jobs import own_job
from camfleet.gateway.reading import PartRows
from camfleet.jobstore import keys

MAPS = "application/vnd.camfleet.maps"
_ALIGNED = 8
_GEOMETRY = (
    *("image_height", "image_width", "input_height", "input_width"),
    *("left", "top", "right", "bottom"),
)


class ImageRows(Struct, kw_only=True):
    """All rows of an image by one model, each with its map; `row` is the number of the first.

    `names` says how many rows the part has. `pictures` are the kinds that each row has stored.
    """

    job_id: str
    part: int
    row: int
    rows_in_part: int
    rows: tuple[Result, ...]
    pictures: tuple[tuple[str, ...], ...]


class MapsQuery(Struct, kw_only=True):
    """A part by its number, as rows name it."""

    part: Annotated[int, Meta(ge=0, lt=10**9)]


async def image(call: Call) -> Response:
    """Return an image's rows; values that aren't finite are null."""
    job_id = (await own_job(call)).id
    await call.large()

    def read() -> ImageRows:
        reading = call.services.reading
        record = reading.record(job_id)
        part, row = reading.row(record, call.path("row"))
        first, results = part.image_of(row)
        return ImageRows(
            job_id=job_id,
            part=record.number(part.ref),
            row=first,
            rows_in_part=part.table.num_rows,
            rows=tuple(results),
            pictures=tuple(map(_pictures, results)),
        )

    return reply(await call.services.threads.long(read))


async def maps(call: Call) -> Response:
    """Return the raw maps of a part, see docs/http-api.md."""
    asked = call.query(MapsQuery)
    job_id = (await own_job(call)).id
    await call.large()

    def read() -> tuple[bytes, str]:
        reading = call.services.reading
        part = reading.part(reading.record(job_id), asked.part)
        return packed(part, asked.part), f'"{part.digest[:32]}"'

    body, tag = await call.services.threads.long(read)
    headers = {"ETag": tag, **served.SHORT}
    if tag in call.request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=MAPS)


def packed(part: PartRows, number: int) -> bytes:
    """Return the maps of a part: a head as JSON, preceded by its length, then the values.

    The length is a little-endian uint32, and a multiple of 8 less 4; the values are float16.
    """
    table = part.table
    halves, places = _values(table["map"])
    columns = [table[name].to_pylist() for name in ("grid_height", "grid_width", "map_scale")]
    numbers = zip(
        *columns, table["raw_max"].to_pylist(), table["geometry"].to_pylist(), strict=True
    )
    rows = []
    for row, (height, width, scale, highest, geometry) in enumerate(numbers):
        start, end = places[row]
        if height and width and height * width == end - start:
            rows.append(
                {
                    "row": row,
                    "height": height,
                    "width": width,
                    "start": start,
                    "scale": scale,
                    "raw_max": highest,
                    "geometry": geometry and [geometry[name] for name in _GEOMETRY],
                }
            )
    head = msgspec.json.encode({"part": number, "digest": part.digest, "rows": rows})
    head += b" " * (-(len(head) + 4) % _ALIGNED)
    return len(head).to_bytes(4, "little") + head + halves


def _values(column: Any) -> tuple[bytes, list[tuple[int, int]]]:
    """Return the values of a column of lists of float16, and where each row's lie among them."""
    found, places, end = bytearray(), [], 0
    for chunk in column.chunks:
        flat = chunk.flatten()
        buffer = flat.buffers()[1]
        if buffer is not None:
            found += buffer.slice(2 * flat.offset, 2 * len(flat)).to_pybytes()
        for length in chunk.value_lengths().to_pylist():
            start, end = end, end + (length or 0)
            places.append((start, end))
    return bytes(found), places


def _pictures(row: Result) -> tuple[str, ...]:
    pack = row.pack
    own = (
        kind for kind in keys.PICTURES if getattr(row, f"{kind}_uri") or getattr(pack, kind, None)
    )
    return tuple(own)


_READ = partial(Route, method="GET", scopes=("jobs:read",))

ROUTES = (
    _READ(
        path="/v1/jobs/{job}/rows/{row}",
        summary="An image's rows with their maps; a row is named PART:ROW",
        handler=image,
        answers={200: ImageRows},
    ),
    _READ(
        path="/v1/jobs/{job}/maps",
        summary="The raw maps of a part as float16, with grids and geometry",
        handler=maps,
        query=MapsQuery,
        headers={"If-None-Match": "An ETag of an earlier answer"},
        answers={200: MAPS, 304: None},
    ),
)
