"""What --check_data says: facts, problems with their places, examples. Knows no task.

    report = Report()
    report.fact("train", "14,041 sentences")
    report.problem("labels unseen in training", "dev.conll:7: B-CITY")
    print(report.text(colour=False, most=None))

It reads row by row; it remembers a digest and the labels of every row, to find the same one again.
"""

import hashlib
import json
import os
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TextIO

import numpy as np

from tagloop.data.selection import select_rows
from tagloop.options.config import Config
from tagloop.streams import visible

COLOURS = ("36", "33", "35", "32", "34", "31")  # cyan, yellow, magenta, green, blue, red
MOST_PROBLEMS = 10  # of a kind on a terminal; a file or a pipe gets all
MOST_LABELS = 60  # in a table; where there are more, they are most likely words
DEFAULT_EXAMPLES = 3

Piece = tuple[str, str | None]  # a part of a sentence, and the label that colours it


@dataclass
class Report:
    """What was found.

    Attributes:
        facts: (name, text) lines, in order.
        problems: by kind, a line each, which begins with its place.
        examples: place, and the pieces of the sentence there.
    """

    facts: list[tuple[str, str]] = field(default_factory=list)
    problems: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    examples: list[tuple[str, list[Piece]]] = field(default_factory=list)

    @property
    def num_problems(self) -> int:
        """Of all kinds."""
        return sum(map(len, self.problems.values()))

    def fact(self, name: str, text: str) -> None:
        """Note a line; with an empty name it belongs to the line before."""
        self.facts.append((name, visible(text)))

    def problem(self, kind: str, line: str) -> None:
        """Note a problem."""
        self.problems[kind].append(visible(line))

    def example(self, place: str, pieces: Sequence[Piece]) -> None:
        """Note a sentence to show."""
        self.examples.append((place, [(visible(text), label) for text, label in pieces]))

    def text(self, *, colour: bool, most: int | None) -> str:
        """The whole report.

        Args:
            colour: with the codes of a terminal; the text is the same.
            most: problems shown of a kind; None: all.
        """
        lines = [f"{name:<11} {text}".rstrip() for name, text in self.facts]
        labels = sorted({label for _, pieces in self.examples for _, label in pieces if label})
        codes = {label: COLOURS[at % len(COLOURS)] for at, label in enumerate(labels)}
        lines += ["", "examples"] if self.examples else []
        for place, pieces in self.examples:
            shown = [
                f"\x1b[{codes[label]}m{text}\x1b[0m" if colour and label else text
                for text, label in pieces
            ]
            lines += [f"  {place}", "    " + " ".join(shown)]
        for kind, found in self.problems.items():
            lines += ["", f"{kind}: {len(found):,}", *(f"  {line}" for line in found[:most])]
            if most is not None and len(found) > most:
                lines.append(f"  ... and {len(found) - most:,} more; `| less` gets them all")
        return "\n".join(lines)


def uses_colour(stream: TextIO) -> bool:
    """True for a terminal whose user has not set NO_COLOR (no-color.org)."""
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return wanted and stream.isatty()


def split_of_rows(totals: dict[str, int], config: Config) -> dict[str, np.ndarray]:
    """By the split it is stored in, the split of the run that every row goes to; "" for none."""
    splits = {stored: np.full(total, "", dtype="U10") for stored, total in totals.items()}
    for split, (stored, rows) in select_rows(totals, config).items():
        splits[stored][rows] = split
    return splits


def num_examples(config: Config) -> int:
    """How many to show."""
    return DEFAULT_EXAMPLES if config.show_examples is None else config.show_examples


def shortened(text: str, most: int = 60) -> str:
    """The beginning of a sentence, for a line about it."""
    return text if len(text) <= most else text[: most - 4].rpartition(" ")[0] + " ..."


class FirstSight(NamedTuple):
    """A row as far as others are compared with it."""

    split: str
    place: str
    labels: tuple


class Repeats:
    """Finds a row whose text was there before.

    >>> repeats = Repeats()
    >>> repeats.first(["Ann"], FirstSight("train", "a:1", ("O",)))
    >>> repeats.first(["Ann"], FirstSight("test", "b:9", ("O",))).place
    'a:1'
    """

    def __init__(self) -> None:
        self._seen: dict[bytes, FirstSight] = {}

    def first(self, text: Any, seen: FirstSight) -> FirstSight | None:
        """The first row with this text (anything that JSON can hold), None if it is this one."""
        digest = hashlib.blake2b(json.dumps(text).encode(), digest_size=16).digest()
        first = self._seen.setdefault(digest, seen)
        return None if first is seen else first


class RandomSample:
    """A fair draw of `number` rows among those it is shown."""

    def __init__(self, number: int, seed: int):
        self.rows: list[Any] = []
        self._number, self._shown, self._random = number, 0, random.Random(seed)

    def show(self, row: Any) -> None:
        """It is kept, maybe in place of another."""
        self._shown += 1
        if len(self.rows) < self._number:
            self.rows.append(row)
        elif (at := self._random.randrange(self._shown)) < self._number:
            self.rows[at] = row


class Labels:
    """Labels of every split: how often, and where first."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)
        self.places: dict[tuple[str, str], str] = {}

    def add(self, split: str, label: str, place: str) -> None:
        """Count one."""
        self.counts[split][label] += 1
        self.places.setdefault((split, label), place)

    def report_to(self, report: Report, splits: Sequence[str]) -> None:
        """A table, a column a split, and the labels that training never shows."""
        labels = sorted(set().union(*(self.counts[split] for split in splits)))
        width = min(max((len(label) for label in labels), default=0), 30)
        report.fact("labels", f"{'':<{width}}" + "".join(f"{split:>12}" for split in splits))
        for label in labels[:MOST_LABELS]:
            cells = "".join(f"{self.counts[split][label]:>12,}" for split in splits)
            report.fact("", f"{label:<{width}}{cells}")
        if labels[MOST_LABELS:]:
            report.fact("", f"... and {len(labels) - MOST_LABELS:,} more")
        for split in splits:
            for label in sorted(set(self.counts[split]) - set(self.counts.get("train", labels))):
                times = self.counts[split][label]
                report.problem(
                    "labels unseen in training, which no model can learn",
                    f"{self.places[split, label]}: {label}, {times:,} times in {split}",
                )
