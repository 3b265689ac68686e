"""The examples of a split, from which updates learn; `SubTokenRows` is the base for text.

A process knows the lengths and the target weights of all examples. So it can plan and scale every
update without messages to other processes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import ClassVar, Protocol, Self

import numpy as np
import torch

IGNORE_INDEX = -100  # The label of a cell without a target; torch's cross-entropy ignores it.


class Examples(Protocol):
    """The examples of one split of a task.

    A process holds the arrays below in memory; all other data of the examples stays on the disk.

    Attributes:
        lengths: int32 [num_examples], the sub-tokens of all sequences of an example. The batch
            plan takes them as the cost of an example and sorts by them.
        padded_lengths: int32 [num_examples], the columns of a batch in which this example is the
            longest.
        shapes: int64 [num_examples]. Two examples have equal numbers if neither needs padding
            beside the other in one batch.
        output_lengths: int32 [num_examples], rows of the model's output that belong to an
            example: one for each of its sub-tokens, or 0 if the whole example has one answer.
        packable: True if several examples may share a row of a batch, as long as the model keeps
            the examples of a row apart. Inputs and labels must then have one value for each
            sub-token.
        wide_rows: True if a packed row may be longer than the longest example. A few long examples
            then leave less padding in their rows.
        only_targets: True if the model takes the input `target_cells` in an update, and computes no
            other logits (`build_micro_batch`).
        target_weights: float64 [num_examples], the sum of the weights of an example's targets. A
            target usually weighs 1; an example without targets has 0. The loss of an update is
            divided by the sum over its examples. The weights are the same in every epoch.
        num_units: int32 [num_examples], the size of an example in `unit`, for the speed of a run.
        unit: a plural noun, such as "words".
        prediction_offsets: int64 [num_examples + 1], ascending; the first is 0. The predictions
            of example i are those from prediction_offsets[i] to prediction_offsets[i + 1] of the
            split.
    """

    lengths: np.ndarray
    padded_lengths: np.ndarray
    shapes: np.ndarray
    output_lengths: np.ndarray
    packable: bool
    wide_rows: bool
    only_targets: bool
    target_weights: np.ndarray
    num_units: np.ndarray
    unit: str
    prediction_offsets: np.ndarray

    def __len__(self) -> int: ...

    def at_epoch(self, seed: int, epoch: int) -> Self:
        """The examples with the random draws of one epoch, if their data is drawn at random.

        The draws must depend on `seed` and `epoch` only.
        """
        ...

    def shown_ids(self) -> Sequence[np.ndarray] | None:
        """Integer arrays with all token ids that the model may get; None if it may get any id."""
        ...

    @property
    def highest_id(self) -> int:
        """The highest token id of the data; padding and random replacements do not count."""
        ...

    def collate(self, ids: np.ndarray) -> dict[str, torch.Tensor]:
        """The tensors of one micro-batch: the model's inputs by name, and `labels`.

        Without ids the result is one example with IGNORE_INDEX as every label. A process without
        work computes this example, so that it takes part in every collective with a zero gradient.

        Args:
            ids: int64 [examples of the micro-batch].

        Returns:
            On the CPU, a row for each example: int64 [rows, columns] for text.
        """
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class SubTokenRows:
    """Rows of sub-token ids of any length, as flat memory-mapped arrays.

    Attributes:
        input_ids: int32 [num_sub_tokens], special tokens included.
        offsets: int64 [num_rows + 1]; row i is input_ids[offsets[i] : offsets[i + 1]].
        pad_token_id: the id in padding cells.
        special_ids: the tokenizer's special token ids, which the model may get although no row
            holds them.
        max_length: sub-tokens in a row of a batch, at most.
        pad_to_max_length: True pads rows to max_length, False to the longest row of the batch.
        pad_to_multiple_of: the number of columns of a batch is a multiple of this number.
    """

    input_ids: np.ndarray
    offsets: np.ndarray
    pad_token_id: int
    special_ids: Sequence[int] = ()
    max_length: int
    pad_to_max_length: bool
    pad_to_multiple_of: int

    unit: ClassVar[str] = "words"
    wide_rows: ClassVar[bool] = False
    only_targets: ClassVar[bool] = False

    @cached_property
    def lengths(self) -> np.ndarray:
        """Sub-tokens of every row, int32 [num_rows]."""
        return np.diff(self.offsets).astype(np.int32)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def padded_lengths(self) -> np.ndarray:
        """The columns of a batch in which this row is the longest, int32 [num_rows]."""
        if self.pad_to_max_length:
            return np.full_like(self.lengths, self.max_length)
        rounded = -(-self.lengths // self.pad_to_multiple_of) * self.pad_to_multiple_of
        # The model may have no positions beyond the maximum. A decoder computes one cell at least.
        return rounded.clip(min=1, max=self.max_length)

    @property
    def shapes(self) -> np.ndarray:
        """The lengths, int32 [num_rows]: rows of equal length need no padding in one batch."""
        return self.lengths

    def at_epoch(self, seed: int, epoch: int) -> Self:
        """These rows, which are the same in every epoch."""
        return self

    def shown_ids(self) -> Sequence[np.ndarray]:
        """Arrays with the ids of all rows, of padding and of special tokens."""
        return [self.input_ids, np.array([self.pad_token_id, *self.special_ids])]

    @property
    def highest_id(self) -> int:
        """The highest id of all rows; -1 without sub-tokens."""
        return int(self.input_ids.max(initial=-1))

    def stand_in(self) -> np.ndarray:
        """The id of the shortest row, int64 [1], which a process without work computes."""
        return np.array([self.lengths.argmin()])

    def pad(self, ids: np.ndarray, values: np.ndarray, filler: int) -> np.ndarray:
        """Values of some rows, padded on the right.

        Args:
            ids: int64 [rows], numbers of rows.
            values: [num_sub_tokens], one value for each entry of input_ids.
            filler: the value of padding cells.

        Returns:
            int64 [rows, columns].
        """
        real = self._real_cells(ids)
        lengths = self.lengths[ids]
        # Entry k of the rows, laid one after the other, is entry k + shift of `values`.
        shifts = self.offsets[ids] - (lengths.cumsum() - lengths)
        padded = np.full(real.shape, filler, dtype=np.int64)
        padded[real] = values[np.arange(lengths.sum()) + np.repeat(shifts, lengths)]
        return padded

    def pad_inputs(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """input_ids and attention_mask of some rows, int64 [rows, columns] each.

        Args:
            ids: int64 [rows], numbers of rows.
        """
        return {
            "input_ids": self.pad(ids, self.input_ids, self.pad_token_id),
            "attention_mask": self._real_cells(ids).astype(np.int64),
        }

    def _real_cells(self, ids: np.ndarray) -> np.ndarray:
        """True where a padded batch of some rows holds a sub-token, bool [rows, columns]."""
        return np.arange(self.padded_lengths[ids].max()) < self.lengths[ids][:, None]


def shown_ids(splits: Iterable[Examples]) -> list[np.ndarray] | None:
    """Integer arrays with all token ids of some splits; None if a split may show any id."""
    by_split = [examples.shown_ids() for examples in splits]
    return None if None in by_split else list(chain.from_iterable(by_split))


def to_tensors(batch: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Turn the arrays of a batch into tensors; a tensor shares the memory of its array."""
    return {name: torch.from_numpy(values) for name, values in batch.items()}
