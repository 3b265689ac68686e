"""Texts, references and generated summaries of a finished run, for its report."""

from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from tagloop.models.tokenizers import load_tokenizer
from tagloop.options.config import Config
from tagloop.outcome.record import Outcome
from tagloop.pages.answers import Answers
from tagloop.pages.page import LONGEST
from tagloop.pages.sentences import Sentence
from tagloop.tasks.summarization.columns import is_pair, read_pairs
from tagloop.tasks.summarization.scores import PACKAGE, REMEDY, first_sentence, rouge_of
from tagloop.tasks.summarization.task import decode


@dataclass(kw_only=True)
class SummaryAnswers(Answers):
    """Generated summaries. A sentence here is a whole text, which has no spans.

    Attributes:
        golds: the references.
        found: the generated summaries.
        rouge, baseline: F-measures of the summaries, and of the first sentences of the texts,
            float64 [num_pairs, 4] each, 0 to 1.
    """

    golds: list[str]
    found: list[str]
    rouge: np.ndarray
    baseline: np.ndarray


def read_answers(outcome: Outcome) -> SummaryAnswers | None:
    """Read the pairs from the data, which is read again, and the ids from predictions.npz.

    Returns:
        The answers; None if a part is missing or does not fit, and a note of the outcome says why.
    """
    if outcome.predictions is None:
        return None
    split, fingerprint, outputs = outcome.predictions
    ids = outputs.get("table_ids")
    if ids is None or ids.dtype.kind != "i" or (ids < 0).any():
        outcome.notes.append("predictions.npz holds no generated summaries")
        return None
    if find_spec(PACKAGE) is None:
        outcome.notes.append(f"rouge-score is missing, so there are no scores: {REMEDY}")
        return None
    rows = outcome.read_again(lambda: read_pairs(outcome.config))
    saved = Config(model_name_or_path=str(outcome.folder))
    tokenizer = outcome.read_again(lambda: load_tokenizer(saved, [], pre_split=False))
    if rows is None or tokenizer is None:
        return None
    if rows.fingerprints.get(split) != fingerprint or len(rows.splits[split]) != len(ids):
        outcome.note_other_data(split)
        return None
    texts, golds = (rows.splits[split][:][name] for name in ("source", "target"))
    known = [row for row, pair in enumerate(zip(texts, golds, strict=True)) if is_pair(*pair)]
    if not known:
        outcome.notes.append(f"no row of the {split} data has a text and a summary")
        return None
    found = decode(tokenizer, ids[known])
    golds = [golds[row] for row in known]
    return SummaryAnswers(
        split=split,
        sentences=[
            Sentence(texts[row].split(maxsplit=LONGEST)[:LONGEST] or ["_"], [], []) for row in known
        ],
        rows=known,
        score=None,
        logged_score="rouge1",
        spans_are_parts=False,
        golds=golds,
        found=found,
        rouge=rouge_of(golds, found),
        baseline=rouge_of(golds, [first_sentence(texts[row]) for row in known]),
    )
