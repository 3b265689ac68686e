"""One item is one update: the micro-batches of this process."""

from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset

from tagloop.training.batching import deal_update
from tagloop.training.examples import Examples


@dataclass(frozen=True)
class Update:
    """One global batch, as one process sees it.

    Attributes:
        example_ids: int64 [num_examples], of the whole update.
        micro_batches: of this process, each its example ids, int64 [examples] (none for a process
            without work), and tensors [examples, sub-tokens] by name.
        num_targets: of the whole update. Every process knows every example's number of targets, so
            no collective is needed.
    """

    example_ids: np.ndarray
    micro_batches: list[tuple[np.ndarray, dict[str, torch.Tensor]]]
    num_targets: int
    num_words: int  # of the whole update
    num_sub_tokens: int  # of this process
    num_cells: int  # of this process: what the model computes, padding included

    def pin_memory(self) -> "Update":
        """Page-locked tensors, which travel to a GPU beside the computation."""
        for _, batch in self.micro_batches:
            batch |= {name: tensor.pin_memory() for name, tensor in batch.items()}
        return self


class Updates(Dataset):
    """The updates of an epoch, by number."""

    def __init__(
        self,
        examples: Examples,
        plan: list[np.ndarray],
        *,
        num_processes: int,
        process_index: int,
        per_device_batch_size: int,
        equal_lengths: bool = False,
    ):
        self.examples = examples
        self.plan = plan
        self.share = {
            "num_processes": num_processes,
            "process_index": process_index,
            "per_device_batch_size": per_device_batch_size,
            "equal_lengths": equal_lengths,
        }

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, number: int) -> Update:
        example_ids, examples = self.plan[number], self.examples
        padded = examples.padded_lengths
        lengths = examples.lengths if self.share["equal_lengths"] else padded
        shares = deal_update(example_ids, lengths, **self.share)
        return Update(
            example_ids=example_ids,
            micro_batches=[(ids, examples.collate(ids)) for ids in shares],
            num_targets=int(examples.num_targets[example_ids].sum()),
            num_words=int(examples.num_words[example_ids].sum()),
            num_sub_tokens=sum(int(examples.lengths[ids].sum()) for ids in shares),
            num_cells=sum(len(ids) * int(padded[ids].max()) for ids in shares if len(ids)),
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
) -> DataLoader:
    """The updates of an epoch from `start` on: a resumed epoch skips indices, never data."""
    updates = Updates(
        examples,
        plan,
        num_processes=accelerator.num_processes,
        process_index=accelerator.process_index,
        per_device_batch_size=per_device_batch_size,
        equal_lengths=equal_lengths,
    )
    return DataLoader(
        updates,
        batch_size=None,
        sampler=range(start, len(updates)),
        num_workers=num_workers,
        pin_memory=accelerator.device.type == "cuda",
        generator=torch.Generator(),  # else every epoch draws a number from the global generator
    )
