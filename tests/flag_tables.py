"""The tables of docs/migrating.md: which flags a script has, and what they are here."""

import re

from page_commands import read


def section_of(title: str) -> str:
    """The text below a heading of the page."""
    return read("docs/migrating.md").split(f"\n## {title}\n")[1].split("\n## ")[0]


def flags_of(section: str) -> dict[str, list[str]]:
    """The cells behind each flag that has a row of its own: default there, here, what differs."""
    lines = re.findall(r"^\| `--(\w+)` \|(.*)\|$", section, re.MULTILINE)
    rows = {name: [cell.strip().strip("`") for cell in rest.split("|")] for name, rest in lines}
    return {name: cells for name, cells in rows.items() if len(cells) == 3}


def shown(value: object) -> str:
    """A default as the tables write it."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def other_than(default: object) -> object:
    """A value that is not the default of a flag without bounds."""
    if isinstance(default, bool) or default is None:
        return True if default is False else "something"
    return default + 1 if isinstance(default, int | float) else "something"
