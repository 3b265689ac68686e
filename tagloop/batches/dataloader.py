"""The data loader of training: each item is one update with the micro-batches of this process.

By default a thread prepares an update while the one before is computed.
"""

import dataclasses
import signal
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset

from tagloop.batches.examples import Examples
from tagloop.batches.packing import MicroBatch, Packing, build_micro_batch
from tagloop.batches.plan import deal_update
from tagloop.processes.devices import is_compiled
from tagloop.processes.stop_signal import StopSignal


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
        mark_targets: bool = False,
    ):
        self.examples = examples
        self.plan = plan
        self.packing = packing
        self.mark_targets = mark_targets
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
        micro_batches = [
            build_micro_batch(examples, ids, self.packing, mark_targets=self.mark_targets)
            for ids in shares
        ]
        return Update(
            example_ids=example_ids,
            micro_batches=micro_batches,
            target_weight=float(examples.target_weights[example_ids].sum()),
            num_units=int(examples.num_units[example_ids].sum()),
            num_sub_tokens=sum(int(examples.lengths[ids].sum()) for ids in shares),
            num_cells=sum(micro_batch.num_cells for micro_batch in micro_batches),
        )


class UpdatesAhead:
    """The updates of an epoch in order; a thread prepares the next one while the loop computes.

    At most one update is prepared ahead. Its thread ends as soon as the update is prepared, so no
    thread outlives the loop for long, whatever ended the loop.

    Args:
        start: the first update.
        device: of the model. For a GPU the tensors come in page-locked memory.
    """

    def __init__(self, updates: Updates, start: int, device: torch.device):
        self.updates, self.start, self.device = updates, start, device

    def __len__(self) -> int:
        return len(self.updates) - self.start

    def __iter__(self) -> Iterator[Update]:
        threads = map(self._begin, range(self.start, len(self.updates)))  # begun by `next`
        coming = next(threads, None)
        try:
            while coming:
                update = coming.result()
                coming = next(threads, None)
                yield update
        finally:
            if coming:
                coming.join()

    def _begin(self, number: int) -> "_Preparation":
        thread = _Preparation(self.updates, number, self.device)
        thread.start()
        return thread


class _Preparation(threading.Thread):
    """A thread that prepares one update."""

    def __init__(self, updates: Updates, number: int, device: torch.device):
        super().__init__(name=f"update {number}")
        self.updates, self.number, self.device = updates, number, device
        self.update: Update | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            update = self.updates[self.number]
            if self.device.type == "cuda":
                with torch.cuda.device(self.device):  # A new thread begins with the first GPU.
                    update = update.pin_memory()
            self.update = update
        except BaseException as error:
            self.error = error

    def result(self) -> Update:
        """Wait for the update. An error of the preparation is raised here."""
        self.join()
        if self.error is not None:
            raise self.error
        return self.update


def marks_targets(examples: Examples, accelerator: Accelerator) -> bool:
    """True if the model computes logits only where there is a target.

    A compiler wants tensors of few sizes, and each batch has another number of targets.
    """
    return examples.only_targets and not is_compiled(accelerator)


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
) -> Iterable[Update]:
    """Build the loader for the updates of one epoch.

    Args:
        plan: for every update of the epoch the ids of its examples, int64 [num_examples].
        per_device_batch_size: examples in a micro-batch of one process, at most.
        num_workers: processes that prepare updates beside training; 0: a thread prepares them.
        start: the first update to load. A resumed epoch does not load the updates before it.
        equal_lengths: True if a micro-batch may hold only examples that do not pad each other.
        packing: how examples share rows; None: a row for each example.

    Returns:
        The updates from `start` on, in page-locked memory if the device is a GPU.
    """
    updates = Updates(
        examples,
        plan,
        num_processes=accelerator.num_processes,
        process_index=accelerator.process_index,
        per_device_batch_size=per_device_batch_size,
        equal_lengths=equal_lengths,
        packing=packing,
        mark_targets=marks_targets(examples, accelerator),
    )
    if not num_workers:
        return UpdatesAhead(updates, start, accelerator.device)
    return DataLoader(
        updates,
        batch_size=None,
        sampler=range(start, len(updates)),
        num_workers=num_workers,
        pin_memory=accelerator.device.type == "cuda",
        # Without a generator of its own, the loader would draw from the global generator.
        generator=torch.Generator(),
        worker_init_fn=_leave_signals,
    )


def _leave_signals(_worker: int) -> None:
    """Let a worker ignore the signals that stop a run: the process that it works for answers them.

    A launcher sends them to the whole process group. A worker that dies of one would end that
    process with an error, before it has saved a checkpoint.
    """
    for number in StopSignal.SIGNALS:
        signal.signal(number, signal.SIG_IGN)
