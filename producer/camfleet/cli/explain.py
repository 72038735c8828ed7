"""camfleet explain: one image or a few, while somebody waits."""

from typing import Any

import click

from camfleet.cli import EXIT_FAILED_IMAGES, filters, options, output, values
from camfleet.contract.outputs import PICTURES


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--model", "model", required=True, help="A model id, or id@version.")
@options.explain_options
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="NAME=V[,V...]",
    help="Values for a model input other than the image; repeat for several.",
)
@click.option("--upload", is_flag=True, help="Send local files to the bucket for the worker.")
@click.option(
    "--timeout",
    type=values.SECONDS,
    default=60,
    show_default=True,
    help="Seconds to wait for an answer.",
)
@click.option(
    "--save",
    metavar="DIR",
    type=values.FOLDER,
    help="Save the pictures and the photograph to this folder, with readable names.",
)
@filters.presign
@options.as_json
@click.pass_context
def explain(ctx: click.Context, /, images: tuple[str, ...], **given: Any) -> None:
    """Explain images and print a row per image and class.

    IMAGE is a path that the worker may read, or a file, s3, http or https URI. With --json the
    rows are one JSON array. Exit code 3 if an image failed, 1 if a picture couldn't be saved.
    """
    keywords = options.client_keywords(given)
    if given["presign"] and keywords.get("pictures") == []:
        raise click.UsageError("--presign is for pictures, of which --picture none asks for none")
    keywords["inputs"] = dict(map(_input, given["inputs"]))
    with output.client() as client:
        rows = _rows(client, images, given, keywords)
        saved = client.pictures.save(rows, given["save"]) if given["save"] else None
        if given["presign"]:
            rows = [_presigned(client, row, given["presign"]) for row in rows]
    failed = [row for row in rows if row["status"] == "failed"]
    if given["as_json"]:
        output.dump(rows)
    else:
        output.answers(rows, whole=bool(given["presign"]))
    for row in failed:
        output.say(f"{row['error_code']}: {row['error_message']}")
    if saved:
        output.say(f"{saved.pictures} pictures in {saved.folder}")
        for one in saved.failures:
            output.say(f"{one.name}: {one.reason}")
    if failed:
        ctx.exit(EXIT_FAILED_IMAGES)
    if saved and not saved.whole:
        ctx.exit(1)


def _rows(
    client: Any, images: tuple[str, ...], given: dict[str, Any], keywords: dict[str, Any]
) -> list[dict[str, Any]]:
    from camfleet.contract.codec import encode
    from camfleet.errors import ImageError, SourceUnreachable

    rows: list[dict[str, Any]] = []
    answers = []
    for image in images:
        local = given["upload"] and "://" not in image
        answers.append(
            client.explain(
                client.upload(image) if local else image,
                model=given["model"],
                **keywords,
            )
        )
    with output.bar(len(images), "explaining") as bar:
        for image, answer in zip(images, answers, strict=True):
            try:
                found = [encode(result) for result in answer.result(given["timeout"])]
            except (ImageError, SourceUnreachable) as error:
                found = [_failed(answer.image_uri, given["model"], error)]
            if answer.image_uri.startswith("s3://") and "://" not in image:
                found = [{**row, "item_id": image} for row in found]  # uploaded: its own name
            rows += found
            bar.update()
    return rows


def _presigned(client: Any, row: dict[str, Any], seconds: int) -> dict[str, Any]:
    uris = {name: row.get(name) for name in (f"{kind}_uri" for kind in PICTURES)}
    return row | {name: client.pictures.presign(uri, seconds) for name, uri in uris.items() if uri}


def _input(text: str) -> tuple[str, list[float]]:
    name, _, numbers = text.partition("=")
    try:
        found = [float(number) for number in numbers.split(",")]
    except ValueError:
        found = []
    if not name or not found:
        raise click.BadParameter(f"--input {text!r} is not of the form NAME=V[,V...]")
    return name, found


def _failed(image: str, model: str, error: Any) -> dict[str, Any]:
    from camfleet.contract.results import Result

    return {
        **dict.fromkeys(Result.__struct_fields__),
        "item_id": image,
        "image_uri": image,
        "model_id": model,
        "status": "failed",
        "error_code": error.code,
        "error_message": error.message,
    }
