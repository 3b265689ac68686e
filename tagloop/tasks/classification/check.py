"""--check_data for text classification: what the rows hold and what is wrong with them."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerFast

from tagloop.data.check import (
    FirstSight,
    Labels,
    RandomSample,
    Repeats,
    Report,
    num_examples,
    shortened,
    split_of_rows,
)
from tagloop.data.rows import text_of
from tagloop.data.sources import find_sources
from tagloop.data.tables import open_table
from tagloop.data.words.corpus import labels_alike
from tagloop.errors import InputError
from tagloop.models.tokenizers import longest_input, tokenizer_at_hand
from tagloop.options.config import Config
from tagloop.sample.corpus import build_sample_texts
from tagloop.tasks.classification.labels import LabelColumn, labels_of_cells
from tagloop.tasks.classification.task import choose_columns


class _Row(NamedTuple):
    place: str
    texts: list[str]  # one or two
    label: str | None


@dataclass
class _Split:
    """What was counted in one split."""

    rows: int = 0
    without_label: int = 0
    repeated: int = 0  # the same texts and label as a row before, in this split
    sub_tokens: array = field(default_factory=lambda: array("i"))
    numbers: array = field(default_factory=lambda: array("d"))


def check_task(config: Config) -> Report:
    """Everything that can be said of the data without a model.

    Raises:
        InputError: an option is wrong, or names no data.
    """
    report, notes = Report(), []
    sources = find_sources(config, notes, build_sample_texts)
    totals, found = _survey(config, sources, report)
    classes, missing = found or LabelColumn([], frozenset())
    labels, repeats, drawn = Labels(), Repeats(), RandomSample(num_examples(config), config.seed)
    rows = _rows(config, "train", sources) if "train" in totals else ()
    words = (" ".join(row.texts).split() for row in rows)
    tokenizer = tokenizer_at_hand(config, words, report.fact, pre_split=False)
    split_of, splits = split_of_rows(totals, config), {}
    for stored in totals:
        rows = _rows(config, stored, sources)
        for split, row in zip(map(str, split_of[stored]), rows, strict=True):
            if not split:
                continue
            counted = splits.setdefault(split, _Split())
            counted.rows += 1
            if split == "predict" or row.label in missing:
                row = row._replace(label=None)
            _compare(report, repeats, counted, split, row)
            if not any(map(str.strip, row.texts)):
                report.problem("rows without text", f"{row.place}: no text")
            if tokenizer is not None:
                ids = tokenizer(*row.texts, truncation=False, verbose=False)["input_ids"]
                counted.sub_tokens.append(len(ids))
            if row.label is None:
                counted.without_label += 1
            elif classes:
                labels.add(split, row.label, row.place)
                drawn.show(row)
            else:
                counted.numbers.append(float(row.label))
                drawn.show(row)
    for split, counted in splits.items():
        _say(config, report, split, counted, tokenizer)
    if classes:
        labels.report_to(report, [split for split in splits if split != "predict"])
        for line in labels_alike(labels.counts):
            report.problem("labels that look alike", line)
    for row in drawn.rows:
        report.example(row.place, [(f"[{row.label}]", row.label), (" | ".join(row.texts), None)])
    for note in notes:
        report.fact("note", note)
    return report


def _rows(config: Config, split: str, sources: dict[str, Any]) -> Iterator[_Row]:
    table = open_table(sources[split], split)
    chosen = choose_columns(config, table, split)
    names = table.class_names(chosen["label"]) if chosen["label"] else None
    columns = [column for column in chosen.values() if column is not None]
    for place, row in table.rows(columns):
        cells = {name: text_of(row, column, place) for name, column in chosen.items()}
        label = (cells["label"] or "").strip()
        if names and label:
            label = names[int(label)] if label != "-1" else ""
        texts = [cells["text"] or ""]
        yield _Row(place, texts + ([cells["pair"] or ""] if chosen["pair"] else []), label or None)


def _survey(
    config: Config, sources: dict[str, Any], report: Report
) -> tuple[dict[str, int], LabelColumn | None]:
    """Rows by split as far as they can be read, and what their labels mean; None: none has one."""
    totals, labels = {}, {}
    for split in sources:
        total, found = 0, set()
        try:
            for row in _rows(config, split, sources):
                total += 1
                found |= {row.label} - {None}
        except InputError as error:
            report.problem(f"{split}: cannot be read", str(error))
            continue
        if total:
            totals[split] = total
            labels[split] = found
        else:
            report.problem("splits that say nothing", f"{split}: no rows")
    try:
        meaning = labels_of_cells(labels)
    except InputError as error:
        report.problem("labels that are no finite numbers", str(error))
        return {}, None
    missing = meaning.missing if meaning else frozenset()
    for split, found in labels.items():
        if not found - missing and split != "predict":
            report.problem("splits that say nothing", f"{split}: no row has a label")
    return totals, meaning


def _compare(report: Report, repeats: Repeats, counted: _Split, split: str, row: _Row) -> None:
    """With the first row of the same texts."""
    if split == "predict":
        return
    first = repeats.first(row.texts, FirstSight(split, row.place, (row.label,)))
    if first is None:
        return
    text = shortened(" | ".join(row.texts))
    if first.split != split:
        where = f"{row.place} ({split}): as {first.place} ({first.split})"
        report.problem("the same text in two splits", f"{where}: {text}")
    if None not in (row.label, *first.labels) and row.label != first.labels[0]:
        what = f"{row.place}: {row.label}, but {first.labels[0]} for the same text at {first.place}"
        report.problem("the same text, labelled in two ways", f"{what}: {text}")
    elif first.split == split:
        counted.repeated += 1


def _say(
    config: Config,
    report: Report,
    split: str,
    counted: _Split,
    tokenizer: PreTrainedTokenizerFast | None,
) -> None:
    report.fact(split, f"{counted.rows:,} rows")
    if counted.without_label and split != "predict":
        report.fact("", f"{counted.without_label:,} of them have no label")
    if counted.repeated:
        report.fact("", f"{counted.repeated:,} rows repeat another one, label and all")
    if counted.numbers:
        values = np.array(counted.numbers)
        report.fact(
            "", f"numbers from {values.min():g} to {values.max():g}, mean {values.mean():g}"
        )
    if tokenizer is not None:
        lengths = np.array(counted.sub_tokens)
        text = f"{np.median(lengths):.0f} sub-tokens (median), the longest {lengths.max():,}"
        limit = config.max_length or longest_input(tokenizer)
        if limit is not None:
            cut = int((lengths > limit).sum())
            text += f"; {cut:,} texts are longer than {limit} and lose their end"
        report.fact("", text)
