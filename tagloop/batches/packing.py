"""Micro-batches: a row for each example, or rows in which several lie and none sees another.

    micro_batch = build_micro_batch(examples, ids, packing).to(device)
    with dropout_of(config, step, micro_batch):
        outputs = model(**micro_batch.inputs)
    outputs.logits = micro_batch.unpack(outputs.logits)
    losses = task.losses(outputs, micro_batch.labels)

Padding is computed like everything else. Sentences of a random batch differ so much in length that
half of it is padding; sorted by length there is little, but then an update holds only short
sentences or only long ones, and learns worse. In packed rows the examples of an update may be any,
and next to nothing is padding. The model is told by positions that begin again with every example
and by an attention mask that hides the others; whether it listens, dry_pass.py finds out.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tagloop.batches.examples import Examples
from tagloop.batches.plan import deal_evenly

LONG = 1000  # columns at which attention costs about as much a cell as all else


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
        """What a sub-token does not see, lowest there and 0 elsewhere, to be added to the scores.

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
        owners: int64 [rows, columns], number of the example in the micro-batch; -1: nobody's.
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
        labels: one row for each example, packed or not.
        layout: None: a row for each example.
        num_cells: that the model computes, padding included.
    """

    example_ids: np.ndarray
    inputs: dict[str, Tensor]
    labels: Tensor
    layout: Layout | None
    num_cells: int

    def to(self, device: torch.device) -> "MicroBatch":
        """The same on a device, ready for the model."""
        moved = self._with_tensors(lambda tensor: tensor.to(device, non_blocking=True))
        if moved.layout:
            moved.inputs["attention_mask"] = moved.layout.packing.build_masks(moved.layout.owners)
        return moved

    def pin_memory(self) -> "MicroBatch":
        """Page-locked tensors, which travel to a GPU beside the computation."""
        return self._with_tensors(Tensor.pin_memory)

    def unpack(self, values: Tensor) -> Tensor:
        """Values [rows, columns, ...] as [num_examples, sub-tokens, ...], each in a row again."""
        if self.layout is None:
            return values
        cells = self.layout.cells
        rows = values.flatten(0, 1).index_select(0, cells.flatten())
        return rows.view(*cells.shape, *values.shape[2:])

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
    # Neither boolean nor infinite: eager attention ignores the one and makes NaN of the other.
    lowest = torch.finfo(torch.float32).min
    return torch.zeros(hidden.shape, device=hidden.device).masked_fill_(hidden, lowest)


def build_micro_batch(
    examples: Examples, ids: np.ndarray, packing: Packing | None = None
) -> MicroBatch:
    """Examples padded, or packed if it is told how."""
    inputs = examples.collate(ids)
    labels = inputs.pop("labels")
    columns = int(examples.padded_lengths[ids].max()) if len(ids) else 0
    if packing is None or not len(ids):
        return MicroBatch(ids, inputs, labels, None, len(ids) * columns)
    lengths, width = examples.lengths[ids], inputs["input_ids"].shape[1]
    rows, columns = pack_rows(lengths, packing)
    first_cells = np.empty(len(ids), dtype=np.int64)
    for row, members in enumerate(rows):
        ends = lengths[members].cumsum()
        first_cells[members] = row * columns + ends - lengths[members]
    real = np.arange(width) < lengths[:, None]
    cells = (first_cells[:, None] + np.arange(width)) * real
    sources = np.zeros(len(rows) * columns, dtype=np.int64)  # nobody's are like the first
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
