"""--check_data for tagging: what a corpus holds and what is wrong, before any model loads."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerFast

from tagloop.data.check import (
    FirstSight,
    Labels,
    Piece,
    RandomSample,
    Repeats,
    Report,
    num_examples,
    shortened,
    split_of_rows,
)
from tagloop.data.row import DOCUMENT_START, Reading, Row
from tagloop.data.sources import find_sources
from tagloop.data.words.corpus import (
    Variety,
    build_reading,
    labels_alike,
    read_split,
)
from tagloop.data.words.schemes import (
    SchemeDetector,
    illegal_transitions,
    spans,
    to_iob2,
)
from tagloop.errors import InputError
from tagloop.models.tokenizers import WordPieces, longest_input, tokenizer_at_hand
from tagloop.options.config import Config
from tagloop.tasks.tagging.alignment import cut_windows, resolve_stride

NOTHING = "words that are nothing to the tokenizer (they count as unknown ones)"


@dataclass
class _Split:
    """What was counted in one split."""

    sentences: int = 0
    words: int = 0
    without_tag: int = 0
    documents: set[int] = field(default_factory=set)
    repeated: int = 0  # the same words and tags as a sentence before, in this split
    sub_tokens: array = field(default_factory=lambda: array("i"))  # of every sentence
    windows: int = 0
    cut: int = 0  # sentences that become several windows
    longest: tuple[int, str] = (0, "")  # in words, and where


class _Check:
    """One pass over the data, once scheme and sizes are known."""

    def __init__(self, config: Config, report: Report, schemes: dict[str, str | None]):
        self.config, self.report, self.schemes = config, report, schemes  # by split as stored
        self.splits: dict[str, _Split] = {}
        self.labels, self.repeats = Labels(), Repeats()
        self.drawn = RandomSample(num_examples(config), config.seed)
        self.pieces_of: WordPieces | None = None
        self.budget: int | None = None  # sub-tokens in a window, special tokens not counted

    def use(self, tokenizer: PreTrainedTokenizerFast) -> None:
        """Count sub-tokens, too."""
        self.pieces_of = WordPieces(tokenizer)
        limit = self.config.max_length or longest_input(tokenizer)
        if limit is not None:
            self.budget = max(limit - tokenizer.num_special_tokens_to_add(), 1)

    def add(self, stored: str, split: str, row: Row) -> None:
        """Look at one sentence of a split as stored, which is of this split in training."""
        counted = self.splits.setdefault(split, _Split())
        counted.sentences += 1
        counted.words += len(row.tokens)
        counted.documents.add(row.document)
        if len(row.tokens) > counted.longest[0]:
            counted.longest = (len(row.tokens), row.place)
        if self.pieces_of is not None:
            self._count_sub_tokens(counted, row)
        if split != "predict" and row.tokens and row.tokens != [DOCUMENT_START]:
            self._compare(split, counted, row)
            self._count_labels(split, counted, row, self.schemes[stored])

    def _count_sub_tokens(self, counted: _Split, row: Row) -> None:
        sizes = [len(pieces) for pieces in self.pieces_of(row.tokens)]
        for index, size in enumerate(sizes):
            if size == 0:
                self.report.problem(NOTHING, f"{row.place_of(index)}: {row.tokens[index]!a}")
        counted.sub_tokens.append(sum(sizes))
        if self.budget is not None and sizes:
            sizes = [min(max(size, 1), self.budget) for size in sizes]
            stride = resolve_stride(self.config.stride, self.budget)
            windows = len(cut_windows(sizes, budget=self.budget, stride=stride))
            counted.windows += windows
            counted.cut += windows > 1

    def _compare(self, split: str, counted: _Split, row: Row) -> None:
        """With the first sentence of the same words."""
        first = self.repeats.first(row.tokens, FirstSight(split, row.place, tuple(row.tags)))
        if first is None:
            return
        pairs = enumerate(zip(first.labels, row.tags, strict=True))
        other = [at for at, (old, new) in pairs if old != new and None not in (old, new)]
        text = shortened(" ".join(row.tokens))
        if first.split != split:
            self.report.problem(
                "the same sentence in two splits",
                f"{row.place} ({split}): as {first.place} ({first.split}): {text}",
            )
        if other:
            at = other[0]
            self.report.problem(
                "the same sentence, annotated in two ways",
                f"{row.place_of(at)}: {row.tokens[at]} is {row.tags[at]}, but {first.labels[at]} "
                f"in the same sentence at {first.place}: {text}",
            )
        elif first.split == split:
            counted.repeated += 1

    def _count_labels(self, split: str, counted: _Split, row: Row, scheme: str | None) -> None:
        tags = row.tags
        counted.without_tag += tags.count(None)
        if scheme is not None:
            for index, fault in illegal_transitions(tags, scheme):
                self.report.problem("illegal transitions", f"{row.place_of(index)}: {fault}")
            try:
                tags = to_iob2(tags, scheme, place=row.place_of)
            except InputError:  # a tag of another scheme, named above
                return
        for index, tag in enumerate(tags):
            if tag is not None:
                self.labels.add(split, tag, row.place_of(index))
        if any(tag not in (None, "O") for tag in tags):
            self.drawn.show((row.place, row.tokens, tags))


def check_task(config: Config) -> Report:
    """Everything that can be said of the data without a model.

    Raises:
        InputError: an option is wrong, or names no data.
    """
    report, reading, notes = Report(), build_reading(config), []
    sources = find_sources(config, notes)
    totals, schemes = _survey(config, sources, reading, report)
    check = _Check(config, report, schemes)
    words = (row.tokens for row in _rows("train", sources, reading)) if "train" in totals else ()
    tokenizer = tokenizer_at_hand(config, words, report.fact, pre_split=True)
    if tokenizer is not None:
        check.use(tokenizer)
    split_of = split_of_rows(totals, config)
    for stored in totals:
        for split, row in zip(split_of[stored], _rows(stored, sources, reading), strict=True):
            if split:
                check.add(stored, str(split), row)
    _say(check, report)
    for note in notes:
        report.fact("note", note)
    return report


def _rows(split: str, sources: dict[str, Any], reading: Reading) -> Iterator[Row]:
    return read_split(split, sources[split], reading)


def _survey(
    config: Config, sources: dict[str, Any], reading: Reading, report: Report
) -> tuple[dict[str, int], dict[str, str | None]]:
    """Sentences and scheme by split as far as they can be read; what cannot is a problem."""
    detects = config.task_name != "pos" and config.label_scheme is None
    detector, totals, known, any_tags = SchemeDetector(), {}, {}, False
    for split in sources:
        reading.taken, reading.notes, reading.scheme = "", [], None
        total, has_tags, variety = 0, False, Variety()
        try:
            for row in _rows(split, sources, reading):
                total += 1
                if any(tag is not None for tag in row.tags):
                    has_tags = True
                    variety.add(row)
                    if detects and reading.scheme is None:
                        detector.add(row.tags, row.place_of)
            if split != "predict":
                variety.check(split)
        except InputError as error:
            report.problem(f"{split}: cannot be read", str(error))
            continue
        if total:
            totals[split], known[split] = total, reading.scheme
            report.fact("read", f"{split}: {reading.taken or 'words and tags'}")
        for note in reading.notes:
            report.fact("", note)
        if not total or (not has_tags and split != "predict"):
            what = "no word has a gold tag" if total else "no sentences"
            report.problem("splits that say nothing", f"{split} ({sources[split]}): {what}"[:500])
        any_tags |= has_tags and reading.scheme is None
    scheme = config.label_scheme
    if detects and any_tags:
        try:
            scheme = detector.result()
        except InputError as error:
            report.problem("no scheme fits the tags", str(error))
    for found in dict.fromkeys(filter(None, [*known.values(), scheme])):
        report.fact("scheme", found + ("" if found == "IOB2" else ", trained as IOB2"))
    return totals, {split: known[split] or scheme for split in totals}


def _say(check: _Check, report: Report) -> None:
    """Sizes, labels, sub-tokens, and the sentences that were drawn."""
    for split, counted in check.splits.items():
        size, place = counted.longest
        text = f"{counted.sentences:,} sentences, {counted.words:,} words"
        if len(counted.documents) > 1:
            text += f", {len(counted.documents):,} documents"
        if size:
            text += f"; the longest sentence has {size:,} words ({place})"
        report.fact(split, text)
        if counted.without_tag and split != "predict":
            share = counted.without_tag / counted.words
            report.fact("", f"{counted.without_tag:,} words ({share:.1%}) have no gold tag")
        if counted.repeated:
            report.fact("", f"{counted.repeated:,} sentences repeat another one, tags and all")
        if counted.words and check.pieces_of is not None:
            report.fact("", _sub_tokens(check, counted))
    tagged = [split for split in check.splits if split != "predict"]
    trained = check.labels.counts.get("train")
    if trained and not trained.keys() - {"O"}:
        report.problem("splits that say nothing", "train: every gold tag is O")
    if check.labels.counts:
        check.labels.report_to(report, tagged)
        for line in labels_alike(check.labels.counts):
            report.problem("labels that look alike", line)
    for place, tokens, tags in check.drawn.rows:
        report.example(place, _pieces(tokens, tags, has_spans=any(check.schemes.values())))


def _sub_tokens(check: _Check, counted: _Split) -> str:
    lengths = np.array(counted.sub_tokens)
    text = (
        f"{lengths.sum() / counted.words:.2f} sub-tokens a word; a sentence has "
        f"{np.median(lengths):.0f} (median), 99% have at most {np.percentile(lengths, 99):.0f}, "
        f"the longest has {lengths.max():,}"
    )
    if check.budget is None:
        return text
    return (
        f"{text}; {counted.windows:,} windows of at most {check.budget} beside special tokens, "
        f"{counted.cut:,} sentences are cut"
    )


def _pieces(tokens: list[str], tags: list[str | None], *, has_spans: bool) -> list[Piece]:
    """[Ann Lee PER] won: the spans of a sentence, or every word with its tag."""
    if not has_spans:
        pairs = zip(tokens, tags, strict=True)
        return [(f"{word}/{tag}", tag) if tag else (word, None) for word, tag in pairs]
    pieces, end = [], 0
    for start, stop, label in spans([tag or "O" for tag in tags]):
        pieces += [(word, None) for word in tokens[end:start]]
        pieces.append((f"[{' '.join(tokens[start:stop])} {label}]", label))
        end = stop
    return pieces + [(word, None) for word in tokens[end:]]
