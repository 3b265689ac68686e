"""The sections of a report on transcripts: rates, words that are often wrong, the worst ones."""

from collections import Counter, defaultdict

import numpy as np

from tagloop.pages.page import Cards, MarkedSentences, Piece, Section, Table
from tagloop.pages.sentences import NOTHING
from tagloop.pages.statistics import interval, resample
from tagloop.tasks.speech.answers import TranscriptAnswers, error_pieces
from tagloop.tasks.speech.scores import align, rate_of

CURVES = ("wer", "cer")  # scores of evaluations that are drawn over updates
MOST_WORDS = 25
MOST_TRANSCRIPTS = 25


def build_sections(answers: TranscriptAnswers) -> list[Section]:
    """The sections about the transcripts of a split."""
    return [_scores(answers), _by_length(answers), _wrong_words(answers), _worst(answers)]


def _scores(answers: TranscriptAnswers) -> Section:
    cards = []
    for measure in answers.measures:
        low, high = interval(measure.of(resample(measure.sums)))
        shown = f"95%: {low:.4f}–{high:.4f}" if low < high else "too few for an interval"
        cards.append((measure.name, f"{measure.of(measure.sums.sum(0)):.4f}", shown))
    whole = int((answers.errors == 0).sum())
    cards.append(("recordings", f"{len(answers.found):,}", f"{whole:,} without an error"))
    text = (
        f"Of {answers.where}: errors divided by the words or characters of the references. 95% of "
        "the rates of resampled recordings lie in the interval."
    )
    return Section("Scores", text, [Cards(cards)])


def _by_length(answers: TranscriptAnswers) -> Section:
    (grouping,) = answers.groupings
    rows = []
    for name in grouping.names:
        own = answers.words[np.array(grouping.of_items) == name]
        if len(own) and (rate := rate_of(own)) is not None:
            rows.append((name, f"{rate:.4f}", f"{len(own):,}"))
    table = Table((grouping.what, "word error rate", "recordings"), rows)
    return Section(grouping.title, "", [table])


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
                instead[word][other or "(nothing)"] += 1
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
    order = np.argsort(-answers.errors, kind="stable")
    order = order[answers.errors[order] > 0][:MOST_TRANSCRIPTS]
    shown = []
    for at in order.tolist():
        said, errors = answers.references[at], int(answers.errors[at])
        heading = f"recording {answers.rows[at] + 1:,}: {errors:,} error{'s' * (errors != 1)}"
        lines = [
            ("said", [Piece(said or NOTHING)]),
            ("written", error_pieces(said, answers.found[at])),
        ]
        shown.append((heading, lines))
    text = f"Beside a wrong word stands the word that was said; {NOTHING} is no word."
    blocks = [MarkedSentences(shown, answers.places_of(order.tolist()))] if shown else []
    return Section("Transcripts with the most errors", text if shown else "", blocks)
