"""The tables of docs/settings.md, as they follow from the code.

To print them: `PYTHONPATH=tests python -m helpers.settings_tables`.
"""

import re
from dataclasses import fields

from camfleet.settings import GROUPS, variable
from camfleet.variables import as_text

UNITS = {"G": 2**30, "M": 2**20, "K": 2**10}


def table(group):
    """Return the Markdown table of a group's settings."""
    rows = [
        f"| `{variable(setting)}` | {default(setting)} | {setting.metadata['doc']} |"
        for setting in fields(GROUPS[group])
    ]
    return "\n".join(["| variable | default | meaning |", "| --- | --- | --- |", *rows])


def default(setting):
    if setting.metadata["required"]:
        return "required"
    text = as_text(setting.default)
    if setting.default and setting.name.endswith(("_bytes", "_memory")):
        whole = (unit for unit, size in UNITS.items() if setting.default % size == 0)
        unit = next(whole)
        text = f"{setting.default // UNITS[unit]}{unit}"
    return f"`{text}`" if text else ""


def tables_in(page):
    """Return the tables that stand in a page, by group."""
    pattern = r"<!-- settings: (\w+) -->\n(.*?)\n<!-- end of settings -->"
    return {group: text.strip() for group, text in re.findall(pattern, page, re.DOTALL)}


if __name__ == "__main__":
    for name in GROUPS:
        print(f"<!-- settings: {name} -->\n\n{table(name)}\n\n<!-- end of settings -->\n")  # noqa: T201  # its output
