"""Scores of token classification as an `evaluate.Metric` over seqeval, without network or files.

    scorer = TokenScores()  # or evaluate.load("./tagloop/tasks/tagging/scores.py")
    scorer.compute(predictions=[["B-PER", "O"]], references=[["B-PER", None]])

This file imports no other file of the project, because `evaluate.load` copies only this file to its
cache. `evaluate.load` uses the first metric class in the file, so `Metric` itself must not be
imported by name.
"""

from collections.abc import Sequence

import evaluate
import numpy as np
from datasets import Features, Value
from datasets import Sequence as ListOf
from seqeval.metrics.sequence_labeling import precision_recall_fscore_support
from seqeval.metrics.v1 import precision_recall_fscore_support as strict_scores
from seqeval.scheme import IOB2
from sklearn.metrics import precision_recall_fscore_support as word_scores

TASKS = ("ner", "chunk", "pos")
_DESCRIPTION = "Precision, recall and F1 of spans (seqeval), or accuracy and macro-F1 of words."
_CITATION = "seqeval: https://github.com/chakki-works/seqeval"
_INPUTS = """
Args:
    predictions: tags of every word, one list per sentence.
    references: the gold tags in the same shape; None where a word has no gold tag.
    task: "ner" or "chunk" for spans in IOB2 tags, "pos" for plain tags.
    entity_level: add the scores of every type (of every tag for "pos").
"""


class TokenScores(evaluate.Metric):
    """Scores of words or spans, from tags that are already gathered from all processes.

    The data is always kept in memory, even with `keep_in_memory=False`, so that no file is written
    or locked. `num_process` above 1 is refused.
    """

    def __init__(self, *, keep_in_memory: bool = True, **options) -> None:
        super().__init__(keep_in_memory=True, **options)

    def _build_data_dir(self) -> str:
        return self._data_dir_root  # By default evaluate would make a folder in the user's cache.

    def _info(self) -> evaluate.MetricInfo:
        tags = ListOf(Value("string"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=Features({"predictions": tags, "references": tags}),
        )

    def compute(
        self,
        *,
        predictions: Sequence[Sequence[str]],
        references: Sequence[Sequence[str | None]],
        task: str = "ner",
        entity_level: bool = False,
    ) -> dict[str, float | int]:
        """Score all sentences of a corpus.

        Words whose reference is None are left out on both sides.

        Returns:
            For "ner" and "chunk": `precision`, `recall` and `f1` of spans as conlleval reads them,
            `accuracy` of words, and `strict_precision`, `strict_recall` and `strict_f1`, which
            ignore spans that do not begin with B-; `entity_level` adds `{TYPE}_precision`,
            `_recall`, `_f1` and `_number` (of gold spans). For "pos": `accuracy` and `macro_f1`,
            the mean over all gold and predicted tags; `entity_level` adds `{TAG}_f1` and
            `_number`. An undefined score (no predicted spans, no words) is 0.

        Raises:
            ValueError: the shapes differ, or the tags do not suit the task.
        """
        if task not in TASKS:
            raise ValueError(f"task={task!r} is none of {', '.join(TASKS)}")
        predictions, references = _keep_tagged_words(predictions, references)
        return super().compute(
            predictions=predictions, references=references, task=task, entity_level=entity_level
        )

    def _compute(self, predictions, references, task, entity_level):
        score = _score_words if task == "pos" else _score_spans
        return score(predictions, references, entity_level)


def type_scores(
    predictions: Sequence[Sequence[str]],
    references: Sequence[Sequence[str | None]],
    task: str = "ner",
) -> dict[str, dict[str, float | int]]:
    """Scores of every type of span, or of every tag for "pos"; arguments as in `compute`.

    Returns:
        For every type, in sorted order: precision, recall, f1, and the number of gold spans.
    """
    predictions, references = _keep_tagged_words(predictions, references)
    sides = [[tag for sentence in side for tag in sentence] for side in (references, predictions)]
    tags = {*sides[0], *sides[1]}
    if task == "pos":
        types = sorted(tags)
        columns = word_scores(*sides, labels=types, average=None, zero_division=0) if types else ()
    else:
        types = sorted({tag[2:] for tag in tags - {"O"}})  # The arrays of seqeval have this order.
        columns = precision_recall_fscore_support(
            references or [[]], predictions or [[]], average=None, zero_division=0
        )
    return {
        type_: dict(zip(("precision", "recall", "f1"), map(float, values), strict=True))
        | {"number": int(number)}
        for type_, *values, number in zip(types, *columns, strict=True)
    }


def _keep_tagged_words(predictions, references) -> tuple[list[list[str]], list[list[str]]]:
    """Leave out the words without a gold tag on both sides. Raises ValueError for other shapes."""
    if len(predictions) != len(references):
        raise ValueError(
            f"{len(predictions)} sentences of predictions, {len(references)} of references"
        )
    kept_predictions, kept_references = [], []
    for number, (predicted, gold) in enumerate(zip(predictions, references, strict=True)):
        if len(predicted) != len(gold):
            raise ValueError(
                f"sentence {number} has {len(predicted)} predictions and {len(gold)} references"
            )
        if None in gold:
            predicted = [
                tag for tag, known in zip(predicted, gold, strict=True) if known is not None
            ]
            gold = [tag for tag in gold if tag is not None]
        if None in predicted:
            raise ValueError(f"sentence {number} has a word with a gold tag but no prediction")
        kept_predictions.append(list(predicted))
        kept_references.append(list(gold))
    return kept_predictions, kept_references


def _score_spans(predictions, references, entity_level: bool) -> dict[str, float | int]:
    """Lenient and strict scores of the spans in IOB2 tags."""
    tags = {tag for side in (predictions, references) for sentence in side for tag in sentence}
    for tag in tags - {"O"}:
        if tag[:2] not in ("B-", "I-"):
            raise ValueError(f"tag {tag!r} is not IOB2; plain tags are scored with task='pos'")
    predictions, references = predictions or [[]], references or [[]]  # seqeval rejects []
    scores: dict[str, float | int] = {}
    if entity_level:
        for span_type, values in type_scores(predictions, references).items():
            scores |= {f"{span_type}_{name}": value for name, value in values.items()}
    lenient = precision_recall_fscore_support(
        references, predictions, average="micro", zero_division=0
    )
    strict = strict_scores(references, predictions, average="micro", zero_division=0, scheme=IOB2)
    # The overall scores are set last, so that a type with the name "strict" cannot replace them.
    for prefix, values in (("", lenient), ("strict_", strict)):
        for name, value in zip(("precision", "recall", "f1"), values, strict=False):
            scores[prefix + name] = float(value)
    return scores | {"accuracy": _accuracy(predictions, references)}


def _score_words(predictions, references, entity_level: bool) -> dict[str, float | int]:
    """Accuracy and macro-F1 of plain tags. seqeval would read their first letter as a prefix."""
    if not any(references):
        return {"accuracy": 0.0, "macro_f1": 0.0}
    types = type_scores(predictions, references, "pos")
    scores: dict[str, float | int] = {}
    if entity_level:
        for tag, values in types.items():
            scores |= {f"{tag}_{name}": values[name] for name in ("f1", "number")}
    return scores | {
        "accuracy": _accuracy(predictions, references),
        "macro_f1": float(np.mean([values["f1"] for values in types.values()])),
    }


def _accuracy(predictions, references) -> float:
    """The share of the words whose predicted tag is the gold tag."""
    correct = total = 0
    for predicted, gold in zip(predictions, references, strict=True):
        correct += sum(tag == known for tag, known in zip(predicted, gold, strict=True))
        total += len(gold)
    return correct / total if total else 0.0
