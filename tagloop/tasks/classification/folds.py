"""Joins what the runs of --folds predicted: every row by a model that has not seen it."""

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from tagloop.data.places import places_of_rows
from tagloop.data.rows import Rows, load_rows
from tagloop.errors import InputError
from tagloop.outcome.record import Outcome
from tagloop.pages.label_errors import JoinedFolds, Suspect, confident_errors
from tagloop.pages.page import mark
from tagloop.pages.sentences import Sentence
from tagloop.sample.corpus import build_sample_texts
from tagloop.tasks.classification.answers import fits
from tagloop.tasks.classification.columns import choose_columns


def join_folds(outcomes: Sequence[Outcome]) -> JoinedFolds:
    """Predictions of all rows in the order of the data, and the classes they contradict.

    Numbers have no probabilities, so nothing is suspected of them.

    Raises:
        InputError: a run has left no predictions, or its data has changed since.
    """
    found = sorted((row for outcome in outcomes for row in _read(outcome)), key=lambda row: row[0])
    lines = [json.dumps(shown, ensure_ascii=False) + "\n" for _, shown, _ in found]
    known = [(row, shown, share) for row, shown, share in found if share is not None]
    return JoinedFolds({"predictions.jsonl": "".join(lines)}, _suspects(known) if known else [])


def places_of(outcome: Outcome, rows: Sequence[int]) -> list[str]:
    """Where rows of the training data stand, as "train.csv:17"; [] if no place is known."""
    stored = "train", np.arange(max(rows, default=-1) + 1)
    return places_of_rows(outcome.config, stored, rows)


def _read(outcome: Outcome) -> list[tuple[int, dict[str, Any], float | None]]:
    """The rows that a run was tested on.

    Returns:
        For each row its number, what predictions.jsonl shows of it, and the probability of its gold
        class, None without one.
    """
    if outcome.predictions is None:
        raise InputError(f"{outcome.folder}: {'; '.join(outcome.notes)}; train this fold again")
    split, fingerprint, outputs = outcome.predictions
    rows = load_rows(outcome.config, partial(choose_columns, outcome.config), build_sample_texts)
    size = len(rows.splits[split])
    if rows.fingerprints[split] != fingerprint or not (
        fits(outcome.predictions, size, len(outcome.labels))
        and ("number" in outputs or len(outputs.get("gold_probability", ())) == size)
    ):
        raise InputError(
            f"{outcome.folder}: its predictions are not those of the data as it is now; put the "
            "data back, or train again with --overwrite_output_dir"
        )
    numbers = rows.stored[split][1].tolist()
    return [
        (number, *_shown(rows, row, at, outputs, outcome.labels))
        for at, (number, row) in enumerate(zip(numbers, rows.splits[split], strict=True))
    ]


def _shown(
    rows: Rows, row: dict, at: int, outputs: dict[str, np.ndarray], labels: list[str]
) -> tuple[dict[str, Any], float | None]:
    """A row with its prediction, and the probability of its gold class."""
    texts = {name: row[name] for name in ("text", "pair") if row.get(name) is not None}
    if "number" in outputs:
        number = float(f"{outputs['number'][at]:.6g}")
        gold_number = rows.value_of(row["label"], "label", None)
        return texts | {"label": gold_number, "predicted_number": number}, None
    label2id = {label: number for number, label in enumerate(labels)}
    known = rows.value_of(row["label"], "label", label2id)
    gold = rows.class_of(row["label"], "label") if known is None else labels[int(known)]
    predicted = {
        "predicted_label": labels[int(outputs["class"][at])],
        "score": round(float(outputs["probability"][at]), 4),
    }
    share = None if gold is None else float(outputs["gold_probability"][at])
    return texts | {"label": gold} | predicted, share


def _suspects(known: Sequence[tuple[int, dict[str, Any], float | None]]) -> list[Suspect]:
    """The rows whose class is not the predicted one."""
    ids: dict[str, int] = {}
    sides = [
        np.array([ids.setdefault(shown[name], len(ids)) for _, shown, _ in known])
        for name in ("label", "predicted_label")
    ]
    gold_shares = np.array([share for *_, share in known], float)
    shares = np.array([shown["score"] for _, shown, _ in known])
    are_errors = confident_errors(sides[0], sides[1], gold_shares, shares)
    suspects = []
    for at in np.flatnonzero(sides[0] != sides[1]).tolist():
        row, shown, _ = known[at]
        words = " ".join(filter(None, (shown.get("text"), shown.get("pair")))).split() or ["_"]
        spans = [[(0, len(words), shown[name])] for name in ("label", "predicted_label")]
        sentence, text = Sentence(words, [], []), " ".join(words)
        suspects.append(
            Suspect(
                row=row,
                gold=shown["label"],
                gold_words="",
                predicted=shown["predicted_label"],
                predicted_words="",
                self_confidence=float(gold_shares[at]),
                margin=float(gold_shares[at] - shares[at]),
                is_likely=bool(are_errors[at]),
                text=text,
                lines=[
                    ("gold", mark(sentence, spans[0], spans[1])),
                    ("predicted", mark(sentence, spans[1], spans[0])),
                ],
            )
        )
    return suspects
