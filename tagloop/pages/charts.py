"""Draws pictures as SVG text with matplotlib. The page sets their colours, light or dark."""

import functools
import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tagloop.errors import InputError
from tagloop.pages.statistics import Bin

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# These colours are replaced by variables of the style sheet.
INK, LINE = "#010101", "#020202"
SERIES = ("#030303", "#040404", "#050505", "#060606")
VARIABLES = {INK: "--muted", LINE: "--line"} | {
    colour: f"--series-{number}" for number, colour in enumerate(SERIES, start=1)
}
STYLE = {
    "font.size": 10, "text.color": INK, "text.parse_math": False, "axes.labelcolor": INK,
    "axes.edgecolor": LINE, "axes.grid": True, "axes.axisbelow": True, "grid.color": LINE,
    "grid.linewidth": 0.6, "xtick.color": INK, "ytick.color": INK, "figure.facecolor": "none",
    "axes.facecolor": "none", "axes.spines.top": False, "axes.spines.right": False,
    "legend.frameon": False, "axes.unicode_minus": False, "axes.formatter.useoffset": False,
    "axes.formatter.limits": (-9, 9),  # Numbers are written as 0.00002 and 300000.
    "svg.fonttype": "none",  # Text stays text in the SVG.
}  # fmt: skip
MARKERS = "osD^vPX*"  # Series differ by markers, too, because some readers see no colours.
STYLES = ("-", "--", "-.", ":")


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        x, y: the points of the line, [num_points] each.
        dots: True draws a dot at every point.
        means: True if a value y is a mean over the range from the x before (or 0) to its own x. It
            is drawn as a level over this range.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    dots: bool = False
    means: bool = False


def require_packages() -> None:
    """Raise InputError if matplotlib or jinja2 is not installed; the message has the remedy."""
    require_jinja("the report")
    try:
        import matplotlib
    except ImportError as error:
        raise _missing(error, "the report") from None
    matplotlib.set_loglevel("error")


def require_jinja(what: str) -> None:
    """Raise InputError if jinja2 is not installed; the message has the remedy.

    Args:
        what: is made with it: "the page".
    """
    try:
        import jinja2  # noqa: F401
    except ImportError as error:
        raise _missing(error, what) from None


def _missing(error: ImportError, what: str) -> InputError:
    return InputError(
        f"{error.name} is not installed, and {what} is made with it: pip install matplotlib jinja2"
    )


def _styled(draw: Callable[..., str]) -> Callable[..., str]:
    """Make a function draw in the style of the page, and not in that of the user's matplotlibrc."""

    @functools.wraps(draw)
    def styled(*arguments, **options) -> str:
        from matplotlib import rc_context, rcParamsDefault

        with rc_context(rcParamsDefault), rc_context(STYLE), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # matplotlib warns of letters that its font lacks.
            return draw(*arguments, **options)

    return styled


@_styled
def lines(series: Sequence[Series], ylabel: str, *, xlabel: str = "update") -> str:
    """Draw curves over updates, as SVG text."""
    figure, axes = _figure()
    for number, one in enumerate(series):
        _line(axes, one, number)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.set_xlim(left=0)
    _within(axes, "y", [value for one in series for value in one.y])
    if len(series) > 1:
        _legend(axes)
    return _svg(figure)


def _line(axes: "Axes", one: Series, number: int) -> None:
    colour = SERIES[number % len(SERIES)]
    dots = one.dots or (len(one.x) < 3 and not one.means)
    x, y = one.x, one.y
    if one.means:
        x, y = [0, *x], [y[0], *y]
    axes.plot(
        x, y, color=colour, label=_label(one.name), linewidth=1.6,
        drawstyle="steps-pre" if one.means else "default",
        linestyle=STYLES[number // len(SERIES) % len(STYLES)],
        marker=MARKERS[number % len(MARKERS)] if dots else None, markersize=4,
        clip_on=not dots,  # A dot on the edge must stay whole.
    )  # fmt: skip


def _label(name: str) -> str:
    """A name for the legend, from which matplotlib leaves out what begins with _."""
    return f" {name}" if name.startswith("_") else name


def _within(axes: "Axes", name: str, values: Sequence[float]) -> None:
    """Let an axis end at 0 and 1 if all of its values are scores, which lie between 0 and 1."""
    if values and min(values) >= 0 and max(values) <= 1:
        low, high = getattr(axes, f"get_{name}lim")()
        getattr(axes, f"set_{name}lim")(max(low, 0), min(high, 1))


@_styled
def dots(
    names: Sequence[str],
    series: Sequence[tuple[str, np.ndarray]],
    intervals: Sequence[tuple[float, float]] | None,
    xlabel: str,
) -> str:
    """Draw a row of dots for every name, as SVG text.

    Args:
        series: for every kind of dot its name and its values, float [num_names]; NaN is not drawn.
        intervals: for every name the interval of the first series; None draws no intervals.
    """
    figure, axes = _figure(height=0.9 + 0.28 * len(names))
    rows = np.arange(len(names))
    if intervals is not None:
        low, high = np.array(intervals).T
        axes.hlines(rows, low, high, color=SERIES[0], linewidth=4, alpha=0.3)
    for number, (name, values) in enumerate(series):
        axes.plot(
            values, rows, linestyle="none", marker=MARKERS[number % len(MARKERS)],
            label=_label(name),
            color=SERIES[number % len(SERIES)], markersize=6 if number == 0 else 4.5,
            zorder=3 - number / len(series), clip_on=False,
        )  # fmt: skip
    _within(axes, "x", [value for _, values in series for value in values[~np.isnan(values)]])
    axes.set(xlabel=xlabel, ylim=(len(names) - 0.4, -0.6))
    axes.set_yticks(rows, [_short(name) for name in names])
    axes.grid(visible=True, axis="both", color=LINE, linewidth=0.6)
    if len(series) > 1:
        _legend(axes)
    return _svg(figure)


@_styled
def columns(
    names: Sequence[str],
    values: Sequence[float],
    intervals: Sequence[tuple[float, float]],
    *,
    ylabel: str,
    xlabel: str,
) -> str:
    """Draw a bar with its interval for every group, as SVG text."""
    figure, axes = _figure()
    places = np.arange(len(names))
    axes.bar(places, values, color=SERIES[0], width=0.6, alpha=0.75)
    low, high = np.array(intervals).T
    axes.vlines(places, low, high, color=INK, linewidth=1.4)
    axes.set(xlabel=xlabel, ylabel=ylabel, ylim=(0, 1))
    axes.set_xticks(places, [_short(name) for name in names])
    axes.grid(visible=False, axis="x")
    return _svg(figure)


@_styled
def reliability(series: Sequence[tuple[str, list[Bin]]]) -> str:
    """Draw the accuracy over the probability, and below it the number of predictions."""
    figure, (axes, below) = _figure(height=3.4, rows=(3, 1))
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=":", label="as sure as right")
    for number, (name, bins) in enumerate(series):
        one = Series(name, [b.confidence for b in bins], [b.accuracy for b in bins], dots=True)
        _line(axes, one, number)
        width = 0.8 / len(series)
        low = [int(min(b.confidence, 0.9999) * 10) for b in bins]
        places = [(place + 0.1) / 10 + width / 10 * (number + 0.5) for place in low]
        below.bar(places, [b.number for b in bins], width=width / 10, color=SERIES[number])
    axes.set(ylabel="right", xlim=(0, 1), ylim=(0, 1))
    axes.tick_params(labelbottom=False)
    below.set(xlabel="probability of what was predicted", ylabel="number", xlim=(0, 1))
    below.set_yscale("log")
    below.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    below.yaxis.set_minor_formatter(lambda value, _: "")
    _legend(axes)
    return _svg(figure)


@_styled
def points(x: np.ndarray, y: np.ndarray, *, xlabel: str, ylabel: str) -> str:
    """Draw a dot for every row of a regression; of more than 5,000 rows a random sample."""
    figure, axes = _figure(height=3.4)
    chosen = np.random.default_rng(0).permutation(len(x))[:5000]
    ends = [min(x.min(), y.min()), max(x.max(), y.max())]
    axes.plot(ends, ends, color=INK, linewidth=1, linestyle=":")
    axes.plot(
        x[chosen], y[chosen], linestyle="none", marker="o", markersize=3, alpha=0.5, color=SERIES[0]
    )
    axes.set(xlabel=xlabel, ylabel=ylabel)
    return _svg(figure)


def _short(name: str) -> str:
    return name if len(name) <= 24 else name[:23] + "…"


def _figure(height: float = 2.7, rows: Sequence[int] | None = None) -> tuple["Figure", object]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, height), layout="constrained")
    if rows is None:
        return figure, figure.subplots()
    return figure, figure.subplots(len(rows), sharex=True, height_ratios=rows)


def _legend(axes: "Axes") -> None:
    """Draw the names of the lines above the picture, in as many columns as fit."""
    handles, names = axes.get_legend_handles_labels()
    names = [_short(name) for name in names]
    fit = next(n for n in (4, 3, 2, 1) if n * (max(map(len, names)) + 6) < 58 or n == 1)
    axes.legend(
        handles, names, loc="lower left", bbox_to_anchor=(0, 1), ncols=fit, borderaxespad=0.2,
        handlelength=1.6, columnspacing=1.2, labelcolor=INK,
    )  # fmt: skip


def _svg(figure: "Figure") -> str:
    """The picture as an <svg> element without ids of groups, so that a page may have several."""
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg
