"""A copy of the state of a run: taken between two updates, written beside training."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import distributed, nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

from tagloop.checkpoints.checkpoint import MOMENTS, OPTIMIZER, TRAINED, file_of_process, publish
from tagloop.checkpoints.facts import Facts
from tagloop.checkpoints.share import copy_share, deal, in_parts, own_weights
from tagloop.checkpoints.state import VALUES, Training, flat, nested, split_state
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
        weights: the weights that this process writes, on the CPU: with --ema_decay the averages.
        trained: with --ema_decay the weights themselves; else None.
        training: the moments that this process writes, on the CPU, and all other values.
        facts: the fields of Facts as JSON values.
        index: of this process among those that write.
        writers: the index of the process that writes a weight, by the name of the weight.
        group: the processes that write, each a share; None if the main process writes all.
    """

    model: nn.Module
    processors: list
    weights: dict[str, torch.Tensor | TensorInParts]
    trained: dict[str, torch.Tensor | TensorInParts] | None
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
        weights_file, moments_file, trained_file = (
            file_of_process(file, self.index, count) for file in (WEIGHTS, MOMENTS, TRAINED)
        )
        write_tensors(into / weights_file, self.weights)
        self.training.write_moments(into / moments_file)
        if self.trained is None:
            return [weights_file, moments_file]
        write_tensors(into / trained_file, self.trained)
        return [weights_file, moments_file, trained_file]


def pack_state(run: Run) -> PackedState:
    """Copy the state of a run, or of a sharded run the share of this process.

    Every process must call this. The copy needs as much memory as the weights, and twice as much
    again for the moments. If training waits until the copy is written, no copy of tensors on the
    CPU is made.
    """
    accelerator, group, vocabulary = run.accelerator, run.background.group, run.vocabulary
    average = run.average
    index = accelerator.process_index
    model = accelerator.unwrap_model(run.model)
    weights = own_weights(run)
    names = saved_weights(model, in_parts(weights, list))  # No tensor is put together for this.
    # What is written for a parameter: its weight, perhaps the average, and two moments; a waiting
    # row has no moments.
    copies = 2 if average else 1
    sizes = {name: (2 + copies) * tensor.nbytes for name, tensor in names.items()}
    if vocabulary.is_compact:
        waiting = vocabulary.num_waiting * weights[vocabulary.name].itemsize
        sizes[vocabulary.name] += copies * waiting
    writers = deal(sizes, group.size() if group else 1, first=vocabulary.name)
    copy = run.background.in_thread

    def is_own(name: str) -> bool:
        return writers.get(name.rpartition("/")[2], 0) == index

    moments = get_optimizer_state_dict(run.model, run.optimizer.optimizer)
    tensors, values = split_state(moments["state"])
    state = copy_share(flat(tensors), is_own, copy=copy)
    optimizer = moments | {"state": nested(state)} | ({VALUES: values} if values else {})
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
        average_shrink=average.shrink if average else None,
    )
    facts = json.loads(json.dumps(dataclasses.asdict(facts), default=str))  # This is a deep copy.

    def copy_weights(weights: dict[str, torch.Tensor], shrink: float) -> dict:
        share = copy_share({name: weights[name] for name in names}, is_own, copy=copy)
        return vocabulary.whole(share, shrink) if index == 0 else share

    trained = copy_weights(weights, vocabulary.shrink)
    return PackedState(
        model=model,
        processors=run.task.processors,
        weights=copy_weights(average.averaged(weights), average.shrink) if average else trained,
        trained=trained if average else None,
        training=training,
        facts=facts,
        index=index,
        writers=writers,
        group=group,
    )
