"""--check_data for summarization: what the pairs hold and what is wrong with them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerFast

from tagloop.data.check import FirstSight, Report, SplitCounts, Survey, shortened
from tagloop.data.rows import cell_text
from tagloop.data.sources import find_sources
from tagloop.data.tables import open_table
from tagloop.models.tokenizers import tokenizer_at_hand
from tagloop.options.config import Config
from tagloop.sample.bulletins import build_sample_bulletins
from tagloop.sample.model import end_with_sep
from tagloop.tasks.summarization.columns import choose_columns, is_pair
from tagloop.tasks.summarization.options import USUAL_SOURCE

LONGEST_SHOWN = 300  # characters of a text or a summary in an example


def check_task(config: Config) -> Report:
    """Everything that can be said of the data without a model.

    Raises:
        InputError: an option is wrong, or names no data.
    """
    notes: list[str] = []
    return PairSurvey(config, find_sources(config, notes, build_sample_bulletins), notes).run()


class PairRow(NamedTuple):
    """A text and its summary; None if the row has none."""

    place: str
    text: str
    summary: str | None


@dataclass
class PairCounts(SplitCounts):
    """What was counted in one split.

    Attributes:
        shares: words of every summary, as a share of the words of its text.
        cut_summaries: summaries of which some sub-tokens are not learned.
    """

    shares: list[float] = field(default_factory=list)
    cut_summaries: int = 0


class PairSurvey(Survey):
    """See `tagloop.data.check.Survey`. The label of a text is its summary."""

    no_rows, no_labels = "no rows", "no row has a text and a summary"
    in_two_splits = "the same text in two splits"
    in_two_ways = "the same text with two summaries"
    between = " "
    slips = ("summaries longer than their text",)
    counts_type = PairCounts

    def __init__(self, config: Config, sources: dict[str, Any], notes: list[str]):
        super().__init__(config, sources, notes)
        self.tokenizer: PreTrainedTokenizerFast | None = None
        self.are_summaries = True

    def rows(self, split: str) -> Iterator[PairRow]:
        table = open_table(self.sources[split], split)
        chosen = choose_columns(self.config, table, split)
        self.are_summaries = not table.is_translation  # A translation may be longer than its text.
        for place, row in table.rows([column for column in chosen.values() if column is not None]):
            text = cell_text(row, chosen["source"], place) or ""
            yield PairRow(place, text, cell_text(row, chosen["target"], place))

    def texts_of(self, row: PairRow) -> list[str]:
        return [row.text.strip()]

    def labels_of(self, row: PairRow) -> list[str | None]:
        return [row.summary.strip() if is_pair(row.text, row.summary) else None]

    def read_split(self, split: str) -> tuple[int, bool]:
        total, has_pair = 0, False
        for row in self.rows(split):
            total += 1
            has_pair = has_pair or is_pair(row.text, row.summary)
        return total, has_pair

    def prepare(self) -> None:
        rows = self.rows("train") if "train" in self.totals else ()
        words = (f"{row.text} {row.summary or ''}".split() for row in rows)
        self.tokenizer = tokenizer_at_hand(self.config, words, self.report.fact, pre_split=False)
        if self.tokenizer is not None and self.config.uses_sample_model:
            end_with_sep(self.tokenizer)

    def look_at(self, stored: str, split: str, counts: PairCounts, row: PairRow) -> None:
        if not row.text.strip():
            self.report.problem("rows without text", f"{row.place}: no text")
            counts.without_label += 1
            return
        if split != "predict":
            self.compare(split, counts, row)
        if self.tokenizer is not None:
            text = (self.config.source_prefix or "") + row.text
            counts.sub_tokens.append(self._number_of_ids(text=text))
        self.sample.show(row)
        if not is_pair(row.text, row.summary):
            counts.without_label += 1
            if split != "predict":
                line = f"{row.place}: no summary of {shortened(row.text)}"
                self.report.problem("rows without summary", line)
            return
        words = len(row.text.split()), len(row.summary.split())
        counts.shares.append(words[1] / words[0])
        if words[1] > words[0] and self.are_summaries:
            line = f"{row.place}: {words[1]:,} words for {words[0]:,}: {shortened(row.summary)}"
            self.report.problem("summaries longer than their text", line)
        if self.tokenizer is not None:
            number = self._number_of_ids(text_target=row.summary)
            counts.cut_summaries += number > self.config.max_target_length

    def _number_of_ids(self, **text: str) -> int:
        return len(self.tokenizer(**text, truncation=False, verbose=False)["input_ids"])

    def contradiction(self, row: PairRow, at: int, first: FirstSight) -> str:
        labels = [shortened(label or "") for label in (self.labels_of(row)[at], first.labels[at])]
        return f"{row.place}: {labels[0]}, but {labels[1]} at {first.place}"

    def report_split(self, split: str, counts: PairCounts) -> None:
        self.report.fact(split, f"{counts.rows:,} rows")
        if counts.without_label and split != "predict":
            text = f"{counts.without_label:,} of them are no pair: neither learned nor scored"
            self.report.fact("", text)
        if counts.repeated:
            self.report.fact("", f"{counts.repeated:,} rows repeat another one, summary and all")
        if counts.shares:
            share = np.median(counts.shares)
            self.report.fact("", f"a summary has {share:.0%} of the words of its text (median)")
        if not counts.sub_tokens:
            return
        lengths = np.array(counts.sub_tokens)
        text = f"texts of {np.median(lengths):.0f} sub-tokens (median), {lengths.max():,} the "
        self.report.fact("", text + "longest")
        limit = self.config.max_source_length or USUAL_SOURCE
        if longer := int((lengths > limit).sum()):
            self.report.fact("", f"{longer:,} are longer than {limit:,} and lose their end")
        if counts.cut_summaries:
            text = f"{counts.cut_summaries:,} summaries are longer than --max_target_length"
            self.report.fact(
                "", f"{text} {self.config.max_target_length}; their end is not learned"
            )

    def report_labels(self) -> None:
        """Nothing, because a summary is no label that comes again."""

    def report_example(self, row: PairRow) -> None:
        pieces = [(shortened(row.text, LONGEST_SHOWN), None)]
        if is_pair(row.text, row.summary):
            pieces.append((f"[{shortened(row.summary, LONGEST_SHOWN)}]", "summary"))
        self.report.example(row.place, pieces)
