"""Cuts long sentences into windows, and decides which window owns which word.

Every word keeps at least one sub-token and is an own word of exactly one window. So training,
predictions and scores have every word once. `widen_windows` lets windows see more of a document.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Window:
    """A run of words that fits the model: of one sentence, and of those around it if widened.

    The window learns and predicts its own words; its other words are context.

    Attributes:
        start, end: the words of the window, by their index in the sentence, end exclusive.
        own_start, own_end: the own words of the window, end exclusive.
    """

    start: int
    end: int
    own_start: int
    own_end: int


def resolve_stride(stride: int | None, budget: int) -> int:
    """The number of sub-tokens that neighbouring windows share; only this function decides it.

    Args:
        stride: the value of --stride; None means a quarter of a window.
        budget: sub-tokens that a window may have, special tokens not counted.

    Returns:
        The stride, at most half a window.

    >>> resolve_stride(None, 100), resolve_stride(80, 100)
    (25, 50)
    """
    return budget // 4 if stride is None else min(stride, budget // 2)


def widen_windows(
    windows: np.ndarray,
    piece_counts: np.ndarray,
    firsts: np.ndarray,
    ends: np.ndarray,
    *,
    context_tokens: int,
    budget: int,
) -> np.ndarray:
    """Let every window see words around it, the nearest ones, as far as there is room.

    If both sides do not fit, each gets half of the room, and also the room that the other side does
    not use. Only whole words are seen. The own words of a window stay the same.

    Args:
        windows: the fields of `Window` for every window, int64 [num_windows, 4]; the indices count
            the words of several sentences.
        piece_counts: int64 [num_words], the number of sub-tokens of every word, at least 1.
        firsts, ends: int64 [num_windows], the words that a window may see, end exclusive.
        context_tokens: sub-tokens that it may see on each side, at most.
        budget: sub-tokens that a window may have, special tokens not counted.

    Returns:
        The windows in the same order, int64 [num_windows, 4].

    >>> counts, every = np.array([1, 1, 3, 1, 1, 1]), np.array([[3, 4, 3, 4]])
    >>> widen_windows(every, counts, np.array([0]), np.array([6]), context_tokens=4, budget=6)
    array([[2, 6, 3, 4]])
    """
    totals = np.concatenate([[0], piece_counts.cumsum()])
    starts, stops = windows[:, 0], windows[:, 1]
    room = budget - (totals[stops] - totals[starts])
    before = np.minimum(totals[starts] - totals[firsts], context_tokens)
    after = np.minimum(totals[ends] - totals[stops], context_tokens)
    before = np.minimum(before, np.maximum(room - room // 2, room - after))
    new_starts = np.searchsorted(totals, totals[starts] - before)
    room -= totals[starts] - totals[new_starts]
    new_stops = np.searchsorted(totals, totals[stops] + np.minimum(after, room), "right") - 1
    return np.stack([new_starts, new_stops, windows[:, 2], windows[:, 3]], axis=1)


def cut_windows(piece_counts: Sequence[int], *, budget: int, stride: int) -> list[Window]:
    """Cut a sentence at word boundaries into overlapping windows.

    Args:
        piece_counts: the number of sub-tokens of every word, from 1 to `budget`.
        budget: sub-tokens that a window may have, special tokens not counted.
        stride: sub-tokens that neighbouring windows share, at most `budget // 2`.

    Returns:
        Windows in the order of the sentence. A word in two windows is an own word of the window
        with more context around it. The later window owns the word if the word has more
        sub-tokens before it in the later window than after it in the earlier window.

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
            num_after = begins[end] - begins[own_end + 1]
            num_before = begins[own_end] - begins[next_start]
            if num_before > num_after:
                break
            own_end += 1
        windows.append(Window(start, end, own_start, own_end))
        start, own_start = next_start, own_end
