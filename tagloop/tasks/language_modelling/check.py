"""--check_data for language models: what the texts hold and what is wrong with them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerFast

from tagloop.data.check import Report, SplitCounts, Survey, shortened
from tagloop.data.rows import cell_text
from tagloop.data.sources import find_sources
from tagloop.data.tables import open_table
from tagloop.models.tokenizers import longest_input, tokenizer_at_hand
from tagloop.options.config import Config
from tagloop.sample.corpus import build_sample_texts
from tagloop.tasks.language_modelling.noise import noise_of
from tagloop.tasks.language_modelling.options import CAUSAL, SPANS
from tagloop.tasks.language_modelling.special_tokens import missing_token
from tagloop.tasks.language_modelling.texts import choose_columns

LONGEST_SHOWN = 500  # characters of an example


def check_task(config: Config) -> Report:
    """Everything that can be said of the data without a model.

    Raises:
        InputError: an option is wrong, or names no data.
    """
    notes: list[str] = []
    return LanguageSurvey(config, find_sources(config, notes, build_sample_texts), notes).run()


class TextRow(NamedTuple):
    """A text and its place."""

    place: str
    text: str


class LanguageSurvey(Survey):
    """See `tagloop.data.check.Survey`. A text has no label; `without_label` counts blank texts."""

    no_rows, no_labels = "no rows", "no row has a text"
    in_two_splits = in_two_ways = "the same text in two splits"
    between = " "

    def __init__(self, config: Config, sources: dict[str, Any], notes: list[str]):
        super().__init__(config, sources, notes)
        self.tokenizer: PreTrainedTokenizerFast | None = None

    def rows(self, split: str) -> Iterator[TextRow]:
        table = open_table(self.sources[split], split)
        column = choose_columns(self.config, table, split)["text"]
        for place, row in table.rows([column]):
            yield TextRow(place, cell_text(row, column, place) or "")

    def texts_of(self, row: TextRow) -> list[str]:
        return [row.text]

    def labels_of(self, row: TextRow) -> Sequence[None]:
        return []

    def read_split(self, split: str) -> tuple[int, bool]:
        total, has_text = 0, False
        for row in self.rows(split):
            total += 1
            has_text = has_text or bool(row.text.strip())
        return total, has_text

    def prepare(self) -> None:
        rows = self.rows("train") if "train" in self.totals else ()
        words = (row.text.split() for row in rows)
        self.tokenizer = tokenizer_at_hand(self.config, words, self.report.fact, pre_split=False)
        if self.tokenizer is None or self.config.uses_sample_model:
            return
        if missing := missing_token(self.config.task_name, self.tokenizer):
            self.report.problem(f"tokenizers without {missing[0]}", self.tokenizer.name_or_path)

    def look_at(self, stored: str, split: str, counts: SplitCounts, row: TextRow) -> None:
        if not row.text.strip():
            counts.without_label += 1
            source = self.sources[stored]  # The blank lines of a text file part its paragraphs.
            if not (isinstance(source, Path) and source.suffix.lower() == ".txt"):
                self.report.problem("rows without text", f"{row.place}: no text")
            return
        if split != "predict":
            self.compare(split, counts, row)
        if self.tokenizer is not None:
            ids = self.tokenizer(row.text, truncation=False, verbose=False)["input_ids"]
            counts.sub_tokens.append(len(ids))
        self.sample.show(row)

    def report_split(self, split: str, counts: SplitCounts) -> None:
        self.report.fact(split, f"{counts.rows:,} texts")
        if counts.without_label:
            self.report.fact("", f"{counts.without_label:,} of them are blank and left out")
        if counts.repeated:
            self.report.fact("", f"{counts.repeated:,} texts repeat another one")
        if self.tokenizer is None or not counts.sub_tokens:
            return
        lengths = np.array(counts.sub_tokens)
        text = f"{lengths.sum(dtype=np.int64):,} sub-tokens: {np.median(lengths):.0f} in a text "
        self.report.fact("", text + f"(median), {lengths.max():,} in the longest")
        limit = self.config.max_length or longest_input(self.tokenizer)
        if limit is not None and self.config.task_name == SPANS:
            limit = noise_of(self.config).longest_row(limit)
        in_blocks = self.config.block_size or not (
            self.config.line_by_line or self.config.task_name == CAUSAL
        )
        if limit is not None and not in_blocks and (longer := int((lengths > limit).sum())):
            self.report.fact("", f"{longer:,} texts are longer than {limit:,}: several rows each")

    def report_labels(self) -> None:
        """A text has no label."""

    def report_example(self, row: TextRow) -> None:
        self.report.example(row.place, [(shortened(row.text, LONGEST_SHOWN), None)])
