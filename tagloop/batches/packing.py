"""Micro-batches: a row for each example, or packed rows with several examples in each.

    micro_batch = build_micro_batch(examples, ids, packing).to(device)
    with dropout_of(config, step, micro_batch, calls):
        outputs = model(**micro_batch.inputs)
    losses = task.losses(outputs, micro_batch)

A model computes padding cells like any other cells. The sentences of a random batch differ so much
in length that half of the batch is padding. If the corpus is sorted by length, a batch has little
padding, but then an update learns from short sentences only, or from long ones only, and learns
worse. With packed rows an update may hold any examples and has almost no padding. In a packed row
the positions begin again with every example, and an attention mask hides the other examples of the
row, so that no example sees another. dry_pass.py tests whether a model respects positions and mask.
"""

import dataclasses
import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tagloop.batches.examples import IGNORE_INDEX, Examples, to_tensors
from tagloop.batches.plan import longest_first

TARGET_CELLS = "target_cells"  # an input: int64 [num_targets], cells of the flattened labels
SEQUENCES = ("input_ids", "decoder_input_ids", "input_features")  # inputs; the last size: columns
LONG = 1000  # At this row length attention costs about as much per cell as the rest of the model.


@dataclass(frozen=True)
class Packing:
    """How the rows for one model may be packed.

    Attributes:
        first_position: the position id of an example's first sub-token. RoBERTa counts from the
            id after that of its padding token.
        multiple: the number of columns of a row is a multiple of this number.
        max_columns: columns of a row, at most.
        causal: True if a sub-token sees only itself and the sub-tokens before it (decoders).
        sliding_window: how many sub-tokens to each side a layer with sliding attention sees; if
            causal, the sub-token itself counts. None: the model has no layers of this kind.
        shapes: the only shapes (rows, columns) of packed rows, the cheapest first (shapes.py).
            Empty: a micro-batch has as many rows and columns as it needs.
    """

    first_position: int
    multiple: int
    max_columns: int
    causal: bool = False
    sliding_window: int | None = None
    shapes: tuple[tuple[int, int], ...] = ()

    def build_masks(self, owners: Tensor) -> Tensor | dict[str, Tensor]:
        """Masks to add to attention scores: 0 for a visible sub-token, else the lowest float.

        Args:
            owners: int64 [rows, columns], the number of the example that a sub-token belongs to.

        Returns:
            float32 [rows, 1, columns, columns]. For a model with a sliding window: a dict with a
            mask for each type of layer, as transformers defines it.
        """
        columns = torch.arange(owners.shape[1], device=owners.device)
        ahead = columns - columns[:, None]
        hidden = owners[:, None, :, None] != owners[:, None, None, :]
        if self.causal:
            hidden = hidden | (ahead > 0)
        if self.sliding_window is None:
            return _to_add(hidden)
        far = ahead.abs() > self.sliding_window - self.causal
        return {"full_attention": _to_add(hidden), "sliding_attention": _to_add(hidden | far)}


@dataclass(frozen=True)
class Layout:
    """Where the examples of a micro-batch lie in its packed rows.

    Attributes:
        packing: how the rows were packed, and how their attention mask is built.
        owners: int64 [rows, columns], number of the example in the micro-batch; -1 for a padding
            cell.
        positions: int64 [rows, columns], number of the sub-token in its example, from 0.
        cells: int64 [num_examples, sub-tokens of the longest example], number of a sub-token's
            cell in the flattened rows; 0 beyond the end of an example.
    """

    packing: Packing
    owners: Tensor
    positions: Tensor
    cells: Tensor


@dataclass(frozen=True)
class MicroBatch:
    """The examples that one process pushes through the model at once.

    Attributes:
        example_ids: int64 [num_examples]; empty for a process without work.
        inputs: the model's inputs by name, [rows, columns] each, and `input_features`
            [rows, features, columns]. In a packed micro-batch `to` adds
            attention_mask, as Packing.build_masks returns it. `target_cells`, int64 [num_targets],
            are there if they were asked for.
        labels: the labels for the task's losses. In a packed micro-batch they are packed like the
            inputs: int64 [rows, columns], IGNORE_INDEX in padding cells.
        layout: where the examples lie in packed rows; None: a row for each example.
        num_cells: the cells that the model computes, padding included.
    """

    example_ids: np.ndarray
    inputs: dict[str, Tensor]
    labels: Tensor
    layout: Layout | None
    num_cells: int

    def to(self, device: torch.device) -> "MicroBatch":
        """A copy on a device, ready for the model; packed rows also get their attention mask."""
        moved = self._with_tensors(lambda tensor: tensor.to(device, non_blocking=True))
        if moved.layout:
            moved.inputs["attention_mask"] = moved.layout.packing.build_masks(moved.layout.owners)
        return moved

    def pin_memory(self) -> "MicroBatch":
        """A copy in page-locked memory, from which a GPU can read while it computes."""
        return self._with_tensors(Tensor.pin_memory)

    def unpack(self, values: Tensor, filler: float | None = None) -> Tensor:
        """Turn packed values into values with a row for each example.

        Args:
            values: [rows, columns, ...]. If the batch is not packed, they are returned unchanged.
            filler: the value beyond the end of an example; None: it may be any of the values.

        Returns:
            [num_examples, sub-tokens of the longest example, ...].
        """
        if self.layout is None:
            return values
        cells = self.layout.cells
        rows = values.flatten(0, 1).index_select(0, cells.flatten())
        rows = rows.view(*cells.shape, *values.shape[2:])
        if filler is None:
            return rows
        columns = torch.arange(cells.shape[1], device=cells.device)
        is_real = self.layout.positions.flatten()[cells] == columns
        return rows.masked_fill(~is_real.view(*cells.shape, *[1] * (rows.ndim - 2)), filler)

    def _with_tensors(self, change) -> "MicroBatch":
        layout = self.layout
        if layout:
            names = ("owners", "positions", "cells")
            changed = {name: change(getattr(layout, name)) for name in names}
            layout = dataclasses.replace(layout, **changed)
        return dataclasses.replace(
            self,
            inputs={name: change(tensor) for name, tensor in self.inputs.items()},
            labels=change(self.labels),
            layout=layout,
        )


def _to_add(hidden: Tensor) -> Tensor:
    # A boolean mask would not do, because eager attention ignores it. An infinite mask would not
    # do, because a row in which every cell is hidden would become NaN.
    lowest = torch.finfo(torch.float32).min
    return torch.zeros(hidden.shape, device=hidden.device).masked_fill_(hidden, lowest)


def build_micro_batch(
    examples: Examples,
    ids: np.ndarray,
    packing: Packing | None = None,
    *,
    mark_targets: bool = False,
) -> MicroBatch:
    """Put examples into padded rows, one for each, or into packed rows.

    Args:
        ids: int64 [num_examples], ids of the examples. Without ids the result is one row without
            a target.
        packing: how examples share rows; None: a padded row for each example.
        mark_targets: True adds the input `target_cells`: which cells of the flattened labels have a
            target. A model takes it after `accept_target_cells` of tagloop/models/target_logits.py.

    Returns:
        A micro-batch on the CPU.
    """
    micro_batch = _lay_out(examples, ids, packing)
    if mark_targets:
        is_target = micro_batch.labels.numpy() != IGNORE_INDEX
        micro_batch.inputs[TARGET_CELLS] = torch.from_numpy(np.flatnonzero(is_target))
    return micro_batch


def _lay_out(examples: Examples, ids: np.ndarray, packing: Packing | None) -> MicroBatch:
    """See `build_micro_batch`."""
    inputs = examples.collate(ids)
    if packing is None or not (len(ids) or packing.shapes):
        labels = inputs.pop("labels")
        columns = sum(inputs[name].shape[-1] for name in SEQUENCES if name in inputs)
        return MicroBatch(ids, inputs, labels, None, len(ids) * columns)
    width = inputs["labels"].shape[1]
    # Without ids the only row is a stand-in, as long as its attention mask says.
    lengths = examples.lengths[ids] if len(ids) else inputs["attention_mask"].sum(1).numpy()
    first_cells, num_rows, columns = pack_rows(lengths, packing)
    real = np.arange(width) < lengths[:, None]
    cells = (first_cells[:, None] + np.arange(width)) * real
    # Padding cells copy cell 0: any valid id will do, since the mask hides them.
    sources = np.zeros((num_rows, columns), dtype=np.int64)
    sources.flat[cells[real]] = np.flatnonzero(real)
    owners = np.full((num_rows, columns), -1, dtype=np.int64)
    owners.flat[cells[real]] = np.nonzero(real)[0]
    # NumPy computes in this thread alone, while torch would take cores from the model's threads.
    packed = {
        name: tensor.flatten(0, 1).numpy()[sources]
        for name, tensor in inputs.items()
        if name != "attention_mask"
    }
    positions = sources % width
    packed["position_ids"] = positions + packing.first_position
    packed["labels"][owners < 0] = IGNORE_INDEX
    packed = to_tensors(packed)
    labels = packed.pop("labels")
    layout = Layout(packing, *map(torch.from_numpy, (owners, positions, cells)))
    return MicroBatch(ids, packed, labels, layout, sources.size)


def pack_rows(lengths: np.ndarray, packing: Packing) -> tuple[np.ndarray, int, int]:
    """Pack examples into rows of about equal length, for several numbers of rows.

    The function returns the packing that costs the model least, attention included.

    Args:
        lengths: int [num_examples], sub-tokens of every example; each has at least 1.

    Returns:
        For every example the number of its first cell in the flattened rows, int64; the number of
        rows; and the number of columns of all rows, which is at most about twice the length of the
        longest example.

    >>> pack_rows(np.array([3, 9, 4, 1]), Packing(0, multiple=1, max_columns=16))
    (array([13,  0,  9, 16]), 2, 9)
    """
    order = longest_first(np.arange(len(lengths)), lengths)
    descending = lengths[order].tolist()
    if packing.shapes:
        places, num_rows, columns = _fill_first_shape(descending, packing.shapes)
    else:
        places, num_rows, columns = _fill_cheapest(descending, packing)
    starts, rows = np.divmod(places, num_rows)
    first_cells = np.empty(len(lengths), dtype=np.int64)
    first_cells[order] = rows * columns + starts
    return first_cells, num_rows, columns


def _fill_cheapest(lengths: list[int], packing: Packing) -> tuple[list[int], int, int]:
    """The cheapest packing: places as `fill_rows` returns them, number of rows, columns."""
    best = None
    for num_rows in numbers_of_rows(np.array(lengths)):
        places, needed = fill_rows(lengths, num_rows)
        columns = min(-(-needed // packing.multiple) * packing.multiple, packing.max_columns)
        cost = cost_of(num_rows, columns)
        if needed <= columns and (best is None or cost < best[0]):
            best = cost, places, num_rows, columns
    return best[1:]


def _fill_first_shape(
    lengths: list[int], shapes: Sequence[tuple[int, int]]
) -> tuple[list[int], int, int]:
    """The packing into the first shape that holds the examples; one of the shapes always does."""
    for num_rows, columns in shapes:
        places, needed = fill_rows(lengths, num_rows)
        if needed <= columns:
            return places, num_rows, columns
    raise AssertionError("the shapes were chosen so that one of them holds every micro-batch")


def cost_of(num_rows: int, columns: int) -> float:
    """What packed rows cost a model, in cells of short rows; attention makes long rows dearer."""
    return num_rows * columns * (1 + columns / LONG)


def numbers_of_rows(lengths: np.ndarray) -> tuple[int, ...]:
    """The numbers of rows that may be the best for these examples.

    Args:
        lengths: int [num_examples], sub-tokens of every example.
    """
    longest, total = int(lengths.max()), int(lengths.sum())
    fewest, enough = max(1, total // (2 * longest)), min(total // longest + 2, len(lengths))
    return *range(enough, fewest - 1, -1)[:10], len(lengths)


def fill_rows(lengths: list[int], num_rows: int) -> tuple[list[int], int]:
    """Put every example into the row that has the fewest sub-tokens so far (LPT, Graham 1969).

    Args:
        lengths: sub-tokens of every example, in descending order.

    Returns:
        For every example its start in its row x num_rows + the number of the row; and the number
        of sub-tokens of the fullest row.
    """
    ends = list(range(num_rows))  # A heap of the ends of all rows, in the form of the result.
    places = [heapq.heapreplace(ends, ends[0] + length * num_rows) for length in lengths]
    return places, max(ends) // num_rows
