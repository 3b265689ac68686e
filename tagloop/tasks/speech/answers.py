"""References and transcripts of a finished run, for its report. No model is loaded."""

from dataclasses import dataclass

import numpy as np

from tagloop.models.tokenizers import load_tokenizer
from tagloop.options.config import Config
from tagloop.outcome.predictions_file import TABLE
from tagloop.outcome.record import Outcome
from tagloop.pages.answers import Answers
from tagloop.pages.sentences import Sentence
from tagloop.tasks.speech.columns import read_recordings
from tagloop.tasks.speech.encoding import load_sounds
from tagloop.tasks.speech.prompts import load_extractor
from tagloop.tasks.speech.scores import character_errors, word_errors
from tagloop.tasks.speech.texts import decode_texts, shape_text


@dataclass(kw_only=True)
class TranscriptAnswers(Answers):
    """Transcripts beside their references. A sentence has no spans.

    Attributes:
        references: what is said, as it was learned.
        found: what the model wrote.
        words, characters: errors and length of every reference, int64 [num_transcripts, 2].
    """

    references: list[str]
    found: list[str]
    words: np.ndarray
    characters: np.ndarray


def read_answers(outcome: Outcome) -> TranscriptAnswers | None:
    """Read references from the data, which is read again, and transcripts from predictions.npz.

    Returns:
        The answers; None if a part is missing or does not fit, and a note of the outcome says why.
    """
    if outcome.predictions is None:
        return None
    split, fingerprint, outputs = outcome.predictions
    ids, rows = outputs.get(f"{TABLE}ids"), outputs.get("row")
    if ids is None or rows is None or ids.ndim != 2 or len(ids) != len(rows):
        outcome.notes.append("predictions.npz does not hold transcripts")
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
    lower_case = outcome.config.do_lower_case
    references = [shape_text(cells[rows[at]], lower_case) for at in known]
    found = [found[at] for at in known]
    return TranscriptAnswers(
        split=split,
        sentences=[Sentence(text.split() or ["_"], [], []) for text in references],
        rows=rows[known].tolist(),
        score=None,
        logged_score="wer",
        references=references,
        found=found,
        words=word_errors(references, found),
        characters=character_errors(references, found),
    )
