"""A copy of the state of a run: taken between two updates, written beside training."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import distributed, nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

from tagloop.checkpoints.checkpoint import MOMENTS, OPTIMIZER, file_of_process, publish
from tagloop.checkpoints.share import copy_share, deal, in_parts, own_weights
from tagloop.checkpoints.state import Facts, Training, flat, nested
from tagloop.checkpoints.together import WrittenTogether
from tagloop.models.saving import WEIGHTS, saved_weights, write_configuration, write_index
from tagloop.models.tensor_file import TensorInParts, write_tensors
from tagloop.run import Run


@dataclasses.dataclass(frozen=True)
class PackedState:
    """A copy of the state of a run, which later updates do not change.

    Attributes:
        model: gives its class and configuration; its weights may have changed since.
        processors: the processors that are saved beside the model.
        weights: the weights that this process writes, on the CPU.
        training: the moments that this process writes, on the CPU, and all other values.
        facts: the fields of Facts as JSON values.
        index: of this process among those that write.
        writers: the index of the process that writes a weight, by the name of the weight.
        group: the processes that write, each a share; None if the main process writes all.
    """

    model: nn.Module
    processors: list
    weights: dict[str, torch.Tensor | TensorInParts]
    training: Training
    facts: dict
    index: int
    writers: dict[str, int]
    group: distributed.ProcessGroup | None

    def publish(self, folder: Path) -> None:
        """Write and publish the checkpoint. Only the main process calls this.

        Raises:
            WRITE_ERRORS: a process could not write its files; an earlier folder is as it was.
        """
        if self.group is None:
            publish(folder, self._write_alone, self.facts)
            return
        together = WrittenTogether(self.group, self.write_share)

        def write(into: Path) -> dict[str, dict]:
            # This comes first, because save_pretrained deletes files of weights that it finds.
            self.write_values(into)
            return together.lead(into)

        try:
            publish(folder, write, self.facts)
        finally:
            together.release()

    @property
    def help_to_publish(self) -> Callable[[], None] | None:
        """What the other processes have to do while the main process publishes."""
        return WrittenTogether(self.group, self.write_share).follow if self.group else None

    def _write_alone(self, into: Path) -> dict[str, dict]:
        self.write_values(into)
        self.write_share(into)
        return {}

    def write_values(self, into: Path) -> None:
        """Write all files but those of tensors into an existing folder."""
        write_configuration(into, self.model, self.processors)
        self.training.write_values(into / OPTIMIZER)
        if self.group:
            count = self.group.size()
            file_of = {n: file_of_process(WEIGHTS, i, count) for n, i in self.writers.items()}
            write_index(into, file_of, {})

    def write_share(self, into: Path) -> list[str]:
        """Write the tensors of this process into an existing folder; returns the files' names."""
        count = self.group.size() if self.group else 1
        weights_file, moments_file = (
            file_of_process(file, self.index, count) for file in (WEIGHTS, MOMENTS)
        )
        write_tensors(into / weights_file, self.weights)
        self.training.write_moments(into / moments_file)
        return [weights_file, moments_file]


def pack_state(run: Run) -> PackedState:
    """Copy the state of a run, or of a sharded run the share of this process.

    Every process must call this. The copy needs as much memory as the weights, and twice as much
    again for the moments. If training waits until the copy is written, no copy of tensors on the
    CPU is made.
    """
    accelerator, group, vocabulary = run.accelerator, run.background.group, run.vocabulary
    index = accelerator.process_index
    model = accelerator.unwrap_model(run.model)
    weights = own_weights(run)
    names = saved_weights(model, in_parts(weights, list))  # No tensor is put together for this.
    # What is written for a parameter: its weight and two moments; a waiting row has no moments.
    sizes = {name: 3 * tensor.nbytes for name, tensor in names.items()}
    if vocabulary.is_compact:
        sizes[vocabulary.name] += vocabulary.num_waiting * weights[vocabulary.name].itemsize
    writers = deal(sizes, group.size() if group else 1, first=vocabulary.name)
    copy = run.background.in_thread

    def is_own(name: str) -> bool:
        return writers.get(name.rpartition("/")[2], 0) == index

    moments = get_optimizer_state_dict(run.model, run.optimizer.optimizer)
    state = copy_share(flat(moments["state"]), is_own, copy=copy)
    optimizer = moments | {"state": nested(state)}
    training = Training(
        optimizer=vocabulary.pack_moments(optimizer) if index == 0 else optimizer,
        lr_scheduler=run.lr_scheduler.state_dict(),
        scaler=accelerator.scaler.state_dict() if accelerator.scaler is not None else {},
    )
    facts = Facts(
        step=run.state.step,
        state=run.state,
        global_batch_size=run.global_batch_size,
        identity=run.identity,
        vocabulary_shrink=vocabulary.shrink,
    )
    facts = json.loads(json.dumps(dataclasses.asdict(facts), default=str))  # This is a deep copy.
    share = copy_share({name: weights[name] for name in names}, is_own, copy=copy)
    if index == 0:
        share = vocabulary.whole(share)
    return PackedState(model, run.task.processors, share, training, facts, index, writers, group)
