"""Losses stay on the device until a log line, an evaluation or a checkpoint needs them.

At that moment all processes read all unread losses together.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from accelerate import Accelerator

from tagloop.errors import NotFinite
from tagloop.processes.sharding import put_together
from tagloop.training.progress import TrainState


class UpdateResult(NamedTuple):
    """The result of one update; its tensors are scalars on the device.

    Attributes:
        example_ids: int64 [num_examples], the examples of the whole update.
        target_weight: the sum of the weights of all targets of the whole update.
        loss_sum: the summed loss of this process, in the dtype of `precise_dtype`.
        grad_norm: the norm of the whole gradient before clipping, float32; a DTensor under FSDP2.
        skipped: True if fp16 overflowed, so that the update changed no weight.
    """

    example_ids: np.ndarray
    target_weight: float
    loss_sum: torch.Tensor
    grad_norm: torch.Tensor
    skipped: bool


class UnreadLosses:
    """The updates whose losses are still on the device."""

    def __init__(self):
        self.updates: list[UpdateResult] = []

    def add(self, result: UpdateResult) -> None:
        """Note the result of an update, without reading it from the device."""
        self.updates.append(result)

    def read(self, accelerator: Accelerator, state: TrainState) -> None:
        """Read all losses from the device and add them to `state`. Every process must call this.

        The training loop waits for the device only here.

        Raises:
            NotFinite: a loss or gradient is not finite. Every process raises it, because every
                process reads the same sums.
        """
        if not self.updates:
            return
        sums = torch.stack([result.loss_sum for result in self.updates])
        loss_sums = accelerator.reduce(sums, reduction="sum").tolist()
        norms = [result.grad_norm for result in self.updates]
        norms = torch.stack([put_together(norm) for norm in norms]).tolist()
        first = state.step - len(self.updates) + 1
        for step, (result, loss_sum, norm) in enumerate(
            zip(self.updates, loss_sums, norms, strict=True), start=first
        ):
            if not math.isfinite(loss_sum) or not (math.isfinite(norm) or result.skipped):
                raise NotFinite(
                    f"update {step}: the loss is {loss_sum} and the gradient norm {norm}; it "
                    f"learned from examples {', '.join(map(str, result.example_ids.tolist()))}"
                )
            state.add_loss(loss_sum, result.target_weight)
        # The norm of an update that fp16 skipped is not finite.
        state.grad_norm = norms[-1] if math.isfinite(norms[-1]) else None
        self.updates.clear()
