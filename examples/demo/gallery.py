"""One self-contained page of explanations: the photograph, then one overlay per class."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

from camfleet.contract.results import Result, Status
from camfleet.foreign import visible, without_secrets

POLICY = "script-src 'none'; object-src 'none'; base-uri 'none'; form-action 'none'"
STYLE = Path(__file__).parent / "gallery.css"
STATUS_WORDS = {
    Status.OK: "ok",
    Status.NO_EVIDENCE: "no evidence for this class",
    Status.FAILED: "failed",
}


@dataclass(frozen=True)
class Row:
    """A result and its pictures, as paths relative to the gallery's folder with `/` between."""

    result: Result
    photo: str
    overlay: str | None


def write_gallery(folder: Path, rows: Sequence[Row]) -> Path:
    """Write `index.html` into `folder`, one card per image and model in the order of `rows`."""
    page = folder / "index.html"
    page.write_text(render(rows, STYLE.read_text("utf-8")), "utf-8")
    return page


def render(rows: Sequence[Row], style: str) -> str:
    """Return the page; rows of one image and model stand together."""
    cards = (_card(list(group)) for _, group in groupby(rows, _card_key))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>camfleet: which pixels made the model decide so</title>
<style>
{style}</style>
</head>
<body>
<header>
<h1>Which pixels made the model decide so</h1>
{_counts([row.result for row in rows])}
<p class="legend">evidence for the class: little <i aria-hidden="true"></i> most</p>
<p class="quiet">Margins without colour were cropped away: the model never saw them.</p>
</header>
<main>
{_lines(cards)}
</main>
</body>
</html>
"""


def _card_key(row: Row) -> tuple[str, str]:
    return row.photo, row.result.model_id


def _counts(results: Sequence[Result]) -> str:
    counts = {
        "images": len({result.image_uri for result in results}),
        "models": len({result.model_id for result in results}),
        "explanations": len(results),
        "without evidence": sum(result.status == Status.NO_EVIDENCE for result in results),
        "failed": sum(result.status == Status.FAILED for result in results),
    }
    pairs = (f"<div><dt>{name}</dt><dd>{count}</dd></div>" for name, count in counts.items())
    return f'<dl class="counts">{"".join(pairs)}</dl>'


def _card(rows: Sequence[Row]) -> str:
    first = rows[0]
    name = _text(first.photo.rpartition("/")[2])
    model = _text(f"{first.result.model_id}@{first.result.model_version}")
    return f"""<article>
<header><h2>{name}</h2><span class="quiet">{model} · {_text(first.result.method)}</span></header>
<div class="pictures">
<figure>{_image(first.photo, f"photograph {name}")}
<figcaption class="quiet">original{_size(first.result)}</figcaption></figure>
{_lines(map(_explanation, rows))}
</div>
</article>"""


def _explanation(row: Row) -> str:
    result = row.result
    if result.status == Status.FAILED:
        return _failure(result)
    name = _text(result.class_name or f"class {result.class_index}")
    if row.overlay:
        what = f"where {_text(row.photo.rpartition('/')[2])} shows evidence for {name}"
        picture = _image(row.overlay, what)
    else:
        picture = '<div class="blank">no overlay</div>'
    return f"""<figure>{picture}
<figcaption>{_probability(name, result.probability)}
<div class="facts"><span class="{result.status}">{STATUS_WORDS[result.status]}</span>
<code class="quiet">{_text(result.layer or "")}{_grid(result)}</code></div>
</figcaption></figure>"""


def _failure(result: Result) -> str:
    code, message = _text(result.error_code or ""), _text(result.error_message or "")
    return f"""<figure><div class="blank">no overlay</div>
<figcaption><div class="facts"><span class="failed">failed</span><code>{code}</code></div>
{message}</figcaption></figure>"""


def _probability(name: str, probability: float | None) -> str:
    """Return the class with its probability; `name` is escaped."""
    if probability is None:
        return f'<div class="name"><span>{name}</span></div>'
    percent = f"{probability:.1%}" if probability >= 0.001 else "&lt; 0.1%"
    return f"""<div class="name"><span>{name}</span><span>{percent}</span></div>
<div class="bar" aria-hidden="true"><i style="width:{probability:.1%}"></i></div>"""


def _image(path: str, description: str) -> str:
    """Return an image in the gallery's own folder; `description` is escaped."""
    source = escape(quote(path.lstrip("/").encode("utf-8", "surrogateescape")))
    return f'<img src="{source}" alt="{description}" loading="lazy">'


def _size(result: Result) -> str:
    geometry = result.geometry
    return f", {geometry.image_width} × {geometry.image_height}" if geometry else ""  # noqa: RUF001


def _grid(result: Result) -> str:
    if result.grid_height is None:
        return ""
    return f" · {result.grid_width} × {result.grid_height} map"  # noqa: RUF001


def _text(text: str) -> str:
    """Return somebody's text as HTML: no markup, nothing that doesn't show, no secrets of URLs."""
    return escape(visible(without_secrets(text)))


def _lines(parts: Iterable[str]) -> str:
    return "\n".join(parts)
