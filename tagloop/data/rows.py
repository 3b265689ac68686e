"""Rows with named columns -> the columns that a task chooses, memory-mapped. Knows no tags.

rows = load_rows(config, choose, build_sample)
rows.splits["train"][0]  # {"text": "It rained .", "label": "weather"}
"""

import contextlib
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from tagloop.data.sources import find_sources, source_key
from tagloop.data.storage.arrow_files import write_rows
from tagloop.data.storage.selection import select
from tagloop.data.storage.store import build_once, source_digest
from tagloop.data.tables import Table, open_table
from tagloop.errors import InputError
from tagloop.options.config import Config

# Makes strings of the chosen cells of a row: (row, chosen name -> column, place) -> cells.
ReadRow = Callable[[dict, dict[str, str | None], str], list[str | None]]


@dataclass(frozen=True)
class Rows:
    """The chosen columns of the splits that there are.

    Attributes:
        splits: every cell a string (a number as JSON writes it), null where there is none.
        whole: the same before --max_train_samples and such, as the data has them.
        columns: chosen name -> name in the data, as the first split has them.
        class_names: chosen name -> names of its integers, for a ClassLabel column.
        fingerprints: per split, a hash of its rows; paths and formats have no part in it.
        warnings: for the user; nothing in them stops a run.
        stored: per split, the split that its rows are stored in, and their numbers there.
    """

    splits: dict[str, datasets.Dataset]
    whole: dict[str, datasets.Dataset]
    columns: dict[str, str]
    class_names: dict[str, list[str]]
    fingerprints: dict[str, str]
    warnings: list[str]
    stored: dict[str, tuple[str, np.ndarray]]

    @property
    def columns_line(self) -> str:
        """The chosen columns in one line, for people: "text 'body', label 'class'"."""
        return ", ".join(f"{name} {column!r}" for name, column in self.columns.items() if column)

    def class_of(self, cell: str | None, name: str) -> str | None:
        """The class that a cell names; None for none (empty, or -1 of a ClassLabel, as in GLUE)."""
        cell, names = (cell or "").strip(), self.class_names.get(name)
        if cell == "" or (names and cell == "-1"):
            return None
        return names[int(cell)] if names else cell

    def value_of(
        self, cell: str | None, name: str, label2id: dict[str, int] | None
    ) -> int | float | None:
        """The class id of a cell, or its number where there are no classes; None for none.

        What is no class of label2id, or no finite number, is none. A number is a class in every
        spelling: 1, 1.0 and 01.
        """
        if label2id is None:
            try:
                number = float(cell or "")
            except ValueError:
                return None
            return number if math.isfinite(number) else None
        known = self.class_of(cell, name)
        return label2id.get(known, label2id.get(same_number(known, label2id)))


def same_number(cell: str | None, names: Iterable[str]) -> str | None:
    """The one of the names that is the same number in another spelling; None: there is none.

    >>> same_number("1.0", ["0", "1"]), same_number("2", ["0", "1"])
    ('1', None)
    """
    number = number_of(cell)
    alike = [name for name in names if number is not None and number_of(name) == number]
    return alike[0] if len(alike) == 1 else None


def number_of(cell: str | None) -> int | float | None:
    """The number that a cell is, which may be infinite or NaN; None for words and for no cell.

    A whole number is exact, as ids may have more digits than a float.

    >>> number_of("01.0"), number_of("17"), number_of("1_1")  # Python alone takes the last for 11.
    (1.0, 17, None)
    """
    if cell is not None and re.fullmatch(r"\s*[+-]?[0-9]{1,300}\s*", cell):
        return int(cell)
    try:
        return None if "_" in (cell or "") else float(cell or "")
    except ValueError:
        return None


class ClassNames:
    """The names of the integers of a ClassLabel column, which stands in several splits.

    Every split may have an order of its own, or words in place of the integers. The names here are
    those of all splits, in the order of the first split that has some; the class of a cell becomes
    its number among them.

    Attributes:
        names: of all splits; empty if no split has any.
    """

    def __init__(self, names_of_splits: Mapping[str, list[str] | None]):
        self._of_split = names_of_splits
        learned = [names or () for split, names in names_of_splits.items() if split != "predict"]
        self.names = list(dict.fromkeys(chain.from_iterable(learned)))

    def number(self, cell: str | None, split: str, place: str) -> str | None:
        """The cell of a split as the number of its class; -1 and empty cells stay as they are.

        Raises:
            InputError: a number without a name.
        """
        bare = (cell or "").strip()
        if not self.names or bare in ("", "-1"):
            return cell
        own = self._of_split.get(split)
        class_ = bare
        if own is not None or (bare.isdecimal() and bare not in self.names):
            known = own or self.names
            if not bare.isdecimal() or int(bare) >= len(known):
                raise InputError(
                    f"{place}: the label {bare} has no name; the names are those of 0 to "
                    f"{len(known) - 1} ({', '.join(known)[:100]})"
                )
            class_ = known[int(bare)]
        if class_ not in self.names:
            if split == "predict":  # Data to predict adds no class.
                return None
            self.names.append(class_)
        return str(self.names.index(class_))


def class_names_of(
    tables: Mapping[str, Table], columns: Mapping[str, dict[str, str | None]]
) -> dict[str, ClassNames]:
    """For every chosen name the names of its integers in all splits.

    Args:
        columns: for every split the chosen name -> column of the table, None where it has none.
    """
    chosen = dict.fromkeys(name for of_split in columns.values() for name in of_split)
    return {
        name: ClassNames(
            {
                split: table.class_names(columns[split][name])
                for split, table in tables.items()
                if columns[split].get(name) is not None
            }
        )
        for name in chosen
    }


def load_rows(
    config: Config,
    choose: Callable[[Table, str], dict[str, str | None]],
    build_sample: Callable[[], dict[str, list[dict]]],
    read_row: ReadRow | None = None,
    read_key: Sequence[str] = (),
    together: Sequence[str] = ("text", "pair", "source", "context"),
) -> Rows:
    """Load every split, each process for itself; the first one does the work.

    Args:
        choose: (table, split) -> chosen name -> column of the table, None where it has none;
            the same chosen names for every split.
        build_sample: what to read where the options name no data.
        read_row: makes the cells of a row; None: every cell holds one value, see `cell_text`.
        read_key: all else that decides what `read_row` makes of a row.
        together: chosen names; rows with the same cells of these stay in one part of --folds.

    Raises:
        InputError: no such data, or a row that cannot be read.
    """
    warnings: list[str] = []
    sources = find_sources(config, warnings, build_sample)
    tables = {split: open_table(source, split) for split, source in sources.items()}
    columns = {split: choose(table, split) for split, table in tables.items()}
    key = {
        "sources": {split: source_key(source) for split, source in sources.items()},
        "columns": columns,
        "code": source_digest("tagloop.data.rows"),
        "sample": config.uses_sample_corpus and source_digest(build_sample.__module__),
        "read": [read_row and source_digest(read_row.__module__), *read_key],
        "versions": [datasets.__version__, pa.__version__],
    }

    folder = build_once(
        "rows", key, lambda folder: _build(folder, sources, tables, columns, read_row or read_cells)
    )
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    texts = [name for name in columns.get("train", ()) if name in together]
    selected = select(folder, facts["rows"], facts["fingerprints"], config, texts=texts)
    whole = {split: datasets.Dataset.from_file(str(folder / f"{split}.arrow")) for split in sources}
    return Rows(
        selected.splits, whole, facts["columns"], facts["class_names"], selected.fingerprints,
        warnings, selected.stored,
    )  # fmt: skip


def _build(
    folder: Path,
    sources: dict[str, Any],
    tables: dict[str, Table],
    columns: dict[str, dict[str, str | None]],
    read_row: ReadRow,
) -> None:
    """Write `<split>.arrow` and facts.json into `folder`."""
    facts: dict[str, dict] = {"columns": {}, "class_names": {}, "rows": {}, "fingerprints": {}}
    classes = class_names_of(tables, columns)
    for split, source in sources.items():
        chosen, digest = columns[split], hashlib.sha256()
        for name, column in chosen.items():
            if column is not None:
                facts["columns"].setdefault(name, column)
        cells = _cells(tables[split], split, chosen, classes, digest, read_row)
        schema = pa.schema({name: pa.string() for name in chosen})
        facts["rows"][split] = write_rows(folder / f"{split}.arrow", cells, schema)
        facts["fingerprints"][split] = digest.hexdigest()
        if not facts["rows"][split]:
            raise InputError(f"{split} ({source}): no rows; check it, or leave the split out")
    facts["class_names"] = {name: known.names for name, known in classes.items() if known.names}
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


def _cells(
    table: Table,
    split: str,
    chosen: dict[str, str | None],
    classes: dict[str, ClassNames],
    digest: Any,
    read_row: ReadRow,
) -> Iterator[tuple]:
    """Yield the chosen cells of every row as strings; hash them on the way."""
    for place, row in table.rows():
        cells = [
            classes[name].number(cell, split, place)
            for name, cell in zip(chosen, read_row(row, chosen, place), strict=True)
        ]
        digest.update(json.dumps(cells, separators=(",", ":")).encode() + b"\n")
        yield tuple(cells)


def read_cells(row: dict, chosen: dict[str, str | None], place: str) -> list[str | None]:
    """The chosen cells of a row as strings.

    Raises:
        InputError: a cell holds several values.
    """
    return [cell_text(row, column, place) for column in chosen.values()]


def cell_text(row: dict, column: str | None, place: str) -> str | None:
    """A cell as a string, a number as JSON writes it; None where there is none, or NaN.

    Raises:
        InputError: it holds several values.
    """
    value = None if column is None else row.get(column)
    if isinstance(value, list | dict):
        raise InputError(
            f"{place}: column {column!r} holds {value!r:.60}, not one value; name another column"
        )
    if isinstance(value, float) and math.isnan(value):  # pandas writes an empty cell so.
        return None
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray):  # Parquet may hold texts without saying so.
        with contextlib.suppress(UnicodeDecodeError):
            return value.decode("utf-8")
        raise InputError(f"{place}: column {column!r} holds bytes that are no text in UTF-8")
    try:
        return json.dumps(value)
    except TypeError:  # a decimal number, a date
        return str(value)
