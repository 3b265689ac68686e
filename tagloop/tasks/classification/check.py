"""--check_data for text classification: what the rows hold and what is wrong with them."""

from array import array
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerFast

from tagloop.data.check import SAYS_NOTHING, FirstSight, Report, SplitCounts, Survey
from tagloop.data.rows import ClassNames, cell_text, same_number
from tagloop.data.sources import find_sources
from tagloop.data.tables import open_table
from tagloop.errors import InputError
from tagloop.models.tokenizers import longest_input, tokenizer_at_hand
from tagloop.options.config import Config
from tagloop.sample.corpus import build_sample_texts
from tagloop.tasks.classification.columns import choose_columns
from tagloop.tasks.classification.labels import labels_of_cells, spellings


def check_task(config: Config) -> Report:
    """Everything that can be said of the data without a model.

    Raises:
        InputError: an option is wrong, or names no data.
    """
    notes: list[str] = []
    return TextSurvey(config, find_sources(config, notes, build_sample_texts), notes).run()


class TextRow(NamedTuple):
    """A row: one or two texts, and a label if it has one."""

    place: str
    texts: list[str]
    label: str | None


@dataclass
class TextCounts(SplitCounts):
    """What was counted in one split; `numbers` are labels that are no classes."""

    numbers: array = field(default_factory=lambda: array("d"))


class TextSurvey(Survey):
    """See `tagloop.data.check.Survey`."""

    no_rows, no_labels = "no rows", "no row has a label"
    in_two_splits = "the same text in two splits"
    in_two_ways = "the same text, labelled in two ways"
    between = " | "
    counts_type = TextCounts

    def __init__(self, config: Config, sources: dict[str, Any], notes: list[str]):
        super().__init__(config, sources, notes)
        self.cells: dict[str, set[str]] = {}  # of the label column, by split as stored
        self.has_classes = True  # else labels are numbers
        self.classes: list[str] = []
        self.missing: frozenset[str] = frozenset()  # cells that say that a row has no label
        self.tokenizer: PreTrainedTokenizerFast | None = None

    def rows(self, split: str) -> Iterator[TextRow]:
        table = open_table(self.sources[split], split)
        chosen = choose_columns(self.config, table, split)
        classes = self._class_names()
        columns = [column for column in chosen.values() if column is not None]
        for place, row in table.rows(columns):
            cells = {name: cell_text(row, column, place) for name, column in chosen.items()}
            label = (classes.number(cells["label"], split, place) or "").strip()
            if classes.names and label:
                label = classes.names[int(label)] if label != "-1" else ""
            texts = [cells["text"] or ""] + ([cells["pair"] or ""] if chosen["pair"] else [])
            yield TextRow(place, texts, label or None)

    def _class_names(self) -> ClassNames:
        """The names of the integers of the label column; of the splits that can be opened."""
        names = {}
        for split, source in self.sources.items():
            with suppress(InputError):  # The error is noted when the split is read.
                table = open_table(source, split)
                column = choose_columns(self.config, table, split)["label"]
                names[split] = table.class_names(column) if column else None
        return ClassNames(names)

    def texts_of(self, row: TextRow) -> list[str]:
        return row.texts

    def labels_of(self, row: TextRow) -> list[str | None]:
        return [row.label]

    def read_split(self, split: str) -> tuple[int, bool]:
        total, cells = 0, set()
        for row in self.rows(split):
            total += 1
            cells |= {row.label} - {None}
        self.cells[split] = cells
        return total, bool(cells)

    def prepare(self) -> None:
        try:
            column = labels_of_cells(self.cells)
        except InputError as error:
            self.report.problem("labels that cannot be read", str(error))
            self.totals = {}  # Nothing more can be said of these rows.
            return
        if column is not None:
            self.has_classes, self.missing = bool(column.classes), column.missing
            self.classes = column.classes
            for line in spellings(set().union(*self.cells.values()), self.classes):
                self.report.fact("note", line)
        if "train" in self.cells and self.has_classes and len(self.classes) == 1:
            self.report.problem(SAYS_NOTHING, f"every label is {self.classes[0]}: only one class")
        for split, cells in self.cells.items():
            if split != "predict" and cells and not cells - self.missing:
                self.report.problem(SAYS_NOTHING, f"{split}: {self.no_labels}")
        rows = self.rows("train") if "train" in self.totals else ()
        words = (" ".join(row.texts).split() for row in rows)
        self.tokenizer = tokenizer_at_hand(self.config, words, self.report.fact, pre_split=False)

    def look_at(self, stored: str, split: str, counts: TextCounts, row: TextRow) -> None:
        if split == "predict" or row.label in self.missing:
            row = row._replace(label=None)
        elif row.label is not None and self.has_classes and row.label not in self.classes:
            row = row._replace(label=same_number(row.label, self.classes) or row.label)
        if split != "predict":
            self.compare(split, counts, row)
        if not any(map(str.strip, row.texts)):
            self.report.problem("rows without text", f"{row.place}: no text")
        if self.tokenizer is not None:
            ids = self.tokenizer(*row.texts, truncation=False, verbose=False)["input_ids"]
            counts.sub_tokens.append(len(ids))
        if row.label is None:
            counts.without_label += 1
            return
        if self.has_classes:
            self.labels.add(split, row.label, row.place)
        else:
            counts.numbers.append(float(row.label))
        self.sample.show(row)

    def contradiction(self, row: TextRow, at: int, first: FirstSight) -> str:
        return (
            f"{row.place}: {row.label}, but {first.labels[at]} for the same text at {first.place}"
        )

    def report_split(self, split: str, counts: TextCounts) -> None:
        self.report.fact(split, f"{counts.rows:,} rows")
        if counts.without_label and split != "predict":
            self.report.fact("", f"{counts.without_label:,} of them have no label")
        if counts.repeated:
            self.report.fact("", f"{counts.repeated:,} rows repeat another one, label and all")
        if counts.numbers:
            values = np.array(counts.numbers)
            text = f"numbers from {values.min():g} to {values.max():g}, mean {values.mean():g}"
            self.report.fact("", text)
        if self.tokenizer is not None:
            lengths = np.array(counts.sub_tokens)
            text = f"{np.median(lengths):.0f} sub-tokens (median), the longest {lengths.max():,}"
            limit = self.config.max_length or longest_input(self.tokenizer)
            if limit is not None:
                cut = int((lengths > limit).sum())
                text += f"; {cut:,} texts are longer than {limit} and lose their end"
            self.report.fact("", text)

    def report_labels(self) -> None:
        if self.has_classes:
            super().report_labels()

    def report_example(self, row: TextRow) -> None:
        label = (f"[{row.label}]", row.label)
        self.report.example(row.place, [label, (" | ".join(row.texts), None)])
