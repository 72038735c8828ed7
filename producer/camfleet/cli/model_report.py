"""What a worker found out about a model, on the terminal."""

import sys
from typing import Any

import click

from camfleet.cli import output, terminal

_OTHER_LAYERS = 4  # that a report shows


def print_report(report: dict[str, Any]) -> None:
    from camfleet.registry.reports import memory_lines

    others = ", ".join(f"{one['name']} {one['shape']}" for one in report["other_inputs"])
    times = report["milliseconds_per_image"]
    lines = {
        "file": f"{report['format']}, written by Keras {report['keras_version']}",
        "input": " x ".join(map(str, report["input"])) + " (height x width x channels)",
        "other inputs": others or "none",
        **{choice["name"]: _choice(choice) for choice in report.get("choices", ())},
        "layer": f"{report['layer']} ({report['why']})",
        "feature maps": _feature_maps(report),
        "other layers": _other_layers(report),
        "head": ", ".join(report["head"]),
        "outputs": _outputs(report),
        "methods": ", ".join(report["methods"])
        + ("" if "cam" in report["methods"] else f" (not cam: {report['cam']})"),
        "split error": f"{report['split_error']:.1e}",
        "weights": f"{report['conv_bytes'] / 2**20:.1f} MiB conv, "
        f"{report['head_bytes'] / 2**20:.1f} MiB head",
        **memory_lines(report),
        "engine": f"{report['engine']}, differs from Keras by {report['engine_disagreement']:.1e}",
        "time": f"forward pass {times['forward']:.2f} ms, head's gradient "
        f"{times['head_gradient']:.2f} ms per image",
        "bf16": _bf16(report.get("bf16")),
    }
    room = terminal.width(sys.stdout)
    for name, text in lines.items():
        click.echo(f"{name:13} {terminal.wrap(text, 14, room, lines=9)}")


def _bf16(cost: dict[str, Any] | None) -> str:
    """Return what computing in bfloat16 costs the model."""
    if cost is None:
        return "not measured: no worker was alive that computes so"
    if not cost["change"]:
        return f"refused: {cost['refused']}"
    change, jpeg = cost["change"], cost["jpeg95"]
    text = (
        f"{cost['speedup']:g} times as fast; maps move by {change['median']:.1e} bits, at most "
        f"{change['largest']:.1e} (JPEG 95: {jpeg['median']:.1e}, at most {jpeg['largest']:.1e}), "
        f"the top class stays in {change['same']:.0%} of {cost['images']} pictures "
        f"(JPEG 95: {jpeg['same']:.0%})"
    )
    return f"refused: {cost['refused']}; {text}" if cost["refused"] else text


def _other_layers(report: dict[str, Any]) -> str:
    """Return the last layers that could have been chosen instead, and how many there are."""
    chosen = report["layer"].split(",")
    others = [layer for layer in report["candidates"] if layer["path"] not in chosen]
    shown = ", ".join(f"{layer['path']} {layer['grid']}" for layer in others[-_OTHER_LAYERS:])
    more = f" (the last {_OTHER_LAYERS} of {len(others)})" if len(others) > _OTHER_LAYERS else ""
    return shown + more or "none"


def _choice(choice: dict[str, Any]) -> str:
    return f"{choice['value']}{' (default)' if choice['default'] else ''}"


def _feature_maps(report: dict[str, Any]) -> str:
    """Return the size of the grid, where it lies in the input, and what that rests on."""
    height, width = report["grid"]
    text = f"{report['channels']} of {height} x {width}"
    if report.get("covers"):
        top, bottom, left, right = report["covers"]
        text += f", on rows {top:g} to {bottom:g} and columns {left:g} to {right:g} of the input"
    if report.get("assumed"):
        text += f" (assumed: {', '.join(report['assumed'])} leaves places alone)"
    return text


def _outputs(report: dict[str, Any]) -> str:
    """Return what the outputs mean, why, and whether that's a guess."""
    number = report["classes"]
    unit = "class" if number == 1 else "classes"
    if report["activation"] == "none":
        unit = "number, not a class" if number == 1 else "numbers, not classes"
    text = f"{number} {unit}, activation {report['activation']}"
    meant = report.get("outputs")  # missing where an earlier version has checked the model
    if not meant:
        removed = report["ending"] != "linear"
        return text + (f"; {report['ending']} taken off for logits" if removed else "")
    guess = " (a guess: set activation in the card)" if meant["guessed"] else ""
    return f"{text}; {meant['reason']}{guess}"


def print_classes(picture: dict[str, Any]) -> None:
    """Print the top classes of a picture as a table."""
    click.echo(f"\n{terminal.clean(picture['path'])}")
    rows = [{"class": one["class_name"], **one} for one in picture["classes"]]
    output.table(rows, ("class", "probability", "logit"))
