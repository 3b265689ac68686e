"""The sections of a report on transcripts: rates, words that are often wrong, the worst ones."""

from collections import Counter, defaultdict

import numpy as np

from tagloop.pages.page import Cards, Section, Table
from tagloop.pages.sentences import bucket, buckets
from tagloop.pages.statistics import interval, resample
from tagloop.tasks.speech.answers import TranscriptAnswers
from tagloop.tasks.speech.scores import align, rate_of

CURVES = ("wer", "cer")  # scores of evaluations that are drawn over updates
MOST_WORDS = 25
MOST_TRANSCRIPTS = 25
EDGES = (1, 3, 6, 11, 21, 41)  # of numbers of words
NOTHING = "(nothing)"


def build_sections(answers: TranscriptAnswers) -> list[Section]:
    """The sections about the transcripts of a split."""
    return [_scores(answers), _by_length(answers), _wrong_words(answers), _worst(answers)]


def _scores(answers: TranscriptAnswers) -> Section:
    cards = []
    for name, counts in (
        ("word error rate", answers.words), ("character error rate", answers.characters)
    ):  # fmt: skip
        if (rate := rate_of(counts)) is None:
            continue
        drawn = resample(counts.astype(np.float64))
        low, high = interval(drawn[:, 0] / np.maximum(drawn[:, 1], 1))
        shown = f"95%: {low:.4f}–{high:.4f}" if low < high else "too few for an interval"
        cards.append((name, f"{rate:.4f}", shown))
    whole = int((answers.words[:, 0] == 0).sum())
    cards.append(("transcripts", f"{len(answers.found):,}", f"{whole:,} without an error"))
    text = (
        f"Of {answers.where}: errors divided by the words or characters of the references. 95% of "
        "the rates of resampled transcripts lie in the interval."
    )
    return Section("Scores", text, [Cards(cards)])


def _by_length(answers: TranscriptAnswers) -> Section:
    names = np.array([bucket(max(int(number), 1), EDGES) for number in answers.words[:, 1]])
    rows = []
    for name in buckets(EDGES):
        own = answers.words[names == name]
        if len(own) and (rate := rate_of(own)) is not None:
            rows.append((name, f"{rate:.4f}", f"{len(own):,}"))
    return Section("By length", "", [Table(("words", "word error rate", "transcripts"), rows)])


def _wrong_words(answers: TranscriptAnswers) -> Section:
    """The section with the words that are most often replaced, left out or added."""
    there: Counter[str] = Counter()
    instead: dict[str, Counter[str]] = defaultdict(Counter)
    added: Counter[str] = Counter()
    for reference, found in zip(answers.references, answers.found, strict=True):
        for word, other in align(reference.split(), found.split()):
            if word is None:
                added[other] += 1
                continue
            there[word] += 1
            if word != other:
                instead[word][NOTHING if other is None else other] += 1
    wrong = sorted(instead, key=lambda word: (-instead[word].total(), word))[:MOST_WORDS]
    if not wrong and not added:
        return Section("Words that are most often wrong", "No word is wrong.")
    blocks = []
    if wrong:
        rows = [
            (
                word,
                f"{instead[word].total():,}",
                f"{there[word]:,}",
                ", ".join(f"{other} ({n:,})" for other, n in instead[word].most_common(3)),
            )
            for word in wrong
        ]
        blocks.append(Table(("word", "wrong", "said", "written instead"), rows))
    if added:
        rows = [(word, f"{n:,}") for word, n in added.most_common(MOST_WORDS)]
        blocks.append(Table(("word that was not said", "written"), rows))
    return Section("Words that are most often wrong", "", blocks)


def _worst(answers: TranscriptAnswers) -> Section:
    errors = answers.words[:, 0]
    order = np.argsort(-errors, kind="stable")
    order = order[errors[order] > 0][:MOST_TRANSCRIPTS]
    rows = [
        (f"{answers.rows[at] + 1:,}", f"{errors[at]:,}", answers.references[at], answers.found[at])
        for at in order.tolist()
    ]
    if not rows:
        return Section("Transcripts with the most errors")
    header = ("row", "errors", "said", "written")
    return Section("Transcripts with the most errors", "", [Table(header, rows)])
