"""The evaluation loop: what this process predicts of a split, and the losses of its batches."""

from typing import NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

from tagloop.batches.forward import forward_batches
from tagloop.processes.agree import precise_dtype
from tagloop.tasks.task import Task


class Share(NamedTuple):
    """What one process computed of an evaluation, on its device.

    Attributes:
        predictions: by name, [num_predictions of this process, ...], in the order of its batches.
        loss_sums: float64 [num_batches of this process].
    """

    predictions: dict[str, Tensor]
    loss_sums: Tensor


@torch.no_grad()
def predict_share(
    accelerator: Accelerator, model: nn.Module, task: Task, split: str, batches: list[np.ndarray]
) -> Share:
    """Predict the examples of some batches of a split. Every process must call this.

    Args:
        model: prepared by the accelerator; it is put into evaluation mode.
        batches: ids of examples; every process has equally many batches, some of which may be
            empty.
    """
    model.eval()
    unwrapped = accelerator.unwrap_model(model, keep_fp32_wrapper=True)
    predictions, loss_sums = [], []
    quiet = None if accelerator.is_main_process else True  # None: shown in a terminal only
    shown = tqdm(batches, desc=split, leave=False, disable=quiet)
    for batch, outputs in forward_batches(model, task.examples[split], shown, accelerator.device):
        losses = task.losses(outputs, batch)
        loss_sums.append(losses.sum(dtype=precise_dtype(accelerator)))
        predictions.append(task.predict(unwrapped, batch, outputs, losses, split))
    joined = {name: torch.cat([each[name] for each in predictions]) for name in predictions[0]}
    return Share(joined, torch.stack(loss_sums))
