"""Losses stay on the device until a log line, an evaluation or a checkpoint needs them.

Then all processes read them at once.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from torch.distributed.tensor import DTensor

from tagloop.errors import NotFinite
from tagloop.training.progress import TrainState


class UpdateResult(NamedTuple):
    """What an update leaves behind; the tensors are scalars on the device.

    Attributes:
        example_ids: int64 [num_examples], of the whole update.
        target_weight: sum of the weights of all targets of the whole update.
        loss_sum: of this process, in the dtype of `precise_dtype`.
        grad_norm: of the whole gradient before it was clipped; a DTensor under FSDP2.
        skipped: True if fp16 overflowed, so that the update changed nothing.
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
        """Keep the losses of an update where they are."""
        self.updates.append(result)

    def read(self, accelerator: Accelerator, state: TrainState) -> None:
        """Bring the losses from the device; the loop waits for the device only here.

        Every process must call this.

        Raises:
            NotFinite: a loss or gradient is not finite; every process sees the same sums.
        """
        if not self.updates:
            return
        sums = torch.stack([result.loss_sum for result in self.updates])
        loss_sums = accelerator.reduce(sums, reduction="sum").tolist()
        norms = [result.grad_norm for result in self.updates]
        whole = [norm.full_tensor() if isinstance(norm, DTensor) else norm for norm in norms]
        norms = torch.stack(whole).tolist()
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
        state.grad_norm = norms[-1] if math.isfinite(norms[-1]) else None  # fp16 overflowed
        self.updates.clear()
