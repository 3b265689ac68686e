"""--check_data for tagging: what a corpus holds and what is wrong, before any model loads."""

import re
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerFast

from tagloop.data.check import LOST, SAYS_NOTHING, FirstSight, Piece, Report, SplitCounts, Survey
from tagloop.data.row import DOCUMENT_START, Choices, Found, Row, Sentences
from tagloop.data.sources import find_sources
from tagloop.data.words.corpus import Variety
from tagloop.data.words.readers import read_source
from tagloop.data.words.schemes import SchemeDetector, illegal_transitions, spans, to_iob2
from tagloop.errors import InputError
from tagloop.models.tokenizers import (
    NEARLY_ALL,
    TELLING,
    SubTokens,
    longest_input,
    tokenizer_at_hand,
)
from tagloop.options.config import Config
from tagloop.tasks.tagging.alignment import cut_windows, resolve_stride, widen_windows
from tagloop.tasks.tagging.context import REMEDY, context_text
from tagloop.tasks.tagging.kinds import read_choices

NOTHING = "words that are nothing to the tokenizer (they count as unknown ones)"

ILLEGAL = "illegal transitions"
LANGUAGE = re.compile("[a-z]{2,3}(-[a-z]+)*:(?=.)")


def check_task(config: Config) -> Report:
    """Everything that can be said of the data without a model.

    Raises:
        InputError: an option is wrong, or names no data.
    """
    choices, notes = read_choices(config), []
    return TagSurvey(config, find_sources(config, notes), notes, choices).run()


@dataclass
class TagCounts(SplitCounts):
    """What was counted in one split.

    Attributes:
        words: of all sentences.
        documents: their numbers.
        windows: of all sentences; cut: sentences that become several.
        unknown: words with a part that the tokenizer does not know.
        languages: how many words begin with each code of a language, as "en:".
        longest: words of the longest sentence, and where it stands.
    """

    words: int = 0
    documents: set[int] = field(default_factory=set)
    windows: int = 0
    cut: int = 0
    unknown: int = 0
    languages: Counter[str] = field(default_factory=Counter)
    longest: tuple[int, str] = (0, "")


@dataclass
class Example:
    """A sentence that may be shown, with the words around it that stand in its document.

    Attributes:
        place, tokens, tags: of the sentence; the tags are in IOB2.
        before, behind: as many words as a window may see sub-tokens, or more.
    """

    place: str
    tokens: list[str]
    tags: list[str | None]
    before: list[str] = field(default_factory=list)
    behind: list[str] = field(default_factory=list)


class TagSurvey(Survey):
    """See `tagloop.data.check.Survey`."""

    no_rows, no_labels = "no sentences", "no word has a gold tag"
    in_two_splits = "the same sentence in two splits"
    in_two_ways = "the same sentence, annotated in two ways"
    between = " "
    slips = (ILLEGAL,)
    counts_type = TagCounts

    def __init__(self, config: Config, sources: dict[str, Any], notes: list[str], choices: Choices):
        super().__init__(config, sources, notes)
        self.choices = choices
        self.found: dict[str, Found] = {}  # by split as stored
        has_spans = choices.kind.has_spans
        self.detector = SchemeDetector(config.label_scheme) if has_spans else None
        self.has_unknown_scheme = False  # there are tags whose scheme the format does not say
        self.schemes: dict[str, str | None] = {}  # by split as stored
        self.sub_tokens_of: SubTokens | None = None
        self.budget: int | None = None  # sub-tokens in a window, special tokens not counted
        # The rows of the current document that a later row may see, and its own examples.
        self.before: deque[list[str]] = deque(maxlen=config.context_tokens)
        self.waiting: deque[Example] = deque(maxlen=config.context_tokens)
        self.document: tuple[str, int] | None = None

    def name_of(self, split: str) -> str:
        return f"{split} ({self.sources[split]})"

    def rows(self, split: str) -> Iterator[Row]:
        return self._read(split).rows

    def _read(self, split: str) -> Sentences:
        before = [found for name, found in self.found.items() if name != split]
        return read_source(self.sources[split], split, self.choices, before)

    def texts_of(self, row: Row) -> list[str]:
        return row.tokens

    def labels_of(self, row: Row) -> list[str | None]:
        return row.tags

    def read_split(self, split: str) -> tuple[int, bool]:
        found, rows = self._read(split)
        self.found[split] = found
        total, variety = 0, Variety()
        only_to_tag = split == "predict" and len(self.sources) > 1  # Its tags may be of any kind.
        for row in rows:
            total += 1
            if any(tag is not None for tag in row.tags):
                variety.add(row)
                if self.detector is not None and found.scheme is None and not only_to_tag:
                    self.detector.add(row.tags, row.place_of)
        if split != "predict":
            variety.check(split)
        if total:
            self.report.fact("read", f"{split}: {found.columns or 'words and tags'}")
        for note in found.notes:
            self.report.fact("", note)
        if self.config.context_tokens:
            told = found.documents or "nothing"
            self.report.fact("", f"documents by {told}; {context_text(self.config)} are seen")
            if found.documents is None and self.config.unmarked_split == "error":
                self.report.problem("no documents for --context_tokens", f"{split}: {REMEDY}")
        for loss in found.lost:
            self.report.problem(LOST, f"{self.name_of(split)}: {loss}")
        self.has_unknown_scheme |= bool(variety.tags) and found.scheme is None and not only_to_tag
        return total, bool(variety.tags)

    def prepare(self) -> None:
        scheme = self.config.label_scheme
        if self.detector is not None and self.has_unknown_scheme:
            try:
                scheme = self.detector.result()
            except InputError as error:
                self.report.problem("no scheme fits the tags", str(error))
        known = {split: self.found[split].scheme for split in self.totals}
        for name in dict.fromkeys(filter(None, [*known.values(), scheme])):
            self.report.fact("scheme", name + ("" if name == "IOB2" else ", trained as IOB2"))
        self.schemes = {split: known[split] or scheme for split in self.totals}

        words = (row.tokens for row in self.rows("train")) if "train" in self.totals else ()
        tokenizer = tokenizer_at_hand(self.config, words, self.report.fact, pre_split=True)
        if tokenizer is not None:
            self.use(tokenizer)

    def use(self, tokenizer: PreTrainedTokenizerFast) -> None:
        """Count sub-tokens, too."""
        self.sub_tokens_of = SubTokens(tokenizer)
        limit = self.config.max_length or longest_input(tokenizer)
        if limit is not None:
            self.budget = max(limit - tokenizer.num_special_tokens_to_add(), 1)

    def look_at(self, stored: str, split: str, counts: TagCounts, row: Row) -> None:
        counts.words += len(row.tokens)
        counts.documents.add(row.document)
        counts.languages.update(code[0] for code in map(LANGUAGE.match, row.tokens) if code)
        if len(row.tokens) > counts.longest[0]:
            counts.longest = (len(row.tokens), row.place)
        if self.sub_tokens_of is not None:
            self._count_sub_tokens(counts, row)
        is_mark = row.tokens == [DOCUMENT_START]
        if is_mark or (split, row.document) != self.document:
            self.before.clear()
            self.waiting.clear()
            self.document = None if is_mark else (split, row.document)
        for example in self.waiting:
            if len(example.behind) < self.config.context_tokens:  # A word has at least one.
                example.behind += row.tokens
        if split != "predict" and row.tokens and not is_mark:
            self.compare(split, counts, row)
            self._count_labels(split, counts, row, self.schemes[stored])
        if not is_mark:
            self.before.append(row.tokens)

    def _count_sub_tokens(self, counts: TagCounts, row: Row) -> None:
        words = self.sub_tokens_of(row.tokens)
        sizes = [len(sub_tokens) for sub_tokens in words]
        unknown = self.sub_tokens_of.tokenizer.unk_token_id
        if unknown is not None:
            counts.unknown += sum(unknown in sub_tokens for sub_tokens in words)
        for index, size in enumerate(sizes):
            if size == 0:
                self.report.problem(NOTHING, f"{row.place_of(index)}: {row.tokens[index]!a}")
        counts.sub_tokens.append(sum(sizes))
        if self.budget is not None and sizes:
            sizes = [min(max(size, 1), self.budget) for size in sizes]
            stride = resolve_stride(self.config.stride, self.budget)
            windows = len(cut_windows(sizes, budget=self.budget, stride=stride))
            counts.windows += windows
            counts.cut += windows > 1

    def _count_labels(self, split: str, counts: TagCounts, row: Row, scheme: str | None) -> None:
        tags = row.tags
        counts.without_label += tags.count(None)
        if scheme is not None:
            for index, fault in illegal_transitions(tags, scheme):
                self.report.problem(ILLEGAL, f"{row.place_of(index)}: {fault}")
            try:
                tags = to_iob2(tags, scheme, place=row.place_of)
            except InputError:  # It has a tag of another scheme, which is noted above.
                return
        for index, tag in enumerate(tags):
            if tag is not None:
                self.labels.add(split, tag, row.place_of(index))
        if any(tag not in (None, "O") for tag in tags):
            example = Example(row.place, row.tokens, tags, list(chain(*self.before)))
            self.waiting.append(example)
            self.sample.show(example)

    def contradiction(self, row: Row, at: int, first: FirstSight) -> str:
        return (
            f"{row.place_of(at)}: {row.tokens[at]} is {row.tags[at]}, but {first.labels[at]} "
            f"in the same sentence at {first.place}"
        )

    def report_split(self, split: str, counts: TagCounts) -> None:
        size, place = counts.longest
        text = f"{counts.rows:,} sentences, {counts.words:,} words"
        if len(counts.documents) > 1:
            text += f", {len(counts.documents):,} documents"
        if size:
            text += f"; the longest sentence has {size:,} words ({place})"
        self.report.fact(split, text)
        for code, number in counts.languages.most_common(1):
            if counts.words >= TELLING and number >= NEARLY_ALL * counts.words:
                self.report.problem(
                    "words that begin with the code of a language",
                    f"{split}: {number:,} of {counts.words:,} words begin with {code!r}, as in the "
                    f"files of WikiANN; take it away: sed 's/^{code}//' FILE > NEW",
                )
        if counts.without_label and split != "predict":
            share = counts.without_label / counts.words
            self.report.fact("", f"{counts.without_label:,} words ({share:.1%}) have no gold tag")
        if counts.repeated:
            self.report.fact("", f"{counts.repeated:,} sentences repeat another one, tags and all")
        if counts.words and self.sub_tokens_of is not None:
            self.report.fact("", _sub_tokens(counts, self.budget))
            share = counts.unknown / counts.words
            text = f"{counts.unknown:,} words ({share:.1%}) hold something unknown to the tokenizer"
            self.report.fact("", text)
            if counts.words >= TELLING and share >= NEARLY_ALL:
                self.report.problem(
                    "nearly all words are unknown to the tokenizer", f"{split}: {text}"
                )

    def report_labels(self) -> None:
        trained = self.labels.counts.get("train")
        if trained and not trained.keys() - {"O"}:
            self.report.problem(SAYS_NOTHING, "train: every gold tag is O")
        if self.labels.counts:
            super().report_labels()

    def report_example(self, row: Example) -> None:
        has_spans = any(self.schemes.values())
        pieces = _pieces(row.tokens, row.tags, has_spans=has_spans)
        before, behind = self._seen(row)
        if before:
            pieces = [(f"{' '.join(before)} |", None), *pieces]
        if behind:
            pieces = [*pieces, (f"| {' '.join(behind)}", None)]
        self.report.example(row.place, pieces)

    def _seen(self, row: Example) -> tuple[list[str], list[str]]:
        """The words before and behind a sentence that its windows see.

        Without a tokenizer each word counts as one sub-token.
        """
        words = [*row.before, *row.tokens, *row.behind]
        sizes = np.ones(len(words), np.int64)
        if self.sub_tokens_of is not None:
            sizes = np.array([max(len(sub_tokens), 1) for sub_tokens in self.sub_tokens_of(words)])
        budget = int(sizes.sum()) if self.budget is None else self.budget
        sizes = sizes.clip(max=budget)
        first, end = len(row.before), len(row.before) + len(row.tokens)
        stride = resolve_stride(self.config.stride, budget)
        cut = cut_windows(sizes[first:end].tolist(), budget=budget, stride=stride)
        windows = np.array([(w.start, w.end, w.own_start, w.own_end) for w in cut]) + first
        wide = widen_windows(
            windows,
            sizes,
            np.zeros(len(cut), np.int64),
            np.full(len(cut), len(words)),
            context_tokens=self.config.context_tokens,
            budget=budget,
        )
        return words[wide[:, 0].min() : first], words[end : wide[:, 1].max()]


def _sub_tokens(counts: TagCounts, budget: int | None) -> str:
    lengths = np.array(counts.sub_tokens)
    text = (
        f"{lengths.sum() / counts.words:.2f} sub-tokens a word; a sentence has "
        f"{np.median(lengths):.0f} (median), 99% have at most {np.percentile(lengths, 99):.0f}, "
        f"the longest has {lengths.max():,}"
    )
    if budget is None:
        return text
    return (
        f"{text}; {counts.windows:,} windows of at most {budget} beside special tokens, "
        f"{counts.cut:,} sentences are cut"
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
