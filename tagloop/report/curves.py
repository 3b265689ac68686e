"""The curves of a run of any task, from metrics.jsonl, and a test whether it diverged."""

from collections.abc import Sequence

from tagloop.pages import charts
from tagloop.pages.page import Picture, Section

MOST_SCORES = 3  # the number of scores in one picture


def curve(metrics: Sequence[dict], name: str) -> tuple[list[int], list[float]]:
    """The updates and the values of one name in metrics.jsonl."""
    points = [(line["step"], line[name]) for line in metrics if line.get(name) is not None]
    return [step for step, _ in points], [value for _, value in points]


def training_section(metrics: Sequence[dict], scores: Sequence[str]) -> Section:
    """The section with loss, scores, learning rate and gradient norm over updates.

    Args:
        metrics: the lines of metrics.jsonl.
        scores: names of validation scores to draw, without "eval_". If none of them was logged,
            the first logged scores are drawn.
    """
    logged = dict.fromkeys(name for line in metrics for name in line)
    drawn = [name for name in scores if f"eval_{name}" in logged] or [
        name.removeprefix("eval_")
        for name in logged
        if name.startswith("eval_") and name != "eval_loss"
    ][:MOST_SCORES]
    charted = (
        ("loss", [("training", "loss"), ("validation", "eval_loss")]),
        ("validation score", [(name, f"eval_{name}") for name in drawn]),
        ("learning rate", [("learning rate", "learning_rate")]),
        ("gradient norm", [("gradient norm", "grad_norm")]),
    )
    captions = {"loss": "A level of the training loss is its mean over the updates it spans."}
    blocks = []
    for ylabel, names in charted:
        series = [one for name, key in names if (one := series_of(name, metrics, key)).x]
        if series:
            picture = charts.lines(series, ylabel)
            blocks.append(Picture(picture, f"{ylabel} over updates", captions.get(ylabel, "")))
    text = "" if blocks else "The run has logged nothing yet (--logging_steps)."
    return Section("Training", text, blocks)


def series_of(name: str, metrics: Sequence[dict], key: str) -> charts.Series:
    """One line of a chart.

    A logged training loss is the mean since the log before it, so it is drawn as a level.
    """
    return charts.Series(
        name, *curve(metrics, key), dots=key.startswith("eval_"), means=key == "loss"
    )


def find_divergence(metrics: Sequence[dict], guessing_loss: float | None) -> list[str]:
    """Find out if the training loss rose instead of falling.

    The function compares the mean losses over the first and the last fifth of the updates, because
    single losses of small batches vary.

    Args:
        metrics: the lines of metrics.jsonl.
        guessing_loss: the loss of a model that gives every label the same probability, in the unit
            of the logged loss; None for a task without labels.

    Returns:
        A sentence about the loss; [] if the training did not diverge.
    """
    steps, losses = curve(metrics, "loss")
    if not steps:
        return []
    spans = [step - before for step, before in zip(steps, [0, *steps[:-1]], strict=True)]
    first = _mean(losses, spans, steps[-1] / 5)
    last = _mean(losses[::-1], spans[::-1], steps[-1] / 5)
    advice = "a lower --learning_rate or more --num_warmup_steps usually helps."
    # A factor alone would also be met by a trained model whose loss is next to nothing.
    if len(steps) > 1 and last > 2 * first and last > first + 0.1:
        return [
            f"The training diverged: its loss rose from {_plain(first)} in the first updates to "
            f"{_plain(last)} in the last; {advice}"
        ]
    if guessing_loss is not None and last > 2 * guessing_loss:
        return [
            f"The training diverged: its loss was {_plain(last)} in the last updates, and guessing "
            f"has {_plain(guessing_loss)}; {advice}"
        ]
    return []


def _plain(loss: float) -> str:
    """A loss as text, without an exponent: 307,700 and 0.3077."""
    return f"{loss:,.0f}" if abs(loss) >= 1000 else f"{loss:.4g}"


def _mean(losses: Sequence[float], spans: Sequence[int], number: float) -> float:
    """The mean of the first losses that together span at least `number` updates."""
    total, counted = 0.0, 0
    for loss, span in zip(losses, spans, strict=True):
        total, counted = total + loss * span, counted + span
        if counted >= number:
            break
    return total / max(counted, 1)
