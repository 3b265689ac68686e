"""The sections of a report on tags: scores, kinds of errors, the worst sentences."""

from collections import Counter

import numpy as np

from tagloop.pages.blocks import (
    INTERVAL_TEXT,
    SCORES,
    calibration_section,
    confusion_matrix,
    group_blocks,
    length_blocks,
    score_card,
    type_section,
)
from tagloop.pages.page import Cards, MarkedSentences, Section, Table, mark
from tagloop.pages.sentences import (
    KINDS,
    SEEN,
    Sentence,
    bucket,
    buckets,
    confusion,
    count_by,
    errors_of,
    seen_key,
)
from tagloop.pages.statistics import resample, scores_of
from tagloop.tasks.tagging.answers import TagAnswers

CURVES = ("f1", "precision", "recall")  # scores of evaluations that are drawn over updates
MOST_SENTENCES = 25
SPAN_EDGES = (1, 2, 3, 4)


def build_sections(answers: TagAnswers) -> list[Section]:
    """The sections about the predicted tags."""
    return [
        _scores(answers),
        type_section(answers.sentences, "type"),
        _errors(answers),
        *_seen(answers),
        _by_length(answers),
        *_calibration(answers),
        _worst(answers),
    ]


def _scores(answers: TagAnswers) -> Section:
    """The section with the scores of all spans together, and their intervals."""
    lenient = count_by(answers.sentences, lambda *_: "", [""])[:, 0]
    drawn = resample(lenient)
    if answers.has_spans:
        cards = [score_card(name, at, lenient, drawn) for at, name in enumerate(SCORES)]
        pairs = zip(answers.sentences, answers.strict, strict=True)
        strict_sides = [Sentence(one.words, one.gold, strict) for one, strict in pairs]
        strict = count_by(strict_sides, lambda *_: "", [""])[:, 0]
        cards.append(score_card("strict F1", 2, strict, resample(strict)))
    else:
        cards = [score_card("accuracy", 2, lenient, drawn)]
    item = "spans" if answers.has_spans else "words"
    number = int(lenient[:, 2].sum())
    cards.append((f"gold {item}", f"{number:,}", f"in {len(answers.sentences):,} sentences"))
    text = f"Of {answers.where}. {INTERVAL_TEXT.format(items='sentences')}"
    if answers.has_spans:
        text += " Strict scores do not count predicted spans that begin with I-."
    return Section("Scores", text, [Cards(cards)])


def _errors(answers: TagAnswers) -> Section:
    """The section with the kinds of errors, and the matrix of gold and predicted types."""
    types, kinds = confusion(answers.sentences)
    if answers.has_spans:
        blocks = [_kinds_table(answers, kinds), confusion_matrix(types, with_boundaries=True)]
        text = (
            "A gold span and the predicted one that was meant for it count as one pair: they "
            "overlap, and are of the same type if there is a choice. Both tables count these "
            "pairs. On the diagonal of the second are spans with right words and the right type, "
            "as the scores count them."
        )
        return Section("Errors", text, blocks)
    blocks = [confusion_matrix(types)]
    wrong = Counter({pair: times for pair, times in types.items() if len({*pair}) > 1})
    rows = [(gold, predicted, f"{n:,}") for (gold, predicted), n in wrong.most_common(12)]
    return Section("Errors", "", [*blocks, Table(("gold", "predicted", "times"), rows)])


def _kinds_table(answers: TagAnswers, kinds: Counter[str]) -> Table:
    """The table with the number of errors of each kind, and the F1 without these errors."""
    counts = count_by(answers.sentences, lambda *_: "", [""])
    right, predicted, gold = counts.sum((0, 1))
    total = max(kinds.total(), 1)
    rows = []
    for kind, meaning in KINDS.items():
        times = kinds[kind]
        corrected = right + (0 if kind == "spurious" else times)
        change = {"missed": times, "spurious": -times}.get(kind, 0)
        f1 = scores_of(np.array((corrected, predicted + change, gold)))[2]
        rows.append((f"{kind}: {meaning}", f"{times:,}", f"{times / total:.0%}", f"{f1:.4f}"))
    return Table(("error", "number", "share", "F1 without"), rows)


def _seen(answers: TagAnswers) -> list[Section]:
    """The section with the scores of spans that the training data has, and of other spans."""
    if answers.training is None:
        return []
    text = (
        f"Whether the words of the {answers.span} stand in the training data with a tag, and with "
        "which. What is not seen tells how the model will do on new text."
    )
    blocks = group_blocks(
        answers.sentences, seen_key(answers.training), SEEN, f"{answers.spans} and training data",
        has_spans=answers.has_spans,
    )  # fmt: skip
    return [Section(f"Seen and unseen {answers.spans}", text, blocks)]


def _by_length(answers: TagAnswers) -> Section:
    blocks = length_blocks(answers.sentences, "words in the sentence", has_spans=answers.has_spans)
    if answers.has_spans:
        blocks += group_blocks(
            answers.sentences,
            lambda _, span: bucket(span[1] - span[0], SPAN_EDGES),
            buckets(SPAN_EDGES),
            f"words in the {answers.span}",
            has_spans=True,
        )
    return Section("By length", "", blocks)


def _calibration(answers: TagAnswers) -> list[Section]:
    if answers.probabilities is None:
        return []
    parts = [("all words", answers.probabilities, answers.is_right)]
    if answers.in_span is not None and answers.in_span.any():
        chosen = answers.in_span
        name = f"in predicted {answers.spans}"
        parts.append((name, answers.probabilities[chosen], answers.is_right[chosen]))
    return [calibration_section(parts)]


def _worst(answers: TagAnswers) -> Section:
    """The section with the sentences that have most errors."""
    wrong = [errors_of(sentence) for sentence in answers.sentences]
    order = sorted(range(len(wrong)), key=lambda row: (-wrong[row], row))[:MOST_SENTENCES]
    shown = []
    order = [row for row in order if wrong[row]]
    for row in order:
        sentence = answers.sentences[row]
        sides = (("gold", sentence.gold, sentence.predicted),)
        sides += (("predicted", sentence.predicted, sentence.gold),)
        lines = [(name, mark(sentence, own, others)) for name, own, others in sides]
        errors = f"{wrong[row]} error{'s' if wrong[row] > 1 else ''}"
        shown.append((f"sentence {answers.rows[row] + 1:,}: {errors}", lines))
    number = sum(map(bool, wrong))
    text = f"{number:,} of {len(wrong):,} sentences have an error. " * bool(number)
    text += "✗ is wrong: missed in the gold line, not right in the predicted one."
    if answers.context_tokens:
        seen = f"{answers.context_tokens} sub-tokens of the same document"
        text += f" The model also saw up to {seen} on each side."
    return Section(
        "Sentences with most errors", text, [MarkedSentences(shown, answers.places_of(order))]
    )
