"""--check_data for speech recognition: what the recordings hold and what is wrong with them."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerFast, WhisperFeatureExtractor

from tagloop.data.check import Report, SplitCounts, Survey, shortened
from tagloop.data.rows import cell_text
from tagloop.data.sources import find_sources
from tagloop.data.tables import open_table
from tagloop.errors import InputError
from tagloop.models.tokenizers import tokenizer_at_hand
from tagloop.options.config import Config
from tagloop.sample.digits import build_sample_digits
from tagloop.sample.model import build_sample_whisper_tokenizer
from tagloop.tasks.speech.columns import choose_columns, name_of, source_of
from tagloop.tasks.speech.prompts import load_extractor
from tagloop.tasks.speech.sound import Sound, read_sound
from tagloop.tasks.speech.texts import shape_text

USUAL_RATE, USUAL_SECONDS = 16_000, 30  # of Whisper, where no model is named


def check_task(config: Config) -> Report:
    """Everything that can be said of the data without a model.

    Raises:
        InputError: an option is wrong, or names no data.
    """
    notes: list[str] = []
    return SpeechSurvey(config, find_sources(config, notes, build_sample_digits), notes).run()


class SpeechRow(NamedTuple):
    """A row with the content of its cells; `text` is None if nobody knows the transcript."""

    place: str
    audio: Any
    text: str | None


@dataclass
class SpeechCounts(SplitCounts):
    """What was counted in one split.

    Attributes:
        seconds: of every recording that can be read.
        rates, channels: how many files have each of them.
    """

    seconds: list[float] = field(default_factory=list)
    rates: Counter[int] = field(default_factory=Counter)
    channels: Counter[int] = field(default_factory=Counter)


class SpeechSurvey(Survey):
    """See `tagloop.data.check.Survey`. A transcript is no label."""

    no_rows, no_labels = "no recordings", "no recording has a transcript"
    in_two_splits = in_two_ways = "the same recording in two splits"
    between = " "
    counts_type = SpeechCounts

    def __init__(self, config: Config, sources: dict[str, Any], notes: list[str]):
        super().__init__(config, sources, notes)
        self.tokenizer: PreTrainedTokenizerFast | None = None
        self.extractor: WhisperFeatureExtractor | None = None
        self.places: dict[bytes, tuple[str, str]] = {}  # of a recording: split and place

    def rows(self, split: str) -> Iterator[SpeechRow]:
        table = open_table(self.sources[split], split)
        chosen = choose_columns(self.config, table, split)
        columns = dict.fromkeys(column for column in chosen.values() if column is not None)
        for place, row in table.rows([*columns]):
            text = cell_text(row, chosen["text"], place)
            yield SpeechRow(place, row.get(chosen["file"]), text)

    def texts_of(self, row: SpeechRow) -> list[str]:
        return [row.text or ""]

    def labels_of(self, row: SpeechRow) -> Sequence[None]:
        return []

    def read_split(self, split: str) -> tuple[int, bool]:
        total, has_text = 0, False
        for row in self.rows(split):
            total += 1
            has_text = has_text or bool((row.text or "").strip())
        return total, has_text

    def prepare(self) -> None:
        if self.config.uses_sample_model:
            texts = [row.text or "" for row in self.rows("train")]
            self.tokenizer = build_sample_whisper_tokenizer(texts)
        else:
            self.tokenizer = tokenizer_at_hand(self.config, [], self.report.fact, pre_split=False)
        try:
            named = self.config.model_name_or_path or self.config.feature_extractor_name
            if named or self.config.uses_sample_model:
                self.extractor = load_extractor(self.config)
        except InputError as error:
            self.report.fact("sound", f"checked as Whisper hears it; {error}")

    @property
    def _rate(self) -> int:
        return self.extractor.sampling_rate if self.extractor else USUAL_RATE

    @property
    def _most_seconds(self) -> int:
        return self.extractor.chunk_length if self.extractor else USUAL_SECONDS

    def look_at(self, stored: str, split: str, counts: SpeechCounts, row: SpeechRow) -> None:
        try:
            source = source_of(row.audio, row.place)
            name = name_of(source, row.place)
            sound = read_sound(source, self._rate, name)
        except InputError as error:
            self.report.problem("recordings that cannot be read", str(error))
            return
        self._look_at_sound(split, counts, row, name, sound)
        if split == "predict":
            self.sample.show(row)
            return
        if row.text is None:
            counts.without_label += 1
            return
        text = shape_text(row.text, self.config.do_lower_case)
        if not text:
            self.report.problem("empty transcripts", f"{name}: its transcript holds no word")
        counts.length += len(text.split())
        if self.tokenizer is not None:
            ids = self.tokenizer(text, verbose=False)["input_ids"]
            counts.sub_tokens.append(len(ids))
        self.sample.show(row)

    def _look_at_sound(
        self, split: str, counts: SpeechCounts, row: SpeechRow, name: str, sound: Sound
    ) -> None:
        seconds = len(sound.samples) / self._rate
        counts.seconds.append(seconds)
        counts.rates[sound.rate] += 1
        counts.channels[sound.channels] += 1
        if sound.is_silent:
            self.report.problem("silent recordings", f"{name}: nothing can be heard")
        if seconds > self._most_seconds:
            line = f"{name}: {seconds:.1f} s; the model hears {self._most_seconds} s"
            self.report.problem("recordings that are too long, and left out", line)
        digest = hashlib.blake2b(sound.samples.tobytes(), digest_size=16).digest()
        first_split, first = self.places.setdefault(digest, (split, row.place))
        if first != row.place and first_split != split and split != "predict":
            line = f"{row.place} ({split}): as {first} ({first_split}): {shortened(row.text or '')}"
            self.report.problem(self.in_two_splits, line)
        elif first != row.place:
            counts.repeated += 1

    def report_split(self, split: str, counts: SpeechCounts) -> None:
        self.report.fact(split, f"{counts.rows:,} recordings, {counts.length:,} words")
        if counts.seconds:
            seconds = np.array(counts.seconds)
            text = f"{seconds.sum():,.0f} s: {np.median(seconds):.1f} s in a recording (median), "
            self.report.fact("", text + f"{seconds.max():.1f} s in the longest")
            for noun, kinds in (("Hz", counts.rates), ("channels", counts.channels)):
                shown = ", ".join(f"{n:,} of {kind} {noun}" for kind, n in sorted(kinds.items()))
                self.report.fact("", shown)
            if split == "train":
                self._report_durations(seconds)
        if counts.without_label and split != "predict":
            self.report.fact("", f"{counts.without_label:,} of them have no transcript")
        if counts.repeated:
            self.report.fact("", f"{counts.repeated:,} recordings are there twice in this split")
        if counts.sub_tokens:
            lengths = np.array(counts.sub_tokens)
            text = f"{np.median(lengths):.0f} sub-tokens in a transcript (median), "
            self.report.fact("", text + f"{lengths.max():,} in the longest")

    def _report_durations(self, seconds: np.ndarray) -> None:
        most, least = self.config.max_duration_in_seconds, self.config.min_duration_in_seconds
        for number, why in (
            (int((seconds > most).sum()), f"longer than --max_duration_in_seconds {most:g}"),
            (int((seconds <= least).sum()), f"not longer than --min_duration_in_seconds {least:g}"),
        ):
            if number:
                self.report.fact("", f"{number:,} recordings are not learned: {why}")

    def report_labels(self) -> None:
        """A transcript is no label."""

    def report_example(self, row: SpeechRow) -> None:
        name = name_of(source_of(row.audio, row.place), row.place)
        self.report.example(name, [(row.text or "(no transcript)", None)])
