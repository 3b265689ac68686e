"""The data loader of training: each item is one update with the micro-batches of this process."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset

from tagloop.batches.examples import Examples
from tagloop.batches.packing import MicroBatch, Packing, build_micro_batch
from tagloop.batches.plan import deal_update


@dataclass(frozen=True)
class Update:
    """The part of one global batch that one process computes.

    Attributes:
        example_ids: int64 [num_examples], the examples of the whole update.
        micro_batches: the micro-batches of this process; every process has the same number.
        target_weight: the sum of the weights of all targets of the whole update. Every process
            knows the weights of all examples, so the sum needs no collective.
        num_units: the size of the whole update in the unit of the examples ("words").
        num_sub_tokens: the sub-tokens that this process computes.
        num_cells: the cells that this process computes, padding included.
    """

    example_ids: np.ndarray
    micro_batches: list[MicroBatch]
    target_weight: float
    num_units: int
    num_sub_tokens: int
    num_cells: int

    def pin_memory(self) -> "Update":
        """A copy in page-locked memory, from which a GPU can read while it computes."""
        pinned = [micro_batch.pin_memory() for micro_batch in self.micro_batches]
        return dataclasses.replace(self, micro_batches=pinned)


class Updates(Dataset):
    """The updates of an epoch; the index of an item is the number of the update in its epoch."""

    def __init__(
        self,
        examples: Examples,
        plan: list[np.ndarray],
        *,
        num_processes: int,
        process_index: int,
        per_device_batch_size: int,
        equal_lengths: bool = False,
        packing: Packing | None = None,
    ):
        self.examples = examples
        self.plan = plan
        self.packing = packing
        self.share = {
            "num_processes": num_processes,
            "process_index": process_index,
            "per_device_batch_size": per_device_batch_size,
            "equal_lengths": equal_lengths,
            "packed": packing is not None,
        }

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, number: int) -> Update:
        example_ids, examples = self.plan[number], self.examples
        if self.share["equal_lengths"]:
            lengths = examples.shapes
        else:
            lengths = examples.lengths if self.packing else examples.padded_lengths
        shares = deal_update(example_ids, lengths, **self.share)
        micro_batches = [build_micro_batch(examples, ids, self.packing) for ids in shares]
        return Update(
            example_ids=example_ids,
            micro_batches=micro_batches,
            target_weight=float(examples.target_weights[example_ids].sum()),
            num_units=int(examples.num_units[example_ids].sum()),
            num_sub_tokens=sum(int(examples.lengths[ids].sum()) for ids in shares),
            num_cells=sum(micro_batch.num_cells for micro_batch in micro_batches),
        )


def build_dataloader(
    examples: Examples,
    plan: list[np.ndarray],
    accelerator: Accelerator,
    *,
    per_device_batch_size: int,
    num_workers: int = 0,
    start: int = 0,
    equal_lengths: bool = False,
    packing: Packing | None = None,
) -> DataLoader:
    """Build the loader for the updates of one epoch.

    Args:
        plan: for every update of the epoch the ids of its examples, int64 [num_examples].
        per_device_batch_size: examples in a micro-batch of one process, at most.
        num_workers: processes that prepare updates beside training.
        start: the first update to load. A resumed epoch does not load the updates before it.
        equal_lengths: True if a micro-batch may hold only examples that do not pad each other.
        packing: how examples share rows; None: a row for each example.

    Returns:
        A loader whose items are `Update`s.
    """
    updates = Updates(
        examples,
        plan,
        num_processes=accelerator.num_processes,
        process_index=accelerator.process_index,
        per_device_batch_size=per_device_batch_size,
        equal_lengths=equal_lengths,
        packing=packing,
    )
    return DataLoader(
        updates,
        batch_size=None,
        sampler=range(start, len(updates)),
        num_workers=num_workers,
        pin_memory=accelerator.device.type == "cuda",
        # Without a generator of its own, the loader would draw from the global generator.
        generator=torch.Generator(),
    )
