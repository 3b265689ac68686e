"""Hides spans of a row as T5 learns them: a function of seed, epoch, example and position alone.

    noise = SpanNoise(density=0.15, mean_span=3.0)
    is_noise = noise.draw((seed, epoch), numbers, lengths)
    inputs, targets = corrupt(ids, lengths, is_noise, sentinel_ids, end_id)

In the input a sentinel stands for each hidden span; the target is each sentinel with the sub-tokens
of its span (Raffel et al. 2020). How many sub-tokens are hidden, and in how many spans, follows
from the length of the row. All ways to hide so many in so many spans are equally likely.
"""

from bisect import bisect_right
from typing import NamedTuple

import numpy as np

from tagloop.options.config import Config
from tagloop.tasks.language_modelling.masking import choose, hash_positions


class SpanNoise(NamedTuple):
    """How much of a row is hidden.

    Attributes:
        density: the share of the sub-tokens of a row that are hidden.
        mean_span: the mean number of sub-tokens of a span.
    """

    density: float
    mean_span: float

    def num_hidden(self, lengths: np.ndarray) -> np.ndarray:
        """How many sub-tokens of rows are hidden: at least one, and not all if there are two.

        Args:
            lengths: int64 [rows], at least 1.

        Returns:
            int64 [rows].

        >>> SpanNoise(0.15, 3.0).num_hidden(np.array([1, 2, 20, 568]))
        array([ 1,  1,  3, 85])
        """
        hidden = np.round(lengths * self.density).astype(np.int64)
        return hidden.clip(1, np.maximum(lengths - 1, 1))

    def num_spans(self, lengths: np.ndarray) -> np.ndarray:
        """In how many spans these sub-tokens lie, with a visible one between two spans.

        Args:
            lengths: int64 [rows], at least 1.

        Returns:
            int64 [rows], at least 1.
        """
        hidden = self.num_hidden(lengths)
        spans = np.round(hidden / self.mean_span).astype(np.int64)
        return spans.clip(1, np.minimum(hidden, lengths - hidden + 1))

    def input_lengths(self, lengths: np.ndarray) -> np.ndarray:
        """Sub-tokens of the inputs: the visible ones, a sentinel for each span, and the end."""
        return lengths - self.num_hidden(lengths) + self.num_spans(lengths) + 1

    def target_lengths(self, lengths: np.ndarray) -> np.ndarray:
        """Sub-tokens of the targets: the hidden ones, a sentinel for each span, and the end."""
        return self.num_hidden(lengths) + self.num_spans(lengths) + 1

    def longest_row(self, input_length: int) -> int:
        """The sub-tokens of the longest row whose input has at most `input_length` sub-tokens.

        Args:
            input_length: at least 2.

        >>> SpanNoise(0.15, 3.0).longest_row(512)
        568
        """
        rows = range(1, int(input_length / (1 - self.density)) + 2)
        return bisect_right(rows, input_length, key=lambda n: self.input_lengths(np.int64(n)))

    def draw(self, draw: tuple[int, int], examples: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Which sub-tokens of some rows are hidden.

        A span lies before one of the visible sub-tokens, or behind the last one. The places with
        the smallest hash are taken. The hidden sub-tokens are cut into spans in the same way.

        Args:
            draw: seed and epoch.
            examples: int64 [rows], the numbers of the rows.
            lengths: int64 [rows], at least 1.

        Returns:
            bool [rows, the largest length]; False behind the end of a row.
        """
        hidden, spans = self.num_hidden(lengths), self.num_spans(lengths)
        places = _draw(draw, examples, 0, lengths - hidden + 1, spans)
        cuts = _draw(draw, examples, 1, hidden - 1, spans - 1)
        first = np.ones((len(examples), 1), dtype=bool)
        begins_span = np.concatenate([first, cuts], axis=1)
        row, number = np.nonzero(np.arange(hidden.max()) < hidden[:, None])
        span = begins_span[row, number].cumsum() - 1
        # So many visible sub-tokens are before a hidden one; `nonzero` goes row by row, as above.
        visible = np.nonzero(places)[1][span]
        is_noise = np.zeros((len(examples), lengths.max()), dtype=bool)
        is_noise[row, number + visible] = True
        return is_noise


def noise_of(config: Config) -> SpanNoise:
    """How much the options hide of a row."""
    return SpanNoise(config.mlm_probability, config.mean_noise_span_length)


def _draw(
    draw: tuple[int, int], examples: np.ndarray, stream: int, counts: np.ndarray, wanted: np.ndarray
) -> np.ndarray:
    """Choose `wanted` of the first `counts` positions of rows, bool [rows, counts.max()]."""
    hashes = hash_positions(draw, examples, int(counts.max()), stream)
    return choose(hashes, np.arange(hashes.shape[1]) < counts[:, None], wanted)


def corrupt(
    ids: np.ndarray,
    lengths: np.ndarray,
    is_noise: np.ndarray,
    sentinel_ids: np.ndarray,
    end_id: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Part rows into inputs with sentinels and targets.

    Args:
        ids: int64 [rows, columns], padded on the right.
        lengths: int64 [rows].
        is_noise: bool [rows, columns].
        sentinel_ids: int64, the sentinel of the first span, of the second, and so on.
        end_id: the last id of each input and each target; it also fills the rows behind the end.

    Returns:
        int64 [rows, columns of the longest] each.
    """
    is_real = np.arange(ids.shape[1]) < lengths[:, None]
    begins_span = is_noise.copy()
    begins_span[:, 1:] &= ~is_noise[:, :-1]
    sentinels = sentinel_ids[np.maximum(begins_span.cumsum(axis=1) - 1, 0)]
    inputs = np.where(begins_span, sentinels, ids)
    targets = np.stack([sentinels, ids], axis=2).reshape(len(ids), -1)
    is_target = np.stack([begins_span, is_noise], axis=2).reshape(targets.shape)
    return (
        _close_up(inputs, is_real & (~is_noise | begins_span), end_id),
        _close_up(targets, is_target, end_id),
    )


def _close_up(values: np.ndarray, is_kept: np.ndarray, end_id: int) -> np.ndarray:
    """Move the kept values of each row to its left, and fill it with the end.

    Returns:
        int64 [rows, the largest number of kept values + 1].
    """
    counts = is_kept.sum(axis=1)
    closed = np.full((len(values), counts.max() + 1), end_id, dtype=np.int64)
    closed[np.arange(closed.shape[1]) < counts[:, None]] = values[is_kept]
    return closed
