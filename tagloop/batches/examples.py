"""What an update learns from: the examples of a split, and rows of sub-tokens as their base.

A process knows the length and the number of targets of every example, so that it can plan and
scale every update without asking the other processes. `SubTokenRows` is what examples of text have
in common.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import ClassVar, Protocol, Self

import numpy as np
import torch

IGNORE_INDEX = -100  # the label of a cell without a target, as cross-entropy has it


class Examples(Protocol):
    """One split of a task. A process holds these arrays in memory; all else stays on disk.

    Attributes:
        lengths: int32 [num_examples], what an example costs: the sub-tokens of all its sequences.
            The plan sorts by it.
        padded_lengths: int32 [num_examples], columns of a batch whose longest example this is.
        shapes: int64 [num_examples], equal for two examples of which neither pads the other.
        output_lengths: int32 [num_examples], rows of the model's output that belong to an
            example: one for each of its sub-tokens, or 0 where the whole example has one answer.
        packable: True if several examples may share a row of a batch, should the model keep them
            apart. Their inputs and labels then have one value for each sub-token.
        target_weights: float64 [num_examples], the sum of the weights of an example's targets; a
            target usually weighs 1, and an example without targets has 0. The loss of an update
            is divided by the sum over its examples. Equal in every epoch.
        num_units, unit: int32 [num_examples] and a plural noun ("words"): what speed is told in.
        prediction_offsets: int64 [num_examples + 1], ascending from 0: the values that are
            predicted for example i are those from prediction_offsets[i] to [i + 1] of the split.
    """

    lengths: np.ndarray
    padded_lengths: np.ndarray
    shapes: np.ndarray
    output_lengths: np.ndarray
    packable: bool
    target_weights: np.ndarray
    num_units: np.ndarray
    unit: str
    prediction_offsets: np.ndarray

    def __len__(self) -> int: ...

    def at_epoch(self, seed: int, epoch: int) -> Self:
        """The same examples with the random draws of an epoch, as a function of these two."""
        ...

    def shown_ids(self) -> Sequence[np.ndarray] | None:
        """Arrays of all token ids that the model may ever be shown; None: any id of its table."""
        ...

    def collate(self, ids: np.ndarray) -> dict[str, torch.Tensor]:
        """The tensors of one micro-batch: what the model takes by name, and `labels`.

        No ids give one example with every label ignored, so that a process without work still
        takes part in every collective, with a zero gradient.
        """
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class SubTokenRows:
    """Rows of sub-token ids of any length, as flat memory-mapped arrays.

    Attributes:
        input_ids: int32 [num_sub_tokens], special tokens included.
        offsets: int64 [num_rows + 1], where a row lies in input_ids.
        special_ids: token ids that may be shown although no row holds them: the tokenizer's.
    """

    input_ids: np.ndarray
    offsets: np.ndarray
    pad_token_id: int
    special_ids: Sequence[int] = ()
    max_length: int  # sub-tokens that a row of a batch may have
    pad_to_max_length: bool  # else to the longest row of the batch
    pad_to_multiple_of: int

    unit: ClassVar[str] = "words"

    @cached_property
    def lengths(self) -> np.ndarray:
        """Sub-tokens of every row, int32 [num_rows]."""
        return np.diff(self.offsets).astype(np.int32)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def padded_lengths(self) -> np.ndarray:
        """Columns of a batch whose longest row this is, int32 [num_rows]."""
        if self.pad_to_max_length:
            return np.full_like(self.lengths, self.max_length)
        rounded = -(-self.lengths // self.pad_to_multiple_of) * self.pad_to_multiple_of
        return rounded.clip(max=self.max_length)  # beyond it the model may have no position

    @property
    def shapes(self) -> np.ndarray:
        """Rows of equal length do not pad each other, int32 [num_rows]."""
        return self.lengths

    def at_epoch(self, seed: int, epoch: int) -> Self:
        """Rows are the same in every epoch."""
        return self

    def shown_ids(self) -> Sequence[np.ndarray]:
        """The ids of all rows, of padding and of special tokens."""
        return [self.input_ids, np.array([self.pad_token_id, *self.special_ids])]

    def stand_in(self) -> np.ndarray:
        """The shortest row, for a process without work."""
        return np.array([self.lengths.argmin()])

    def pad(self, ids: np.ndarray, values: np.ndarray, filler: int) -> np.ndarray:
        """A flat array's values of these rows, padded on the right: int64 [num_rows, columns]."""
        shape = len(ids), int(self.padded_lengths[ids].max())
        padded = np.full(shape, filler, dtype=np.int64)
        for row, number in enumerate(ids):
            begin, end = self.offsets[number], self.offsets[number + 1]
            padded[row, : end - begin] = values[begin:end]
        return padded

    def pad_inputs(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """input_ids and attention_mask, int64 [num_rows, columns]."""
        columns = np.arange(self.padded_lengths[ids].max())
        mask = columns < self.lengths[ids][:, None]
        return {
            "input_ids": self.pad(ids, self.input_ids, self.pad_token_id),
            "attention_mask": mask.astype(np.int64),
        }


def shown_ids(splits: Iterable[Examples]) -> list[np.ndarray] | None:
    """Arrays of all token ids that the model may be shown of these splits; None: any id."""
    found = [examples.shown_ids() for examples in splits]
    return None if None in found else list(chain.from_iterable(found))


def to_tensors(batch: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """The same arrays as tensors that share their memory."""
    return {name: torch.from_numpy(values) for name, values in batch.items()}
