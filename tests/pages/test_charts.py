"""Charts show what is there: no score above 1, and a mean as wide as what it is the mean of."""

import re

import numpy as np
import pytest

from tagloop.pages import charts

pytest.importorskip("matplotlib", reason="pip install -r requirements-report.txt")


def numbers_of(svg: str) -> list[float]:
    """The numbers with decimals on the axes; those of updates have none."""
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    return [float(text) for text in texts if re.fullmatch(r"-?\d+\.\d+", text)]


@pytest.mark.medium
@pytest.mark.parametrize("values", [[0.99, 1.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
def test_axes_of_scores_end_at_zero_and_one(values):
    dots = charts.dots(["a", "b"], [("F1", np.array(values))], [(0.9, 1.0)] * 2, "score")
    lines = charts.lines([charts.Series("f1", [100, 200], values, dots=True)], "score")
    for svg in (dots, lines):
        ticks = numbers_of(svg)
        assert len(ticks) > 1
        assert min(ticks) >= 0
        assert max(ticks) <= 1


def test_a_loss_keeps_its_range():
    assert max(numbers_of(charts.lines([charts.Series("loss", [1, 2], [5.0, 3.0])], "loss"))) > 4


def test_a_mean_of_two_updates_is_as_wide_as_two_updates():
    """Log lines after 10, 20 and 22 updates: levels in the ratio 10 : 10 : 2."""
    svg = charts.lines(
        [charts.Series("training", [10, 20, 22], [3.0, 2.0, 9.0], means=True)], "loss"
    )
    path = next(p for p in re.findall(r'<path d="([^"]*)"[^>]*var\(--series-1\)', svg))
    points = np.array(re.findall(r"[ML] ([\d.]+) ([\d.]+)", path), dtype=float)
    steps = np.diff(points, axis=0)
    widths = [width for width, height in steps if abs(height) < 1e-6 and width > 1e-6]
    assert np.array(widths) / widths[-1] == pytest.approx([5, 5, 1], rel=1e-3)
