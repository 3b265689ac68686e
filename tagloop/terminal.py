"""Lays text out for a terminal: its width, its colours, progress bars and tables.

Where the output is no terminal, lines stay whole, have no colour, and hold every number.
"""

import os
import shutil
import sys
import textwrap
from collections.abc import Mapping
from typing import Any, TextIO

from tqdm import tqdm

NAME_WIDTH = 11  # columns of the name of an entry
YELLOW, PLAIN = "\x1b[33m", "\x1b[0m"
ROWS_OF_HEADER = 20  # rows of a table until its header is printed again
NOTEBOOK_WIDTH = 100  # columns that a notebook shows without wrapping, in a window of usual width
GAP = 2  # blanks between two columns of a table


def is_terminal(stream: TextIO | None) -> bool:
    """True if a stream writes to a terminal."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # The stream is closed.
        return False


def uses_colour(stream: TextIO | None) -> bool:
    """True for a terminal whose user has not set NO_COLOR (no-color.org)."""
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return wanted and is_terminal(stream)


def is_notebook() -> bool:
    """True in the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return "IPKernelApp" in getattr(shell, "config", {})


def width_of(stream: TextIO | None) -> int | None:
    """The number of columns of a terminal or of a notebook; None where lines stay whole."""
    if is_notebook():
        return NOTEBOOK_WIDTH
    return shutil.get_terminal_size().columns if is_terminal(stream) else None


def entry(name: str, text: str, width: int | None) -> str:
    """A name, and the text about it on its right.

    Args:
        width: columns of the terminal, into which the text is wrapped; None: the text is one line.
    """
    if width is None or len(text) <= width - NAME_WIDTH - 1:
        return f"{name:<{NAME_WIDTH}} {text}"
    lines = textwrap.wrap(
        text, max(width - NAME_WIDTH - 1, 20), break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(
        f"{name if at == 0 else '':<{NAME_WIDTH}} {line}" for at, line in enumerate(lines)
    )


def progress_bar(total: float, name: str, *, is_shown: bool = True, **options: Any) -> tqdm:
    """A bar on stderr with the share that is done, and the time taken and left.

    Args:
        total: what there is to do, in any unit.
        name: what is done; it stands before the bar.
        is_shown: False: nothing is shown. A bar is never shown where stderr is no terminal.
        options: further arguments of tqdm.
    """
    layout = "{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} {elapsed}<{remaining}"
    return tqdm(
        total=total,
        desc=name,
        bar_format=layout,
        dynamic_ncols=True,
        leave=False,
        disable=None if is_shown else True,  # None asks tqdm to look for a terminal.
        **options,
    )


def slow_bar(total: float, name: str, **options: Any) -> tqdm:
    """A bar for work that is usually done in a moment: it is shown after a second of work.

    Only the first process of a run shows the bar.
    """
    is_first = os.environ.get("RANK", "0") == "0"
    return progress_bar(total, name, is_shown=is_first, delay=1, **options)


class Table:
    """Rows under a header, which is printed again after 20 rows and when a column changes.

    On a terminal, columns for which the terminal is too narrow are left out.

    Args:
        columns: names in their order on the screen, with the smallest width of each. Further
            columns come with their first row, and stand on the right.
        spare: names of the columns that are left out before any other.
        is_named: True if the first column holds names, which stand on the left of their column.
        room: columns of the terminal that stay free at the right end of a row, for a mark.
    """

    def __init__(
        self,
        columns: Mapping[str, int],
        *,
        spare: tuple[str, ...] = (),
        is_named: bool = False,
        room: int = 0,
    ):
        self._widths = {name: max(len(name), width) for name, width in columns.items()}
        self._spare, self._is_named, self._room = spare, is_named, room
        self._header: str | None = None
        self._rows = 0

    def make_room(self, cells: Mapping[str, str]) -> None:
        """Add the columns of a row that are new, and widen those that are too narrow."""
        for name, cell in cells.items():
            self._widths[name] = max(self._widths.get(name, len(name)), len(cell))

    def add(self, cells: Mapping[str, str], *, width: int | None, mark: str = "") -> str:
        """A row as text, below the header if the header is due.

        Args:
            cells: the text of the cells by the name of their column; the others stay empty.
            width: columns of the terminal; None: every column is shown.
            mark: a word behind the row.
        """
        self.make_room(cells)
        shown = self._columns_within(width)
        header = self._line({name: name for name in shown}, shown)
        lines = [self._line(cells, shown) + (f"  {mark}" if mark else "")]
        if header != self._header or self._rows % ROWS_OF_HEADER == 0:
            lines.insert(0, header)
            self._header, self._rows = header, 0
        self._rows += 1
        return "\n".join(line.rstrip() for line in lines)

    def _columns_within(self, width: int | None) -> list[str]:
        """The names of the columns for which a terminal has room, in their order."""
        if width is None:
            return list(self._widths)
        chosen, free = set(), width - self._room + GAP
        for name in sorted(self._widths, key=lambda name: name in self._spare):
            if self._widths[name] + GAP <= free:
                chosen.add(name)
                free -= self._widths[name] + GAP
        return [name for name in self._widths if name in chosen]

    def _line(self, cells: Mapping[str, str], names: list[str]) -> str:
        texts = [f"{cells.get(name, ''):>{self._widths[name]}}" for name in names]
        if self._is_named and names:
            texts[0] = f"{cells.get(names[0], ''):<{self._widths[names[0]]}}"
        return (" " * GAP).join(texts)
