"""Words <-> sub-tokens: windows of long sentences, and who owns which word. Pure.

Every word keeps at least one sub-token and belongs to exactly one window, so nothing is lost in
training, in predictions or in the score.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """A run of words that fits the model. Indices are words of the sentence, ends exclusive.

    The words `own_start..own_end` are labelled and predicted here; the others are context.
    """

    start: int
    end: int
    own_start: int
    own_end: int


def resolve_stride(stride: int | None, budget: int) -> int:
    """How many sub-tokens neighbouring windows share: the one rule for --stride.

    Args:
        stride: as given; None means a quarter of a window.
        budget: sub-tokens a window may hold, special tokens not counted.

    Returns:
        The stride, at most half a window.

    >>> resolve_stride(None, 100), resolve_stride(80, 100)
    (25, 50)
    """
    return budget // 4 if stride is None else min(stride, budget // 2)


def cut_windows(piece_counts: Sequence[int], *, budget: int, stride: int) -> list[Window]:
    """Cut a sentence at word boundaries into overlapping windows.

    Args:
        piece_counts: sub-tokens of every word, each between 1 and `budget`.
        budget: sub-tokens a window may hold, special tokens not counted.
        stride: sub-tokens that neighbouring windows share, at most `budget // 2`.

    Returns:
        Windows in order. A word in two windows is owned by the one that shows more of what lies
        around it: the later one as soon as that has more left context than the earlier one has
        right context.

    >>> cut_windows([1, 1, 1, 1, 1, 1], budget=4, stride=2)
    [Window(start=0, end=4, own_start=0, own_end=3), Window(start=2, end=6, own_start=3, own_end=6)]
    """
    begins = [0]
    for count in piece_counts:
        begins.append(begins[-1] + count)
    num_words = len(piece_counts)
    windows: list[Window] = []
    start = own_start = 0
    while True:
        end = start
        while end < num_words and begins[end + 1] - begins[start] <= budget:
            end += 1
        if end == num_words:
            windows.append(Window(start, end, own_start, end))
            return windows
        next_start = end
        while (
            next_start - 1 > start
            and begins[end] - begins[next_start - 1] <= stride
            and begins[end + 1] - begins[next_start - 1] <= budget
        ):
            next_start -= 1
        own_end = max(next_start, own_start)
        while own_end < end:
            right_here = begins[end] - begins[own_end + 1]
            left_in_next = begins[own_end] - begins[next_start]
            if left_in_next > right_here:
                break
            own_end += 1
        windows.append(Window(start, end, own_start, own_end))
        start, own_start = next_start, own_end
