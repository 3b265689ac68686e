"""Losses stay on the device until somebody has to know them; then all processes read them."""

import math
from typing import NamedTuple

import torch

from errors import RunStopped


class Learned(NamedTuple):
    """What an update leaves behind; the tensors are scalars on the device."""

    window_ids: torch.Tensor
    num_labels: int  # of the whole update
    loss_sum: torch.Tensor  # float64, of this process
    grad_norm: torch.Tensor  # before clipping
    skipped: bool  # fp16 overflowed, and nothing changed


def read_losses(run, state, unread: list[Learned]) -> None:
    """Bring losses from the device, the loop's only wait for it. Every process must call this.

    Raises:
        RunStopped: a loss or gradient is not finite; every process sees the same sums.
    """
    if not unread:
        return
    sums = torch.stack([learned.loss_sum for learned in unread])
    loss_sums = run.accelerator.reduce(sums, reduction="sum").tolist()
    norms = torch.stack([learned.grad_norm for learned in unread]).tolist()
    first = state.step - len(unread) + 1
    for step, (learned, loss_sum, norm) in enumerate(
        zip(unread, loss_sums, norms, strict=True), start=first
    ):
        if not math.isfinite(loss_sum) or not (math.isfinite(norm) or learned.skipped):
            raise RunStopped(
                f"update {step}: the loss is {loss_sum} and the gradient norm {norm}; it learned "
                f"from windows {', '.join(map(str, learned.window_ids.tolist()))}. Nothing was "
                "saved since the last checkpoint. A lower --learning_rate, more "
                "--num_warmup_steps, or bf16 instead of fp16 may help"
            )
        state.add_loss(loss_sum, learned.num_labels)
    state.grad_norm = norms[-1] if math.isfinite(norms[-1]) else None  # fp16 overflowed
    unread.clear()
