"""References and transcripts of a finished run, for its report. No model is loaded."""

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np

from tagloop.data.places import places_of_rows
from tagloop.models.tokenizers import load_tokenizer
from tagloop.options.config import Config
from tagloop.outcome.predictions_file import TABLE
from tagloop.outcome.record import Outcome
from tagloop.pages.answers import Answers, Grouping
from tagloop.pages.page import Piece
from tagloop.pages.sentences import NOTHING, Sentence, bucket, buckets
from tagloop.pages.statistics import Measure
from tagloop.tasks.speech.columns import read_recordings
from tagloop.tasks.speech.encoding import Sounds, load_sounds
from tagloop.tasks.speech.prompts import load_extractor
from tagloop.tasks.speech.scores import align, character_errors, word_errors
from tagloop.tasks.speech.texts import decode_texts, shape_text

EDGES = (1, 3, 6, 11, 21, 41)  # of numbers of words


@dataclass(kw_only=True)
class TranscriptAnswers(Answers):
    """Transcripts beside their references. A sentence has no spans.

    Attributes:
        references: what is said, as it was learned.
        found: what the model wrote.
        words, characters: errors and length of every reference, int64 [num_transcripts, 2].
        sounds: the samples of all rows of the split.
    """

    references: list[str]
    found: list[str]
    words: np.ndarray
    characters: np.ndarray
    sounds: Sounds
    item: str = "recording"
    gold_name: ClassVar[str] = "gold transcripts"

    @property
    def identities(self) -> list[Hashable]:
        """The reference and a hash of the samples of every recording."""
        samples, offsets = self.sounds.samples, self.sounds.offsets
        digests = (
            hashlib.sha256(samples[offsets[row] : offsets[row + 1]].tobytes()).digest()
            for row in self.rows
        )
        return [*zip(self.references, digests, strict=True)]

    @cached_property
    def measures(self) -> list[Measure]:
        """The error rates; a rate without a word or character to divide by is left out."""
        return [
            Measure(
                name=name,
                logged=logged,
                sums=counts.astype(np.float64),
                of=rates_of,
                lower_is_better=True,
            )
            for name, logged, counts in (
                ("word error rate", "wer", self.words),
                ("character error rate", "cer", self.characters),
            )
            if counts[:, 1].any()
        ]

    @property
    def groupings(self) -> list[Grouping]:
        lengths = [bucket(max(int(number), 1), EDGES) for number in self.words[:, 1]]
        return [Grouping("By length", "words", lengths, buckets(EDGES))]

    @cached_property
    def errors(self) -> np.ndarray:
        """The wrong, missing and additional words of every transcript, int64 [num_transcripts]."""
        return self.words[:, 0]

    def beside(self, other: Self, names: Sequence[str], at: int) -> list[tuple[str, list[Piece]]]:
        said = self.references[at]
        runs = zip(names, (self, other), strict=True)
        return [
            ("said", [Piece(said or NOTHING)]),
            *((name, error_pieces(said, run.found[at])) for name, run in runs),
        ]


def rates_of(sums: np.ndarray) -> np.ndarray:
    """Error rates, [...], from errors and lengths, float64 [..., 2]; NaN where a length is 0.

    >>> rates_of(np.array([[3.0, 4.0], [1.0, 0.0]]))
    array([0.75,  nan])
    """
    errors, lengths = np.moveaxis(sums, -1, 0)
    return np.divide(errors, lengths, out=np.full_like(errors, np.nan), where=lengths > 0)


def error_pieces(reference: str, found: str) -> list[Piece]:
    """The words of a transcript; a wrong one has the word that was said as its type.

    >>> [(piece.text, piece.type) for piece in error_pieces("one two", "ten two um")]
    [('ten', 'one'), ('two', ''), ('um', '–')]
    """
    return [
        Piece(other or NOTHING, "" if word == other else word or NOTHING, word == other)
        for word, other in align(reference.split(), found.split())
    ]


def read_answers(outcome: Outcome) -> TranscriptAnswers | None:
    """Read references from the data, which is read again, and transcripts from predictions.npz.

    Returns:
        The answers; None if a part is missing or does not fit, and a note of the outcome says why.
    """
    if outcome.predictions is None:
        return None
    split, fingerprint, outputs = outcome.predictions
    ids, rows = outputs.get(f"{TABLE}ids"), outputs.get("row")
    if ids is None or rows is None or len(ids) != len(rows) or rows.dtype.kind != "i":
        outcome.notes.append(
            "predictions.npz does not hold transcripts; --predict_with_generate writes them"
        )
        return None
    data = outcome.read_again(lambda: read_recordings(outcome.config))
    saved = Config(task_name=outcome.config.task_name, model_name_or_path=str(outcome.folder))
    tokenizer = outcome.read_again(lambda: load_tokenizer(saved, [], pre_split=False))
    if data is None or tokenizer is None:
        return None
    sounds = outcome.read_again(
        lambda: load_sounds(
            data.splits[split], data.fingerprints[split], load_extractor(saved).sampling_rate
        )
    )
    found = outcome.read_again(lambda: decode_texts(tokenizer, ids))
    if sounds is None or found is None:
        return None
    if sounds.facts["fingerprint"] != fingerprint or int(rows.max()) >= len(data.splits[split]):
        outcome.note_other_data(split)
        return None
    cells = data.splits[split]["text"][:]
    known = [at for at, row in enumerate(rows.tolist()) if cells[row] is not None]
    if not known:
        outcome.notes.append(f"no row of the {split} data has a transcript")
        return None
    lower_case = outcome.config.do_lower_case
    references = [shape_text(cells[rows[at]], lower_case) for at in known]
    found = [found[at] for at in known]
    return TranscriptAnswers(
        split=split,
        sentences=[Sentence(text.split() or ["_"], [], []) for text in references],
        rows=rows[known].tolist(),
        places=places_of_rows(outcome.config, data.stored[split], rows[known].tolist()),
        score=None,
        logged_score="wer",
        spans_are_parts=False,
        references=references,
        found=found,
        words=word_errors(references, found),
        characters=character_errors(references, found),
        sounds=sounds,
    )
