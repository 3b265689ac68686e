"""What all processes decide, say and seed alike."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import (
    broadcast_object_list,
    gather_object,
)
from accelerate.utils.memory import should_reduce_batch_size
from safetensors import SafetensorError

from tagloop.errors import InputError, RunStopped
from tagloop.streams import write_line

Result = TypeVar("Result")


def ran_out_of_memory(error: BaseException) -> bool:
    """True for what torch, its devices and Python raise when memory ends."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or should_reduce_batch_size(error)


def say(accelerator: Accelerator, text: str) -> None:
    """Print on the main process, above the progress bar."""
    if accelerator.is_main_process:
        write_line(text, "stdout")


def on_main(accelerator: Accelerator, action: Callable[[], Result]) -> Result:
    """Run `action` on the main process; every process gets its result, or its error.

    Every process must call this. An action must not call a collective.

    Raises:
        RunStopped: on every process, if the action met an OSError (a full disk, a lost folder).
    """
    outcome = [None, None]
    if accelerator.is_main_process:
        try:
            outcome = [action(), None]
        except (InputError, RunStopped) as error:
            outcome = [None, error]
        except (OSError, SafetensorError) as error:
            where = f"{error.filename}: " if getattr(error, "filename", None) else ""
            outcome = [None, RunStopped(f"{where}{getattr(error, 'strerror', None) or error}")]
        except Exception as error:  # ours to mend: the others must not wait for ever
            broadcast_object_list([None, RunStopped(f"the main process failed: {error!r}")])
            raise
    broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def on_all(accelerator: Accelerator, action: Callable[[], Result]) -> Result:
    """Run `action` on every process; where one finds bad input, all end with its message.

    Every process must call this. An action must not call a collective.

    Raises:
        InputError: on every process, with the message of the first that had one.
    """
    result, message = None, None
    try:
        result = action()
    except InputError as error:
        message = str(error)
    messages = [text for text in gather_object([message]) if text is not None]
    if messages:
        raise InputError(messages[0])
    return result


def precise_dtype(accelerator: Accelerator) -> torch.dtype:
    """float64 for sums of losses, where the device has it."""
    return torch.float32 if accelerator.device.type == "mps" else torch.float64


def seed_update(seed: int, step: int, process_index: int) -> None:
    """Make all randomness of an update a function of (seed, step, process).

    So no generator state needs saving. Dropout masks do not come from here, unless the run draws
    them per process or the architecture draws in a way of its own.
    """
    entropy = np.random.SeedSequence((seed, step, process_index))
    torch.manual_seed(int(entropy.generate_state(1, np.uint64)[0]))


Result = TypeVar("Result")
