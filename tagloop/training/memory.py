"""Finds a micro-batch that fits into the memory of every device; saves memory by recomputing."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, gather_object
from accelerate.utils.memory import clear_device_cache
from torch import Tensor, nn

from tagloop.errors import InputError, RunStopped
from tagloop.processes.devices import ran_out_of_memory
from tagloop.training.dropout import recompute_alike
from tagloop.wording import first_line


def find_micro_batch(
    accelerator: Accelerator,
    model: nn.Module,
    lengths: np.ndarray,
    compute_loss: Callable[[np.ndarray], Tensor],
    sizes: Sequence[int],
) -> int:
    """The first of some micro-batch sizes that fits on every process. Every process must call this.

    For every size the function computes the micro-batch of the longest examples, which is the
    largest that can occur. Meanwhile it holds the memory for the two moments of the optimizer,
    because the first update will need that memory.

    Args:
        model: prepared by the accelerator and not trained yet; it has no gradients afterwards.
        lengths: int [num_examples], sub-tokens of every example.
        compute_loss: takes ids of examples, int64 [num_examples], and returns the loss that
            training computes; it must not communicate with other processes.
        sizes: numbers of examples in a micro-batch of one process, the largest first.

    Raises:
        InputError: the run uses FSDP. Its forward pass communicates, so if one process runs out of
            memory, the others wait for ever.
        RunStopped: on every process, if not even one example fits.
    """
    if accelerator.distributed_type == DistributedType.FSDP:
        raise InputError(
            "--auto_micro_batch: cannot be tried with FSDP; give a smaller "
            "--per_device_train_batch_size and as much larger --gradient_accumulation_steps"
        )
    longest = np.argsort(-lengths, kind="stable")
    for size in sizes:
        fits = _fits(accelerator, model, partial(compute_loss, longest[:size]))
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
        InputError: the architecture cannot recompute its activations.
    """
    try:
        model.activation_checkpointing_enable(
            {"use_reentrant": False, "context_fn": recompute_alike}
        )
    except ValueError as error:
        raise InputError(f"--gradient_checkpointing: {first_line(error)}") from error


def smaller_micro_batches(size: int, batch: int) -> list[int]:
    """Sizes below `size`, each about half of the one before, down to 1; all of them divide `batch`.

    Args:
        size: examples in a micro-batch now.
        batch: examples of one update that one process computes.

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
    """True if this process has the memory for the forward and backward of one micro-batch."""
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
