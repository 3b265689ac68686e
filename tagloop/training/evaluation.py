"""The evaluation loop: the predictions and losses of this process for a split."""

import contextlib
from typing import NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from tagloop.batches.forward import forward_batches
from tagloop.processes.devices import is_compiled, precise_dtype
from tagloop.tasks.task import Task
from tagloop.terminal import progress_bar


class Share(NamedTuple):
    """The part of an evaluation that one process computed, on its device.

    Attributes:
        predictions: by name, [num_predictions of this process, ...] each, in the order of the
            batches, in the dtypes that the task predicts.
        loss_sums: [num_batches of this process], the summed loss of every batch, in the dtype of
            `precise_dtype`.
    """

    predictions: dict[str, Tensor]
    loss_sums: Tensor


@torch.no_grad()
def predict_share(
    accelerator: Accelerator, model: nn.Module, task: Task, split: str, batches: list[np.ndarray]
) -> Share:
    """Predict the examples of some batches of a split. Every process must call this.

    Args:
        model: prepared by the accelerator; the function puts it into evaluation mode.
        batches: for every batch the ids of its examples, int64. Every process has the same number
            of batches, at least one; a batch may be empty.
    """
    model.eval()
    unwrapped = accelerator.unwrap_model(model, keep_fp32_wrapper=True)
    predictions, loss_sums = [], []
    examples = task.examples[split]
    bar = progress_bar(len(batches), split, is_shown=accelerator.is_main_process)
    with uncompiled(accelerator), bar:
        for batch, outputs in forward_batches(model, examples, batches, accelerator.device):
            losses = task.losses(outputs, batch)
            loss_sums.append(losses.sum(dtype=precise_dtype(accelerator)))
            with accelerator.autocast():  # generate() calls parts of the model without a wrapper.
                predictions.append(task.predict(unwrapped, batch, outputs, losses, split))
            bar.update()
    joined = {name: torch.cat([each[name] for each in predictions]) for name in predictions[0]}
    return Share(joined, torch.stack(loss_sums))


def uncompiled(accelerator: Accelerator) -> contextlib.AbstractContextManager:
    """A context in which a compiled model computes like one that is not compiled.

    Each batch of an evaluation has a shape of its own. A compiler would compile the model for each
    of them, and would then give up, for the shapes of training, too.
    """
    if is_compiled(accelerator):
        return torch.compiler.set_stance("force_eager")
    return contextlib.nullcontext()
