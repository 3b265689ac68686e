"""What an update learns from: rows of sub-token ids, flat on disk, padded on demand.

A task's examples have lengths and numbers of targets, so that every process can plan and scale
every update without asking the others; `SubTokenRows` is what examples of text have in common.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch

IGNORE_INDEX = -100  # cross-entropy's default: no target here


class Examples(Protocol):
    """One split of a task. A process holds these arrays; all else stays on disk.

    Attributes:
        lengths: int32 [num_examples], sub-tokens of an example; the plan sorts by them.
        padded_lengths: int32 [num_examples], columns of an example alone in a batch; a batch has
            those of its longest.
        num_targets: int32 [num_examples]; an update's loss is divided by their sum.
        num_words: int32 [num_examples], for the words per second of the log.
        prediction_offsets: int64 [num_examples + 1], where an example's predicted values lie.
        input_ids: int32 [...], every id that the model is shown; padding need not be among them.
    """

    lengths: np.ndarray
    padded_lengths: np.ndarray
    num_targets: np.ndarray
    num_words: np.ndarray
    prediction_offsets: np.ndarray
    input_ids: np.ndarray

    def __len__(self) -> int: ...

    def collate(self, ids: np.ndarray) -> dict[str, torch.Tensor]:
        """The tensors of one micro-batch: what the model takes, and `labels`.

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
    """

    input_ids: np.ndarray
    offsets: np.ndarray
    pad_token_id: int
    max_length: int  # sub-tokens that a row of a batch may have
    pad_to_max_length: bool  # else to a batch's longest row
    pad_to_multiple_of: int

    @cached_property
    def lengths(self) -> np.ndarray:
        """Sub-tokens of every row, int32 [num_rows]."""
        return np.diff(self.offsets).astype(np.int32)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def padded_lengths(self) -> np.ndarray:
        """Columns of a batch whose longest row it is, int32 [num_rows]."""
        if self.pad_to_max_length:
            return np.full_like(self.lengths, self.max_length)
        rounded = -(-self.lengths // self.pad_to_multiple_of) * self.pad_to_multiple_of
        return rounded.clip(max=self.max_length)  # beyond it the model may have no position

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


def to_tensors(batch: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """The same arrays as tensors that share their memory."""
    return {name: torch.from_numpy(values) for name, values in batch.items()}
