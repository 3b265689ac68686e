"""Hides sub-tokens of a row: a function of seed, epoch, example and position, and of nothing else.

Every example has a fixed number of targets, so each process knows it beforehand. The targets are
the positions with the smallest hash. Of the targets 80% become the mask token, 10% a random one,
and 10% stay as they are (Devlin et al. 2019). Special tokens are neither hidden nor drawn.
"""

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import torch

from tagloop.batches.examples import IGNORE_INDEX, to_tensors
from tagloop.tasks.language_modelling.encoding import IDS_AT_ONCE, TextRows

MASKED_SHARE, RANDOM_SHARE = 0.8, 0.1
# Evaluations hide the same sub-tokens in every run, for any seed, so that scores can be compared.
EVALUATION = (0, -1)


@dataclass(frozen=True, eq=False, kw_only=True)
class MaskedRows(TextRows):
    """Rows in which some sub-tokens are hidden.

    Attributes:
        mask_token_id: what most hidden sub-tokens become.
        is_special: bool [num_ids], the ids that are never hidden, and never drawn.
        probability: the share of the sub-tokens of a row that are targets.
        draw: the seed and the epoch that the targets are drawn for.
    """

    mask_token_id: int
    is_special: np.ndarray
    probability: float
    draw: tuple[int, int] = EVALUATION

    def at_epoch(self, seed: int, epoch: int) -> Self:
        """The same rows with the targets of this epoch."""
        again = dataclasses.replace(self, draw=(seed, epoch))
        vars(again)["target_weights"] = self.target_weights  # The same numbers in every epoch.
        return again

    @cached_property
    def target_weights(self) -> np.ndarray:
        """The number of targets of every row, float64 [num_rows].

        It is `probability` of the sub-tokens that may be hidden, rounded, and at least one of them.
        """
        counts = np.zeros(len(self), dtype=np.int64)
        starts, ends = self.offsets[:-1], self.offsets[1:]
        row = 0
        while row < len(self):
            last = int(np.searchsorted(ends, starts[row] + IDS_AT_ONCE, side="right"))
            last = max(last, row + 1)
            part = ~self.is_special[self.input_ids[starts[row] : ends[last - 1]]]
            counts[row:last] = np.add.reduceat(part, starts[row:last] - starts[row], dtype=np.int64)
            row = last
        return num_targets(counts, self.probability).astype(np.float64)

    @cached_property
    def ordinary_ids(self) -> np.ndarray:
        """The ids that a hidden sub-token may be replaced by, int64."""
        return np.flatnonzero(~self.is_special)

    @property
    def highest_id(self) -> int:
        """The highest id of all rows, and that of the mask."""
        return max(super().highest_id, self.mask_token_id)

    def shown_ids(self) -> None:
        """None: a random replacement may be any id."""
        return None

    def target_counts(self, num_ids: int) -> np.ndarray:
        """How often every id may be hidden, int64 [num_ids]."""
        counts = super().target_counts(num_ids)
        counts[: len(self.is_special)][self.is_special] = 0
        return counts

    def collate(self, ids: np.ndarray) -> dict[str, torch.Tensor]:
        """Pad rows on the right and hide their targets, see `Examples.collate`.

        Returns:
            input_ids, attention_mask and labels, int64 [rows, columns]. The label of a target is
            the sub-token that it was.
        """
        rows = ids if len(ids) else self.stand_in()
        batch = self.pad_inputs(rows)
        original = batch["input_ids"]
        may_hide = (batch["attention_mask"] == 1) & ~self.is_special[original]
        number = num_targets(may_hide.sum(1), self.probability)
        where = hash_positions(self.draw, rows, original.shape[1], 0)
        is_target = choose(where, may_hide, number * (len(ids) > 0))
        batch["labels"] = np.where(is_target, original, IGNORE_INDEX)
        action = shares(hash_positions(self.draw, rows, original.shape[1], 1))
        drawn = hash_positions(self.draw, rows, original.shape[1], 2)
        drawn = self.ordinary_ids[drawn % np.uint64(len(self.ordinary_ids))]
        hidden = np.where(action < MASKED_SHARE, self.mask_token_id, original)
        is_random = (action >= MASKED_SHARE) & (action < MASKED_SHARE + RANDOM_SHARE)
        hidden = np.where(is_random, drawn, hidden)
        batch["input_ids"] = np.where(is_target, hidden, original)
        return to_tensors(batch)


def num_targets(counts: np.ndarray, probability: float) -> np.ndarray:
    """How many of some numbers of sub-tokens are targets, int64 [num_rows].

    >>> num_targets(np.array([0, 1, 10, 20]), 0.15)
    array([0, 1, 2, 3])
    """
    share = np.floor(counts * probability + 0.5).astype(np.int64)
    return np.minimum(np.maximum(share, 1), counts)


def choose(hashes: np.ndarray, may_be: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Choose the positions of each row that have the smallest hashes.

    Args:
        hashes: uint64 [rows, columns].
        may_be: bool [rows, columns], the positions that may be chosen.
        number: int64 [rows], how many; at most as many as may be chosen.

    Returns:
        bool [rows, columns].
    """
    hashes = np.where(may_be, hashes, np.iinfo(np.uint64).max)
    rank = hashes.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    return rank < number[:, None]


def hash_positions(
    draw: tuple[int, int], examples: np.ndarray, num_columns: int, stream: int
) -> np.ndarray:
    """A hash for every position of some examples.

    Args:
        draw: seed and epoch.
        examples: int64 [rows], numbers of examples.
        stream: hashes of different streams have nothing to do with each other.

    Returns:
        uint64 [rows, num_columns].
    """
    seed, epoch = (np.uint64(value % 2**64) for value in draw)
    state = mix(mix(mix(seed) ^ epoch) ^ np.uint64(stream))
    by_example = mix(state ^ examples.astype(np.uint64))
    return mix(by_example[:, None] ^ np.arange(num_columns, dtype=np.uint64))


def mix(values: np.ndarray | np.uint64) -> np.ndarray:
    """splitmix64 (Steele, Lea and Flood 2014): every bit of the result depends on every bit.

    Args:
        values: uint64 of any shape.
    """
    mixed = np.atleast_1d(values) + np.uint64(0x9E3779B97F4A7C15)  # arrays wrap without a warning
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def shares(hashes: np.ndarray) -> np.ndarray:
    """Hashes as numbers from 0 to below 1, float64 of the same shape."""
    return (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53
