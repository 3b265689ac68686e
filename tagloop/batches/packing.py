"""Micro-batches: a row for each example, or rows in which several lie and none sees another.

    micro_batch = build_micro_batch(examples, ids, packing).to(device)
    with dropout_of(config, step, micro_batch):
        outputs = model(**micro_batch.inputs)
    losses = task.losses(outputs, micro_batch)

Padding is computed like everything else. The sentences of a random batch differ so much in length
that half of the batch is padding. Sorting the corpus by length would leave little padding, but then
an update learns from short sentences only, or from long ones only, and learns worse. In packed rows
an update may hold any examples, and next to nothing is padding. Positions that begin again with
every example, and an attention mask that hides the other examples of the row, tell the model which
sub-tokens belong together; dry_pass.py finds out whether the model keeps to that.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tagloop.batches.examples import IGNORE_INDEX, Examples
from tagloop.batches.plan import deal_evenly

LONG = 1000  # At this row length attention costs about as much per cell as the rest of the model.


@dataclass(frozen=True)
class Packing:
    """How rows may be packed.

    Attributes:
        first_position: of an example, in position_ids (RoBERTa's come after its padding token's).
        multiple: a row's columns are a multiple of it.
        max_columns: of a row.
        causal: a sub-token sees those before it only (decoders).
        sliding_window: sub-tokens to each side that layers of sliding attention see, itself among
            them if causal; None: there are no such layers.
    """

    first_position: int
    multiple: int
    max_columns: int
    causal: bool = False
    sliding_window: int | None = None

    def build_masks(self, owners: Tensor) -> Tensor | dict[str, Tensor]:
        """The mask to add to attention scores: 0 where a sub-token may look, else the lowest float.

        Args:
            owners: int64 [rows, columns], which example a sub-token belongs to.

        Returns:
            float32 [rows, 1, columns, columns]; with a sliding window by the type of the layer, as
            transformers' models of such layers take them.
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
    """Where the examples of a micro-batch lie in its rows.

    Attributes:
        owners: int64 [rows, columns], number of the example in the micro-batch; -1 for a padding
            cell.
        positions: int64 [rows, columns], a sub-token's place in its example.
        cells: int64 [num_examples, sub-tokens], a sub-token's place in the flattened rows;
            0 where an example has no such sub-token.
    """

    packing: Packing
    owners: Tensor
    positions: Tensor
    cells: Tensor


@dataclass(frozen=True)
class MicroBatch:
    """What one process pushes through the model at once.

    Attributes:
        example_ids: int64 [num_examples]; none for a process without work.
        inputs: what the model takes, by name, [rows, columns] each; when packed, attention_mask is
            added on the device, as Packing.build_masks gives it.
        labels: what the task's losses compare with. Where rows are packed, they are packed as the
            inputs are: [rows, columns], IGNORE_INDEX in padding cells.
        layout: where the examples lie in packed rows; None: a row for each example.
        num_cells: cells that the model computes, padding included.
    """

    example_ids: np.ndarray
    inputs: dict[str, Tensor]
    labels: Tensor
    layout: Layout | None
    num_cells: int

    def to(self, device: torch.device) -> "MicroBatch":
        """The same on a device, ready for the model: packed rows get their attention mask here."""
        moved = self._with_tensors(lambda tensor: tensor.to(device, non_blocking=True))
        if moved.layout:
            moved.inputs["attention_mask"] = moved.layout.packing.build_masks(moved.layout.owners)
        return moved

    def pin_memory(self) -> "MicroBatch":
        """Page-locked tensors, which travel to a GPU beside the computation."""
        return self._with_tensors(Tensor.pin_memory)

    def unpack(self, values: Tensor, filler: float | None = None) -> Tensor:
        """Values [rows, columns, ...] as [num_examples, sub-tokens, ...]: a row for each example.

        Args:
            filler: stands behind the end of an example; None: any of the values does.
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
    # Neither a boolean nor an infinite mask: eager attention ignores booleans, and infinity
    # becomes NaN where a whole row is hidden.
    lowest = torch.finfo(torch.float32).min
    return torch.zeros(hidden.shape, device=hidden.device).masked_fill_(hidden, lowest)


def build_micro_batch(
    examples: Examples, ids: np.ndarray, packing: Packing | None = None
) -> MicroBatch:
    """The examples of these ids, each in a padded row, or packed as `packing` says.

    Args:
        ids: int64 [num_examples]; none give one row without a target.
    """
    inputs = examples.collate(ids)
    if packing is None or not len(ids):
        labels = inputs.pop("labels")
        columns = int(examples.padded_lengths[ids].max()) if len(ids) else 0
        return MicroBatch(ids, inputs, labels, None, len(ids) * columns)
    lengths, width = examples.lengths[ids], inputs["labels"].shape[1]
    rows, columns = pack_rows(lengths, packing)
    first_cells = np.empty(len(ids), dtype=np.int64)
    for row, members in enumerate(rows):
        ends = lengths[members].cumsum()
        first_cells[members] = row * columns + ends - lengths[members]
    real = np.arange(width) < lengths[:, None]
    cells = (first_cells[:, None] + np.arange(width)) * real
    # Padding cells copy cell 0: any valid id will do, since the mask hides them.
    sources = np.zeros(len(rows) * columns, dtype=np.int64)
    sources[cells[real]] = np.flatnonzero(real)
    owners = np.full(len(sources), -1, dtype=np.int64)
    owners[cells[real]] = np.nonzero(real)[0]
    shape, index = (len(rows), columns), torch.from_numpy(sources)
    packed = {
        name: tensor.flatten(0, 1)[index].view(*shape, *tensor.shape[2:])
        for name, tensor in inputs.items()
        if name != "attention_mask"
    }
    positions = index.view(shape) % width
    packed["position_ids"] = positions + packing.first_position
    owners, cells = torch.from_numpy(owners).view(shape), torch.from_numpy(cells)
    labels = packed.pop("labels").masked_fill_(owners < 0, IGNORE_INDEX)
    layout = Layout(packing, owners, positions, cells)
    return MicroBatch(ids, packed, labels, layout, len(sources))


def pack_rows(lengths: np.ndarray, packing: Packing) -> tuple[list[np.ndarray], int]:
    """Lay examples into rows of about one length, as many rows as cost least, attention included.

    Args:
        lengths: int [num_examples], 1 or more each.

    Returns:
        The examples of every row, by number, and the columns of the rows, at most about twice the
        longest example.

    >>> pack_rows(np.array([3, 9, 4, 1]), Packing(0, multiple=1, max_columns=16))
    ([array([1]), array([2, 0, 3])], 9)
    """
    longest, total, best = lengths.max(), lengths.sum(), None
    fewest, enough = max(1, total // (2 * longest)), min(total // longest + 2, len(lengths))
    for num_rows in (*range(enough, fewest - 1, -1)[:10], len(lengths)):
        rows = deal_evenly(lengths, num_rows)
        needed = max(lengths[row].sum() for row in rows)
        columns = min(-(-needed // packing.multiple) * packing.multiple, packing.max_columns)
        cost = num_rows * columns * (1 + columns / LONG)
        if needed <= columns and (best is None or cost < best[0]):
            best = cost, rows, int(columns)
    return best[1], best[2]
