"""Examples of an encoder-decoder: a source that it reads, and a target that it learns to write."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import torch

from tagloop.batches.examples import IGNORE_INDEX, SubTokenRows, to_tensors


def shift_right(labels: np.ndarray, start_id: int, pad_token_id: int) -> np.ndarray:
    """What a decoder reads while it learns to write labels: each label but the last, one later.

    Args:
        labels: int64 [rows, columns]; IGNORE_INDEX where there is no target.
        start_id: the id that every row begins with.
        pad_token_id: the id in place of IGNORE_INDEX.

    Returns:
        int64 [rows, columns].

    >>> shift_right(np.array([[7, 8, 1], [9, 1, -100]]), 2, 0)
    array([[2, 7, 8],
           [2, 9, 1]])
    """
    shown = np.where(labels == IGNORE_INDEX, pad_token_id, labels)
    return np.concatenate([np.full_like(shown[:, :1], start_id), shown[:, :-1]], axis=1)


@dataclass(frozen=True, eq=False, kw_only=True)
class PairRows:
    """Pairs of a source and a target. See `tagloop.batches.examples.Examples`.

    A subclass may draw other pairs of the same lengths in every epoch: it overrides `at_epoch` and
    `sequences`.

    Attributes:
        source: what the encoder reads: SubTokenRows, or an object of the same length that has
            `lengths`, `padded_lengths` and `pad_inputs` with the same meaning.
        target: what the decoder learns to write, the end included and the start not. A row without
            sub-tokens is an example without a target.
        start_id: the id that the decoder reads first.
    """

    source: Any
    target: SubTokenRows
    start_id: int

    wide_rows: ClassVar[bool] = False
    only_targets: ClassVar[bool] = False
    packable: ClassVar[bool] = False  # Cross-attention would see the other sources of a row.
    unit: ClassVar[str] = "tokens"

    def __len__(self) -> int:
        return len(self.target)

    @cached_property
    def output_lengths(self) -> np.ndarray:
        """A row of logits for every target, int32 [num_examples]; one at least."""
        return self.target.lengths.clip(min=1)

    @cached_property
    def lengths(self) -> np.ndarray:
        """The sub-tokens of source and target together, int32 [num_examples]."""
        return self.source.lengths + self.output_lengths

    @cached_property
    def padded_lengths(self) -> np.ndarray:
        """The columns of both parts of a batch in which this pair is the longest, int32."""
        return self.source.padded_lengths + self.target.padded_lengths

    @cached_property
    def shapes(self) -> np.ndarray:
        """A number for each pair of lengths, int64 [num_examples]."""
        return self.source.lengths.astype(np.int64) << 32 | self.output_lengths

    @cached_property
    def target_weights(self) -> np.ndarray:
        """The number of targets, float64 [num_examples]."""
        return self.target.lengths.astype(np.float64)

    @property
    def num_units(self) -> np.ndarray:
        """The sub-tokens of source and target together, int32 [num_examples]."""
        return self.lengths

    @property
    def prediction_offsets(self) -> np.ndarray:
        """The offsets of one prediction for every pair, int64 [num_examples + 1]."""
        return np.arange(len(self) + 1)

    def at_epoch(self, seed: int, epoch: int) -> Self:
        """These pairs, which are the same in every epoch."""
        return self

    @property
    def highest_id(self) -> int:
        """The highest id of all sources that are sub-tokens, and of all targets."""
        source = self.source.highest_id if isinstance(self.source, SubTokenRows) else -1
        return max(source, self.target.highest_id)

    def shown_ids(self) -> None:
        """None: a decoder reads what it wrote, which may be any id."""
        return None

    def sequences(self, ids: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The inputs of the encoder by name, and the labels, padded on the right.

        Args:
            ids: int64 [rows], numbers of examples, at least one.

        Returns:
            The labels are int64 [rows, columns], IGNORE_INDEX in padding cells.
        """
        labels = self.target.pad(ids, self.target.input_ids, IGNORE_INDEX)
        return self.source.pad_inputs(ids), labels

    def collate(self, ids: np.ndarray) -> dict[str, torch.Tensor]:
        """The inputs of encoder and decoder, and labels; see `Examples.collate`.

        Returns:
            Besides the inputs of the encoder decoder_input_ids and labels, int64 [rows, columns of
            the targets].
        """
        rows = ids if len(ids) else np.array([self.lengths.argmin()])
        inputs, labels = self.sequences(rows)
        shown = shift_right(labels, self.start_id, self.target.pad_token_id)
        if not len(ids):
            labels = np.full_like(labels, IGNORE_INDEX)
        return to_tensors(inputs | {"decoder_input_ids": shown, "labels": labels})
