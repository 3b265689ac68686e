"""What a process computes with: its device, its threads, its precision, and a compiler or none."""

import torch
from accelerate import Accelerator
from accelerate.utils import DynamoBackend
from accelerate.utils.memory import should_reduce_batch_size

from tagloop.errors import InputError
from tagloop.wording import first_line

LOW_PRECISION = {"bf16": torch.bfloat16, "fp16": torch.float16}  # of autocast


def choose_device(device: str | torch.device | None) -> str | torch.device:
    """The device that the caller named; None: a GPU if the machine has one, else the CPU."""
    return device or torch.accelerator.current_accelerator(check_available=True) or "cpu"


def check_device(device: str | None, num_processes: int) -> None:
    """Refuse a device that this machine does not have; None is always right.

    Raises:
        InputError: torch cannot use the device, or several processes would share it.
    """
    if device is None:
        return
    if num_processes > 1:
        raise InputError(
            f"--device {device}: is for one process; here the launch file gives each of "
            f"{num_processes} processes its device"
        )
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        known = f"cpu or {accelerator.type}" if accelerator else "cpu alone"
        raise InputError(
            f"--device {device}: torch cannot use it ({first_line(error)}); this machine has "
            f"{known}"
        ) from None


def use_threads(number: int | None) -> None:
    """Let torch, and ONNX models that are loaded later, compute with so many threads of the CPU.

    Args:
        number: None leaves torch's choice.
    """
    if number is not None:
        torch.set_num_threads(number)


def padding_multiple(device: torch.device, mixed_precision: str) -> int:
    """8 if a GPU computes in half precision, which is fastest with such columns; else 1."""
    return 8 if device.type == "cuda" and mixed_precision != "no" else 1


def autocast_of(device: torch.device, mixed_precision: str) -> torch.autocast:
    """The context of a forward pass in "bf16" or "fp16"; with "no" it changes nothing."""
    dtype = LOW_PRECISION.get(mixed_precision)
    return torch.autocast(device.type, dtype, enabled=dtype is not None)


def precise_dtype(accelerator: Accelerator) -> torch.dtype:
    """The dtype for sums of losses: float64, or float32 on mps, which has no float64."""
    return torch.float32 if accelerator.device.type == "mps" else torch.float64


def is_compiled(accelerator: Accelerator) -> bool:
    """True if the launch asks for a model that torch compiles (`--dynamo_backend`)."""
    return accelerator.state.dynamo_plugin.backend != DynamoBackend.NO


def ran_out_of_memory(error: BaseException) -> bool:
    """True if torch, one of its devices or Python raised this error because memory ended."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or should_reduce_batch_size(error)
