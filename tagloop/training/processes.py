"""Processes that act as one: how many there are, what the main one decides, when to stop."""

import contextlib
import ctypes
import dataclasses
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TypeVar

import datasets
import numpy as np
import torch
import transformers
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import (
    DistributedType,
    ProjectConfiguration,
    broadcast_object_list,
    gather_object,
)
from safetensors import SafetensorError
from torch import nn

from tagloop.errors import InputError, OutOfMemory, Preempted, RunStopped
from tagloop.streams import write_line
from tagloop.training.memory import ran_out_of_memory
from tagloop.training.pretrained import first_line

Result = TypeVar("Result")
NOTICE = b"\nstopping when the update is done; Ctrl-C again ends the run at once\n"


def say(accelerator: Accelerator, text: str) -> None:
    """Print on the main process, above the progress bar."""
    if accelerator.is_main_process:
        write_line(text, "stdout")


def quiet_libraries() -> None:
    """Bars, tables and warnings of the libraries would drown the run's own lines."""
    # torch 2.13 renames the option, accelerate 1.15 does not know the new name.
    warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")
    # With fp16 accelerate puts the optimizer's own step back; the schedule counts by itself.
    warnings.filterwarnings("ignore", message="Seems like `optimizer.step\\(\\)` has been over")
    # Nothing here changes logits in place.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()


def die_with_launcher() -> None:
    """Have the kernel tell this process when its launcher dies: it would train on unseen.

    SIGUSR1 saves and leaves, and ends a process that is not training yet. Without a launcher the
    parent may be a shell that is left. Linux only; elsewhere the lock still refuses a second run
    while orphans of the first live.
    """
    launched = "TORCHELASTIC_RUN_ID" in os.environ or "ACCELERATE_MIXED_PRECISION" in os.environ
    if launched and sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGUSR1)


def build_accelerator(*, mixed_precision: str | None, log_with: list[str] | None) -> Accelerator:
    """The one object that knows about devices and processes.

    Args:
        mixed_precision: None leaves it to the launch file.
        log_with: names of trackers.

    Raises:
        InputError: what was asked for is not what the launch gave.
    """
    die_with_launcher()
    check_devices()
    # Else transformers leaves a new head on the meta device, in all processes but the first.
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    try:
        accelerator = Accelerator(
            # Without `cpu=`, processes on a machine without GPU each believe they are alone.
            cpu=not torch.accelerator.is_available(),
            mixed_precision=mixed_precision,
            gradient_accumulation_steps=1,  # the loop owns accumulation: see train_step
            log_with=log_with or None,
            # TensorBoard wants a folder now; output/trackers.py names the real one.
            project_config=ProjectConfiguration(project_dir="."),
            kwargs_handlers=[
                # Encoders' buffers are constants; sending them in every forward is for nothing.
                DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)
            ],
        )
    except ValueError as error:  # fp16 without a GPU, for one
        raise InputError(f"accelerate cannot run this: {error}") from None
    except torch.distributed.DistError as error:
        place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise InputError(
            f"the processes cannot meet at {place}: {first_line(error)}; give the launcher another "
            "--main_process_port, and an address that every machine reaches"
        ) from None
    check_launch(accelerator)
    quiet_libraries()
    return accelerator


@contextlib.contextmanager
def closing_group() -> Iterator[None]:
    """However the block ends, no process group is open after it: an open one aborts the process."""
    orderly = False
    try:
        yield
        orderly = True
    except (InputError, RunStopped, Preempted) as error:  # met by all processes
        orderly = not isinstance(error, OutOfMemory)
        raise
    except Exception as error:
        if not ran_out_of_memory(error):
            raise
        raise OutOfMemory(
            f"out of memory ({first_line(error)}): the model, or what it computes of a batch, does "
            "not fit; use a smaller batch, a smaller model, or a device with more memory"
        ) from None
    finally:
        if torch.distributed.is_initialized():
            if orderly or torch.distributed.get_backend() != "nccl":
                torch.distributed.destroy_process_group()
            else:  # one process alone failed: NCCL's orderly end would wait for the others
                torch.distributed.distributed_c10d._abort_process_group()


def check_devices() -> None:
    """Refuse more processes on this machine than it has GPUs; without any, they share the CPU.

    Raises:
        InputError: naming both numbers.
    """
    wanted, there = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), torch.accelerator.device_count()
    if 0 < there < wanted and os.environ.get("ACCELERATE_USE_CPU", "false") != "true":
        raise InputError(
            f"the launcher was asked for {wanted} processes on this machine, which shows {there} "
            f"GPU{'s' * (there > 1)}: each needs one of its own; give --num_processes {there} and "
            f"{-(-wanted // there)} times --gradient_accumulation_steps for the same result, or "
            "see what CUDA_VISIBLE_DEVICES hides"
        )


def check_launch(accelerator: Accelerator) -> None:
    """Refuse a launch that meant several processes, FSDP or fp16, and did not get them.

    `accelerate launch --cpu --num_processes 2` and `distributed_type: MULTI_CPU` start one process
    without a word; it differs from a lone run only in the address it was given.

    Raises:
        InputError: naming the launch file that works.
    """
    meant = int(os.environ.get("WORLD_SIZE", 1))
    by_accelerate = "ACCELERATE_MIXED_PRECISION" in os.environ
    if by_accelerate and "WORLD_SIZE" not in os.environ and "MASTER_ADDR" in os.environ:
        raise InputError(
            "the launcher was asked for several processes and started one (accelerate needs mpirun "
            "for --cpu or MULTI_CPU); use accelerate_configs/cpu_2proc.yaml, which says MULTI_GPU "
            "and works without a GPU"
        )
    if meant != accelerator.num_processes:
        raise InputError(
            f"the launcher started {meant} processes, but accelerate sees "
            f"{accelerator.num_processes}; start with a file of accelerate_configs/, and without "
            "--cpu or use_cpu: true"
        )
    if accelerator.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise InputError(
            "mixed precision fp16 needs a GPU, and accelerate would silently compute in float32; "
            "give --mixed_precision bf16 or no"
        )
    if os.environ.get("ACCELERATE_USE_FSDP") == "true" and (
        accelerator.distributed_type != DistributedType.FSDP
    ):
        raise InputError(
            "the launch file asks for FSDP, which accelerate does not use without GPUs; start with "
            "accelerate_configs/cpu_2proc.yaml"
        )


def shard_by_layer(accelerator: Accelerator, model: nn.Module) -> None:
    """Tell FSDP2, where it is used, what to shard and how to add. Before accelerator.prepare.

    Gradients are added up in float32; in bf16, as accelerate has it, the sum would depend on the
    number of processes. The classes to shard are those of the launch file, else those that
    transformers names, else those of the longest list of modules; none that holds the input
    embedding, for accelerate shards that by itself, and torch refuses to shard a weight twice.

    Raises:
        InputError: the launch file names a class that the model has not.
    """
    if accelerator.distributed_type != DistributedType.FSDP:
        return
    plugin, embedding = accelerator.state.fsdp_plugin, model.get_input_embeddings()
    modules = list(model.modules())
    there = {type(module).__name__ for module in modules}
    holders = {type(m).__name__ for m in modules if any(part is embedding for part in m.modules())}
    longest = max((m for m in modules if isinstance(m, nn.ModuleList)), key=len, default=())
    named = plugin.transformer_cls_names_to_wrap
    if unknown := set(named or ()) - there:
        raise InputError(
            f"fsdp_transformer_layer_cls_to_wrap: {type(model).__name__} has no {unknown.pop()}; "
            f"its longest list holds {type(longest[0]).__name__ if longest else 'nothing'}"
        )
    named = set(named or model._no_split_modules or ()) & there - holders
    named = named or {type(layer).__name__ for layer in longest}
    plugin.transformer_cls_names_to_wrap = sorted(named)
    if policy := plugin.mixed_precision_policy:
        plugin.mixed_precision_policy = dataclasses.replace(policy, reduce_dtype=torch.float32)


def decide(accelerator: Accelerator, action: Callable[[], Result]) -> Result:
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


def together(accelerator: Accelerator, action: Callable[[], Result]) -> Result:
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


class StopSignal:
    """SIGTERM, SIGUSR1 and Ctrl-C ask the run to stop; all processes agree at the next update.

    Further SIGTERM and SIGUSR1 change nothing, until the process has left. A second Ctrl-C ends
    the process at once, even while it computes; checkpoints are published whole, so none is torn.
    As a context manager, it restores the handlers it found if there was no signal.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)

    def __init__(self):
        self.received = 0
        # The question is asked after every update: on a CPU group, so that no GPU has to be idle.
        several = torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1
        self.group = torch.distributed.new_group(backend="gloo") if several else None

    def __enter__(self):
        self.previous = {number: signal.signal(number, self._note) for number in self.SIGNALS}
        return self

    def __exit__(self, *_):
        for number, handler in self.previous.items():
            ignored = self.received and number != signal.SIGINT
            signal.signal(number, signal.SIG_IGN if ignored else handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or number
        if number == signal.SIGINT:
            # A launcher of several processes passes the first Ctrl-C on, and SIGTERM at the second.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            if os.environ.get("RANK", "0") == "0":  # print() is not for signal handlers
                os.write(2, NOTICE)

    def agreed(self) -> int:
        """On all processes the signal that any has had, 0 if none. Every process must call this.

        Of Ctrl-C and another it is the other: a scheduler's signals save, whatever the options.
        """
        number = int(self.received)
        if self.group is not None:
            flag = torch.tensor([number])
            torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX, group=self.group)
            number = int(flag.item())
        if number:  # the launcher sends SIGTERM to all as soon as the first has left
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return number
