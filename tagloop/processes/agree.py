"""Lets all processes act alike: common results, common errors, output, seeds."""

import sys
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from safetensors import SafetensorError

from tagloop.errors import InputError, RunStopped
from tagloop.streams import visible, write_line
from tagloop.terminal import PLAIN, YELLOW, entry, uses_colour, width_of

Result = TypeVar("Result")


def say(accelerator: Accelerator, text: str) -> None:
    """Print on the main process, above the progress bar."""
    if accelerator.is_main_process:
        write_line("\n".join(map(visible, text.split("\n"))), "stdout")


def warn(accelerator: Accelerator, text: str) -> None:
    """Print a warning on the main process, in yellow on a terminal."""
    if accelerator.is_main_process:
        text = entry("warning", visible(text), width_of(sys.stdout))
        write_line(f"{YELLOW}{text}{PLAIN}" if uses_colour(sys.stdout) else text, "stdout")


def on_main(accelerator: Accelerator, action: Callable[[], Result]) -> Result:
    """Run `action` on the main process; every process gets its result or raises its error.

    Every process must call this. The action must not call a collective.

    Raises:
        InputError, RunStopped: on every process, if the action raised it.
        RunStopped: on every process, if the action raised an OSError (a full disk, a lost folder).
            If the action raised any other error, the main process raises that error, and the other
            processes raise a RunStopped.
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
        except Exception as error:  # A fault of this project: the others must not wait for ever.
            broadcast_object_list([None, RunStopped(f"the main process failed: {error!r}")])
            raise
    broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def on_all(accelerator: Accelerator, action: Callable[[], Result]) -> Result:
    """Run `action` on every process; if one process finds bad input, all raise its error.

    Every process must call this. The action must not call a collective.

    Raises:
        InputError: on every process, with the message of the first process that found bad input.
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


def seed_update(seed: int, step: int, process_index: int) -> None:
    """Seed torch's generators as a function of (seed, step, process) before an update.

    So a checkpoint need not contain the state of a generator. Dropout masks do not come from these
    generators, unless --dropout per_process is given or the architecture draws masks in a way that
    dropout.py does not replace.
    """
    entropy = np.random.SeedSequence((seed, step, process_index))
    torch.manual_seed(int(entropy.generate_state(1, np.uint64)[0]))
