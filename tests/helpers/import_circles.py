"""Circles of imports among what stands in one folder."""

import ast
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter


def circles(texts):
    """Return for each folder in which something imports itself, by way of others, the circle.

    `texts` are files by path. What a function imports, and what types alone need, counts too. In a
    folder stand its modules, its own `__init__`, and folders, each for all that it has.
    """
    modules = {_dotted(path): text for path, text in texts.items()}
    steps = {module: set(_imported(text, modules)) for module, text in modules.items()}
    folders = [_dotted(path) for path in texts if path.endswith("/__init__.py")]
    found = {folder: _circle(_within(folder, steps)) for folder in folders}
    return {folder: circle for folder, circle in found.items() if circle}


def _dotted(path):
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _imported(text, modules):
    for node in ast.walk(ast.parse(text)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            # The last word may be something that a module has.
            yield from [one for one in (name, name.rpartition(".")[0]) if one in modules][:1]


def _within(folder, steps):
    graph = defaultdict(set)
    for module, others in steps.items():
        graph[_part(folder, module)] |= {_part(folder, other) for other in others}
    graph.pop("", None)
    return {part: others - {part, ""} for part, others in graph.items()}


def _part(folder, module):
    """Return to what in a folder a module belongs, "" for nothing in it."""
    if module == folder:
        return "__init__"
    below = module.removeprefix(f"{folder}.")
    return "" if below == module else below.partition(".")[0]


def _circle(graph):
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []
