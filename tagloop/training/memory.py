"""Memory that runs out: told from other errors, and a micro-batch found that fits."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, gather_object
from accelerate.utils.memory import clear_device_cache
from torch import Tensor, nn

from tagloop.errors import InputError, RunStopped
from tagloop.processes.agree import ran_out_of_memory
from tagloop.training.dropout import recompute_alike
from tagloop.wording import first_line


def find_micro_batch(
    accelerator: Accelerator,
    model: nn.Module,
    lengths: np.ndarray,
    compute_loss: Callable[[np.ndarray], Tensor],
    sizes: Sequence[int],
) -> int:
    """The first of some sizes that fits on every process. All must call this.

    The micro-batch tried is the largest that can come: it holds the longest examples. Memory for
    the optimizer's two moments is held meanwhile, as the first update will take it.

    Args:
        model: prepared, not trained yet; left without gradients.
        lengths: int [num_examples], columns of every example.
        compute_loss: example ids -> the loss that training computes, without communication.
        sizes: examples in a micro-batch of one process, the largest first.

    Raises:
        InputError: FSDP, whose forward communicates: if one process fails there, others wait.
        RunStopped: on every process: not even one example fits.
    """
    if accelerator.distributed_type == DistributedType.FSDP:
        raise InputError(
            "--auto_micro_batch: cannot be tried with FSDP; give a smaller "
            "--per_device_train_batch_size and as much larger --gradient_accumulation_steps"
        )
    longest = np.argsort(-lengths, kind="stable")
    for size in sizes:
        fits = _fits(accelerator, model, lambda ids=longest[:size]: compute_loss(ids))
        clear_device_cache(garbage_collection=True)
        if all(gather_object([fits])):
            return size
    raise RunStopped(
        "out of memory: not even one example fits; give --gradient_checkpointing, a smaller "
        "--max_length or a smaller model"
    )


def recompute_layers(model: nn.Module) -> None:
    """Make the model compute its activations again in the backward pass instead of keeping them.

    Raises:
        InputError: the architecture does not offer it.
    """
    try:
        model.activation_checkpointing_enable(
            {"use_reentrant": False, "context_fn": recompute_alike}
        )
    except ValueError as error:
        raise InputError(f"--gradient_checkpointing: {first_line(error)}") from error


def smaller_micro_batches(size: int, batch: int) -> list[int]:
    """Each about half of the one before, down to 1; a process' share of an update is whole in each.

    >>> smaller_micro_batches(15, 30)
    [6, 3, 1]
    """
    sizes = []
    while size > 1:
        size //= 2
        while batch % size:
            size -= 1
        sizes.append(size)
    return sizes


def _fits(accelerator: Accelerator, model: nn.Module, compute_loss: Callable[[], Tensor]) -> bool:
    """Forward and backward of one micro-batch on this process alone."""
    model.train()
    moments = []
    try:
        for parameter in model.parameters():
            if parameter.requires_grad:
                moments += [torch.zeros_like(parameter), torch.zeros_like(parameter)]
        with accelerator.no_sync(model):
            accelerator.backward(compute_loss())
    except Exception as error:
        if not ran_out_of_memory(error):
            raise
        return False
    finally:
        model.zero_grad(set_to_none=True)
    return True
