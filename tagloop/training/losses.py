"""Losses stay on the device until somebody has to know them; then all processes read them."""

import math
from typing import NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from torch.distributed.tensor import DTensor

from tagloop.errors import NotFinite
from tagloop.training.progress import TrainState


class UpdateResult(NamedTuple):
    """What an update leaves behind; the tensors are scalars on the device."""

    example_ids: np.ndarray
    num_targets: int  # of the whole update
    loss_sum: torch.Tensor  # float64, of this process
    grad_norm: torch.Tensor  # before clipping; FSDP2: a DTensor
    skipped: bool  # fp16 overflowed, and nothing changed


class UnreadLosses:
    """The updates whose losses are still on the device."""

    def __init__(self):
        self.updates: list[UpdateResult] = []

    def add(self, learned: UpdateResult) -> None:
        """Keep an update's losses where they are."""
        self.updates.append(learned)

    def read(self, accelerator: Accelerator, state: TrainState) -> None:
        """Bring losses from the device, the loop's only wait for it. Every process must call this.

        Raises:
            NotFinite: a loss or gradient is not finite; every process sees the same sums.
        """
        if not self.updates:
            return
        sums = torch.stack([learned.loss_sum for learned in self.updates])
        loss_sums = accelerator.reduce(sums, reduction="sum").tolist()
        norms = [learned.grad_norm for learned in self.updates]
        whole = [norm.full_tensor() if isinstance(norm, DTensor) else norm for norm in norms]
        norms = torch.stack(whole).tolist()
        first = state.step - len(self.updates) + 1
        for step, (learned, loss_sum, norm) in enumerate(
            zip(self.updates, loss_sums, norms, strict=True), start=first
        ):
            if not math.isfinite(loss_sum) or not (math.isfinite(norm) or learned.skipped):
                raise NotFinite(
                    f"update {step}: the loss is {loss_sum} and the gradient norm {norm}; it "
                    f"learned from examples {', '.join(map(str, learned.example_ids.tolist()))}"
                )
            state.add_loss(loss_sum, learned.num_targets)
        state.grad_norm = norms[-1] if math.isfinite(norms[-1]) else None  # fp16 overflowed
        self.updates.clear()
