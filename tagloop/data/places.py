"""Where the rows of a split stand in the file that they were read from: "data/test.conll:17".

Prepared data does not hold places. They are found by reading the file once more, up to the last row
that is asked for.
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from tagloop.data.row import Choices
from tagloop.data.sources import find_sources
from tagloop.data.tables import open_table
from tagloop.data.words.readers import read_source
from tagloop.errors import InputError
from tagloop.options.config import Config

LINE = re.compile(r":[0-9]+$")


def places_of_sentences(
    config: Config, choices: Choices, stored: tuple[str, np.ndarray], rows: Sequence[int]
) -> list[str]:
    """The places of sentences of words.

    Args:
        config: the options of the run; they name the data.
        stored: the split that the rows of the run's split are stored in, and their numbers there.
        rows: numbers of rows of the run's split.

    Returns:
        A place for every row; [] if the rows are in no file with lines, or it cannot be read.
    """
    split, numbers = stored
    try:
        source = _file_of(config, split)
        if source is None:
            return []
        _, sentences = read_source(source, split, choices)
        return _chosen((row.place for row in sentences), numbers[rows].tolist())
    except (InputError, OSError):
        return []


def places_of_rows(
    config: Config, stored: tuple[str, np.ndarray], rows: Sequence[int]
) -> list[str]:
    """The places of rows of a table; arguments and result as in `places_of_sentences`."""
    split, numbers = stored
    try:
        source = _file_of(config, split)
        if source is None:
            return []
        places = (place for place, _ in open_table(source, split).rows())
        return _chosen(places, numbers[rows].tolist())
    except (InputError, OSError):
        return []


def _file_of(config: Config, split: str) -> Path | None:
    if config.dataset_name:
        return None
    source = find_sources(config, [], dict).get(split)
    return source if isinstance(source, Path) and source.is_file() else None


def _chosen(places: Iterable[str], rows: Sequence[int]) -> list[str]:
    found = list(itertools.islice(places, max(rows, default=-1) + 1))
    chosen = [found[row] for row in rows if row < len(found)]
    has_lines = len(chosen) == len(rows) and all(map(LINE.search, chosen))
    return chosen if has_lines else []
