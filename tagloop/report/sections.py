"""What a run did, as the sections of its page."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from tagloop.pages import charts
from tagloop.pages.page import (
    Cards,
    Marked,
    Matrix,
    Picture,
    Section,
    Table,
    mark,
)
from tagloop.pages.sentences import (
    KINDS,
    NOTHING,
    SEEN,
    bucket,
    buckets,
    confusion,
    count_by,
    errors_of,
    seen_key,
    types_of,
)
from tagloop.pages.statistics import (
    calibration,
    interval,
    resample,
    scores_of,
)
from tagloop.report.outcome import Outcome

MOST_TYPES, MOST_CONFUSED, MOST_SENTENCES = 40, 15, 25
SENTENCE_EDGES, SPAN_EDGES = (1, 6, 11, 21, 31, 51), (1, 2, 3, 4)
SCORES = ("precision", "recall", "F1")
SPLITS = {"test": "the test data", "validation": "the validation data"}


def with_interval(value: float, drawn: np.ndarray) -> str:
    """A score and its 95% interval.

    >>> with_interval(0.5, np.array([0.4, 0.6]))
    '0.5000 (0.405–0.595)'
    """
    low, high = interval(drawn)
    return f"{value:.4f} ({low:.3f}–{high:.3f})"


def build_sections(outcome: Outcome) -> list[Section]:
    """All that can be said of a run; what there is no data for is left out."""
    sections = [training_section(outcome)]
    if outcome.numbers is not None:
        sections.insert(0, numbers_section(outcome))
    elif outcome.sentences:
        sections = [
            *score_sections(outcome),
            error_section(outcome),
            *group_sections(outcome),
            *calibration_sections(outcome),
            worst_section(outcome),
            *sections,
        ]
    return [*sections, facts_section(outcome)]


def score_sections(outcome: Outcome) -> list[Section]:
    """The scores with their intervals, and those of every type."""
    types = types_of(outcome.sentences)
    counts = count_by(outcome.sentences, lambda _, span: span[2], types)
    drawn = resample(counts)
    total, drawn_total = scores_of(counts.sum((0, 1))), scores_of(drawn.sum(1), undefined=np.nan)
    number = int(counts[:, :, 2].sum())
    where = SPLITS[outcome.split]
    item = {"pos": "words", "classification": "rows"}.get(outcome.task, "spans")
    names = SCORES if outcome.has_spans else ("accuracy",)
    cards = [
        (name, f"{total[at]:.4f}", "95%: {:.3f}–{:.3f}".format(*interval(drawn_total[:, at])))
        for at, name in enumerate(names)
    ]
    cards += [
        (f"gold {item}", f"{number:,}", f"in {len(outcome.sentences):,} sentences")
        if outcome.task != "classification"
        else ("rows", f"{number:,}", f"of {len(types)} classes")
    ]
    text = (
        f"Of {where}. The interval holds 95% of the scores when sentences are drawn again "
        f"({len(drawn):,} bootstrap samples)."
    )
    overall = Section("Scores", text, [Cards(cards)])
    shown = types[:MOST_TYPES]
    values, columns = scores_of(counts.sum(0)), scores_of(drawn, undefined=np.nan)
    rows = [
        [
            name,
            *_cells(values[at], columns[:, at], (0, 1, 2), 2),
            *(f"{count:,}" for count in counts[:, at].sum(0)[[2, 1]]),
        ]
        for at, name in enumerate(shown)
    ]
    more = f"; the {len(shown)} most frequent of {len(types)}" if len(shown) < len(types) else ""
    picture = Picture(
        charts.dots(
            shown,
            [(name, values[: len(shown), at]) for name, at in (("F1", 2), *P_AND_R)],
            [interval(columns[:, at, 2]) for at in range(len(shown))],
            "score",
        ),
        "Precision, recall and F1 of every type",
        f"The bar behind F1 is its 95% interval{more}.",
    )
    kind = "class" if outcome.task == "classification" else "type"
    table = Table((kind, *SCORES, "gold", "predicted"), rows)
    return [overall, Section(f"By {kind}", "", [picture, table])]


def _cells(values: np.ndarray, drawn: np.ndarray, scores: Sequence[int], main: int) -> list[str]:
    """Scores as texts, the main one with its interval: [3] and [num_draws, 3]."""
    return [
        with_interval(values[at], drawn[:, at]) if at == main else f"{values[at]:.4f}"
        for at in scores
    ]


P_AND_R = (("precision", 0), ("recall", 1))


def error_section(outcome: Outcome) -> Section:
    """Kinds of errors, and which types are taken for which."""
    types, kinds = confusion(outcome.sentences)
    blocks = []
    if outcome.has_spans:
        blocks.append(_kinds_table(outcome, kinds))
    number = Counter()
    for (gold, predicted), times in types.items():
        number[gold] += times
        number[predicted] += times if gold != predicted else 0
    nothing = [NOTHING] if number.pop(NOTHING, 0) else []
    names = [name for name, _ in number.most_common(MOST_CONFUSED)]
    caption = "The shade is the share of the row." + (
        f" {NOTHING}: nothing was there, or nothing was found." if nothing else ""
    )
    if len(names) < len(number):
        caption += f" The {len(names)} most frequent of {len(number)}."
    names += nothing
    counts = [[types[gold, predicted] for predicted in names] for gold in names]
    blocks.append(Matrix(names, names, counts, caption))
    wrong = Counter({pair: times for pair, times in types.items() if len({*pair}) > 1})
    if not outcome.has_spans and len(number) > 2:
        rows = [(gold, said, f"{n:,}") for (gold, said), n in wrong.most_common(12)]
        blocks.append(Table(("gold", "predicted", "times"), rows))
    text = (
        "A gold span and the predicted one that was meant for it count as one pair: they overlap, "
        "and are of the same type if there is a choice."
    )
    return Section("Errors", text if outcome.has_spans else "", blocks)


def _kinds_table(outcome: Outcome, kinds: Counter[str]) -> Table:
    """How many errors of a kind there are, and the F1 if they alone were mended."""
    sides = [(s.gold, s.predicted) for s in outcome.sentences]
    right = sum(len({*gold}.intersection(predicted)) for gold, predicted in sides)
    predicted, gold = sum(len(p) for _, p in sides), sum(len(g) for g, _ in sides)
    total = max(kinds.total(), 1)
    rows = []
    for kind, meaning in KINDS.items():
        times = kinds[kind]
        mended = (right + (0 if kind == "spurious" else times), predicted, gold)
        change = {"missed": times, "spurious": -times}.get(kind, 0)
        f1 = scores_of(np.array((mended[0], predicted + change, gold)))[2]
        rows.append((f"{kind}: {meaning}", f"{times:,}", f"{times / total:.0%}", f"{f1:.4f}"))
    header = ("error", "number", "share", "F1 without")
    return Table(header, rows)


def group_sections(outcome: Outcome) -> list[Section]:
    """Scores of what was seen in training or not, and by length of sentence and entity."""
    noun = "entities" if outcome.has_spans else "words"
    found = []
    if outcome.training is not None:
        text = (
            f"Whether the words of the {noun[:-1] if noun == 'words' else 'entity'} stand in the "
            "training data with a tag, and with which. What is not seen tells how the model will "
            "do on new text."
        )
        blocks = _groups(outcome, seen_key(outcome.training), SEEN, f"{noun} and training data")
        found.append(Section(f"Seen and unseen {noun}", text, blocks))
    blocks = _groups(
        outcome,
        lambda sentence, _: bucket(len(sentence.words), SENTENCE_EDGES),
        buckets(SENTENCE_EDGES),
        "words in the text" if outcome.task == "classification" else "words in the sentence",
    )
    found.append(Section("By length", "", blocks))
    if outcome.has_spans:
        found[-1].blocks.extend(
            _groups(
                outcome,
                lambda _, span: bucket(span[1] - span[0], SPAN_EDGES),
                buckets(SPAN_EDGES),
                "words in the entity" if outcome.task == "ner" else "words in the chunk",
            )
        )
    return found


def _groups(outcome: Outcome, key: Callable, groups: Sequence[str], what: str) -> list[object]:
    """A picture and a table of the scores in groups of spans."""
    counts = count_by(outcome.sentences, key, groups)
    # Without spans to find, accuracy: the share of a group's gold words that are right.
    scores = [*enumerate(SCORES)] if outcome.has_spans else [(1, "accuracy")]
    needed = counts if outcome.has_spans else counts[:, :, 2:]
    kept = [at for at in range(len(groups)) if needed[:, at].any()]
    counts, names = counts[:, kept], [groups[at] for at in kept]
    values, drawn = scores_of(counts.sum(0)), scores_of(resample(counts), undefined=np.nan)
    main, name_of_main = scores[-1]
    header = (what, *(name for _, name in scores), "gold", "predicted")
    rows = [
        [name, *_cells(values[at], drawn[:, at], [score for score, _ in scores], main)]
        + [f"{count:,}" for count in counts[:, at].sum(0)[[2, 1]]]
        for at, name in enumerate(names)
    ]
    if not outcome.has_spans:
        header, rows = (*header[:-2], "number"), [row[:-1] for row in rows]
    intervals = [interval(drawn[:, at, main]) for at in range(len(names))]
    svg = charts.columns(names, values[:, main], intervals, ylabel=name_of_main, xlabel=what)
    return [Picture(svg, f"{name_of_main} by {what}"), Table(header, rows)]


def calibration_sections(outcome: Outcome) -> list[Section]:
    """How often the model is right when it says how sure it is."""
    if outcome.probabilities is None or not len(outcome.probabilities):
        return []
    what = "rows" if outcome.task == "classification" else "all words"
    parts = [(what, np.ones(len(outcome.probabilities), dtype=bool))]
    if outcome.in_span is not None and outcome.in_span.any():
        parts.append(("in predicted entities", outcome.in_span))
    series, rows = [], []
    for name, chosen in parts:
        probabilities, is_right = outcome.probabilities[chosen], outcome.is_right[chosen]
        bins, error = calibration(probabilities, is_right)
        series.append((name, bins))
        rows.append(
            (
                name,
                f"{probabilities.mean():.4f}",
                f"{is_right.mean():.4f}",
                f"{error:.4f}",
                f"{len(is_right):,}",
            )
        )
    header = ("", "mean probability", "right", "calibration error", "number")
    text = (
        "The probability of a predicted label beside how often it is right. Below the dotted line "
        "the model is surer than it is right."
    )
    picture = Picture(charts.reliability(series), "Accuracy over probability")
    return [Section("Calibration", text, [picture, Table(header, rows)])]


def worst_section(outcome: Outcome) -> Section:
    """The sentences with most errors; of texts those that the model was surest of."""
    if outcome.task == "classification":
        return _worst_texts(outcome)
    wrong = [errors_of(sentence) for sentence in outcome.sentences]
    order = sorted(range(len(wrong)), key=lambda row: (-wrong[row], row))[:MOST_SENTENCES]
    shown = []
    for row in (row for row in order if wrong[row]):
        sentence = outcome.sentences[row]
        sides = (("gold", sentence.gold, sentence.predicted),)
        sides += (("predicted", sentence.predicted, sentence.gold),)
        lines = [(name, mark(sentence, own, others)) for name, own, others in sides]
        errors = f"{wrong[row]} error{'s' if wrong[row] > 1 else ''}"
        shown.append((f"sentence {outcome.rows[row] + 1:,}: {errors}", lines))
    number = sum(map(bool, wrong))
    text = f"{number:,} of {len(wrong):,} sentences have an error. " * bool(number)
    text += "✗ is wrong: missed in the gold line, not right in the predicted one."
    return Section("Sentences with most errors", text, [Marked(shown)])


def _worst_texts(outcome: Outcome) -> Section:
    wrong = np.flatnonzero(~outcome.is_right)
    order = wrong[np.argsort(-outcome.probabilities[wrong], kind="stable")][:MOST_SENTENCES]
    shown = []
    for row in order.tolist():
        sentence, sure = outcome.sentences[row], outcome.probabilities[row]
        heading = f"row {outcome.rows[row] + 1:,}: {sentence.predicted[0][2]} ({sure:.2f})"
        heading += f" instead of {sentence.gold[0][2]}"
        shown.append((heading, [("text", mark(sentence, [], []))]))
    text = f"{len(wrong):,} of {len(outcome.sentences):,} rows are wrong."
    return Section("Wrong, and surest of it", text, [Marked(shown)])


def numbers_section(outcome: Outcome) -> Section:
    """A regression: its scores, every row as a dot, and the rows that are farthest off."""
    gold, found = outcome.numbers.T
    off = abs(gold - found)
    ones = np.ones_like(gold)
    sums = np.stack([ones, gold, found, gold * gold, found * found, gold * found, off**2], axis=1)
    (r, mse), (r_drawn, mse_drawn) = _pearson(sums.sum(0)), _pearson(resample(sums))
    cards = [
        ("Pearson's r", f"{r:.4f}", "95%: {:.3f}–{:.3f}".format(*interval(r_drawn))),
        ("mean squared error", f"{mse:.4g}", "95%: {:.3g}–{:.3g}".format(*interval(mse_drawn))),
        ("rows", f"{len(gold):,}", ""),
    ]
    shown = [
        (
            f"row {outcome.rows[row] + 1:,}: {found[row]:.3g} instead of {gold[row]:.3g}",
            [("text", mark(outcome.sentences[row], [], []))],
        )
        for row in np.argsort(-off, kind="stable")[:MOST_SENTENCES].tolist()
    ]
    picture = Picture(
        charts.points(gold, found, xlabel="gold", ylabel="predicted"), "Predicted over gold numbers"
    )
    blocks = [Cards(cards), picture, Marked(shown)]
    text = f"Of {SPLITS[outcome.split]}. The rows below are farthest off."
    return Section("Scores", text, blocks)


def _pearson(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlation and mean squared error from sums over rows, [...] each of [..., 7]."""
    number, x, y, xx, yy, xy, squares = np.moveaxis(sums, -1, 0)
    spread = np.sqrt(np.maximum((xx - x * x / number) * (yy - y * y / number), 0))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nan_to_num((xy - x * y / number) / spread), squares / number


def curves(metrics: Sequence[dict], name: str) -> tuple[list[int], list[float]]:
    """Updates and values of one name in metrics.jsonl."""
    found = [(line["step"], line[name]) for line in metrics if line.get(name) is not None]
    return [step for step, _ in found], [value for _, value in found]


def training_section(outcome: Outcome) -> Section:
    """Loss, score, learning rate and gradient norm over updates."""
    line = partial(curves, outcome.metrics)
    charted = (
        ("loss", (("training", "loss", False), ("validation", "eval_loss", True))),
        ("validation score", [(name, f"eval_{name}", True) for name in _shown_scores(outcome)]),
        ("learning rate", (("learning rate", "learning_rate", False),)),
        ("gradient norm", (("gradient norm", "grad_norm", False),)),
    )
    blocks = []
    for ylabel, names in charted:
        series = [charts.Series(name, *line(key), dots) for name, key, dots in names]
        if series := [one for one in series if one.x]:
            picture = charts.lines(series, ylabel)
            blocks.append(Picture(picture, f"{ylabel} over updates"))
    text = "" if blocks else "The run has logged nothing yet (--logging_steps)."
    return Section("Training", text, blocks)


def _shown_scores(outcome: Outcome) -> list[str]:
    if outcome.has_spans:
        return ["f1", "precision", "recall"]
    found = {name for line in outcome.metrics for name in line}
    return [name for name in ("accuracy", "macro_f1", "pearson") if f"eval_{name}" in found]


def facts_section(outcome: Outcome) -> Section:
    """Speed and padding; with what the run was made; the options that were given."""
    results, environment = outcome.results, outcome.record.get("environment", {})
    speed = []
    for name, key, shape in (
        ("words a second", "train_words_per_second", "{:,.0f}"),
        ("padding", "train_padding_share", "{:.1%}"),
        ("seconds, with evaluations", "train_runtime", "{:,.0f}"),
        ("validation loss", "eval_loss", "{:.4f}"),
        ("test loss", "test_loss", "{:.4f}"),
    ):
        if results.get(key) is not None:
            speed.append((name, shape.format(results[key])))
    if size := outcome.record.get("global_batch_size"):
        speed.append(("examples in an update", f"{size:,}"))
    for name in ("device", "num_processes", "mixed_precision", "git_revision"):
        if environment.get(name) is not None:
            speed.append((name.replace("_", " "), str(environment[name])))
    versions = environment.get("versions", {})
    speed.append(("versions", ", ".join(f"{name} {v}" for name, v in versions.items()) or "–"))
    return Section(
        "Speed and circumstances",
        "On the right the options that differ from their defaults.",
        [Table((), speed), Table((), options_given(outcome.options))],
    )


def options_given(options: dict) -> list[tuple[str, str]]:
    """The options whose value is not the default's."""
    from tagloop.options.command_line import FIELDS

    return [
        (f"--{name}", str(value))
        for name, value in options.items()
        if name not in FIELDS or value != FIELDS[name].default
    ]
