"""The launch: builds the accelerator, checks processes and devices, ends the process group."""

import contextlib
import ctypes
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from datetime import timedelta

import datasets
import torch
import transformers
from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
from accelerate.utils import DistributedType, GradientAccumulationPlugin, ProjectConfiguration

from tagloop.errors import InputError, OutOfMemory, Preempted, RunStopped
from tagloop.options.scripts import launch_file
from tagloop.processes.devices import ran_out_of_memory
from tagloop.wording import first_line, in_brackets

_open_blocks = 0  # of closing_group


def quiet_libraries() -> None:
    """Switch off progress bars and warnings of the libraries, which would hide the run's lines."""
    # torch 2.13 renames the option, and accelerate 1.15 does not know the new name.
    warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")
    # With fp16 accelerate replaces the method `step` of the optimizer. The schedule does not need
    # that method, because the loop steps the schedule itself.
    warnings.filterwarnings("ignore", message="Seems like `optimizer.step\\(\\)` has been over")
    # This project never changes logits in place.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()


def die_with_launcher() -> None:
    """Ask the kernel to send SIGUSR1 to this process when its launcher dies.

    Without this signal the process would train on although its user believes that it has ended. On
    SIGUSR1 a training process saves and ends; a process that does not train yet ends at once. A
    process without a launcher does not ask, because its user may want it to outlive the shell.
    Only Linux has this request. On other systems the lock of the output folder still refuses a
    second run while processes of the first run live.
    """
    launched = "TORCHELASTIC_RUN_ID" in os.environ or "ACCELERATE_MIXED_PRECISION" in os.environ
    if launched and sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGUSR1)


# Processes wait for what the main process does alone: writing to a slow disk, scoring.
PATIENCE = timedelta(hours=2)


def build_accelerator(
    mixed_precision: str | None, log_with: list[str] | None, *, use_cpu: bool = False
) -> Accelerator:
    """Build the accelerator, the only object that knows about devices and processes.

    Args:
        mixed_precision: "no", "bf16" or "fp16"; None takes the precision of the launch file.
        log_with: names of trackers.
        use_cpu: leave the GPUs of the machine alone.

    Raises:
        InputError: the launch did not start the processes, devices or precision that the user
            asked for.
    """
    die_with_launcher()
    check_devices()
    # With "true" transformers would leave a new head on the meta device, in all processes but the
    # first.
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    try:
        accelerator = Accelerator(
            # Without `cpu=`, each process on a machine without GPUs would work as if it were alone.
            cpu=use_cpu or not torch.accelerator.is_available(),
            mixed_precision=mixed_precision,
            # The loop accumulates gradients itself: train_step. A number alone would give way to
            # the variable ACCELERATE_GRADIENT_ACCUMULATION_STEPS, and divide the gradients by it.
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
            log_with=log_with or None,
            # TensorBoard needs a folder now; output/trackers.py replaces it by the output folder.
            project_config=ProjectConfiguration(project_dir="."),
            kwargs_handlers=[
                # The buffers of encoders are constants, so no forward pass has to send them.
                DistributedDataParallelKwargs(
                    broadcast_buffers=False, gradient_as_bucket_view=True
                ),
                InitProcessGroupKwargs(timeout=PATIENCE),
            ],
        )
    except ValueError as error:  # For example: fp16 without a GPU.
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


def leave_group() -> None:
    """Close the process group at the end of a run, unless another run of the command may follow.

    Every process calls this, so that no process has to wait for what the main process still does.
    """
    if _open_blocks < 2 and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@contextlib.contextmanager
def closing_group() -> Iterator[None]:
    """Close the process group at the end of a block, even after an error.

    A process with an open group would abort when it ends. If such a block stands in another one,
    its end leaves the group open, because the next run of the same command uses it.

    Raises:
        OutOfMemory: the block raised an error because memory ended.
    """
    global _open_blocks
    _open_blocks += 1
    orderly = False
    try:
        yield
        orderly = True
    except (InputError, RunStopped, Preempted) as error:  # All processes raise these together.
        orderly = not isinstance(error, OutOfMemory)
        raise
    except Exception as error:
        if not ran_out_of_memory(error):
            raise
        raise OutOfMemory(
            f"out of memory{in_brackets(error)}: the model, or what it computes of a batch, does "
            "not fit; use a smaller batch, a smaller model, or a device with more memory"
        ) from None
    finally:
        _open_blocks -= 1
        if not _open_blocks and torch.distributed.is_initialized():
            if orderly or torch.distributed.get_backend() != "nccl":
                torch.distributed.destroy_process_group()
            else:  # Only this process failed, so NCCL's orderly end would wait for the others.
                torch.distributed.distributed_c10d._abort_process_group()


def check_devices() -> None:
    """Refuse a launch that asks for GPUs which this machine does not have.

    Only the first process of a machine checks. If all did, another one could end first, and the
    launcher would kill the first process before it has printed the message.

    Raises:
        InputError: the machine has no GPU, or fewer GPUs than processes; the remedy is named.
    """
    if os.environ.get("LOCAL_RANK", "0") != "0":
        return
    wanted, gpus = _number_in("LOCAL_WORLD_SIZE"), torch.accelerator.device_count()
    if gpus == 0:
        _require_cpu_launch()
    elif gpus < wanted and os.environ.get("ACCELERATE_USE_CPU", "").lower() != "true":
        raise InputError(
            f"the launcher was asked for {wanted} processes on this machine, which shows {gpus} "
            f"GPU{'s' * (gpus > 1)}: each needs one of its own; give --num_processes {gpus} and "
            f"{-(-wanted // gpus)} times --gradient_accumulation_steps for the same result, or "
            "see what CUDA_VISIBLE_DEVICES hides"
        )


def _number_in(variable: str) -> int:
    """The number of processes in a variable of the launcher; 1 without it. Raises InputError."""
    value = os.environ.get(variable, "1")
    if not value.isdecimal() or len(value) > 9:
        raise InputError(
            f"the environment has {variable}={value!r}, which is no number of processes; unset it, "
            "or start with accelerate launch"
        )
    return int(value)


def _require_cpu_launch() -> None:
    """On a machine without GPUs: refuse a launch that was not meant for its CPU.

    accelerate tells a process little about its launch file. Several processes are meant for the CPU
    if the file hides all GPUs from them (`gpu_ids: none,none`, which a process sees as
    CUDA_VISIBLE_DEVICES); for one process the file says `use_cpu: true`. A lone process in float32
    is taken as it is: it may have been launched without any file.

    Raises:
        InputError: naming the launch file that works.
    """
    by_accelerate = "ACCELERATE_MIXED_PRECISION" in os.environ
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "").startswith("none")
    if not by_accelerate or hidden or os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true":
        return
    with_fsdp = os.environ.get("ACCELERATE_USE_FSDP") == "true"
    if "WORLD_SIZE" in os.environ or with_fsdp:
        what = "FSDP, which needs GPUs," if with_fsdp else "GPUs"
        raise InputError(
            f"the launch file asks for {what} and this machine shows none: start with "
            f"{launch_file('cpu.yaml')}, or with cpu_2proc.yaml for several processes on the CPU"
        )
    if os.environ["ACCELERATE_MIXED_PRECISION"] != "no" and "MASTER_ADDR" not in os.environ:
        raise InputError(
            f"the launch file asks for {os.environ['ACCELERATE_MIXED_PRECISION']} on a GPU, and "
            f"this machine shows none: start with {launch_file('cpu.yaml')}"
        )


def check_launch(accelerator: Accelerator) -> None:
    """Refuse a launch without the processes, the FSDP or the fp16 that the user asked for.

    `accelerate launch --cpu --num_processes 2` and `distributed_type: MULTI_CPU` start one process
    and print no warning. Only the variable MASTER_ADDR distinguishes this process from a run that
    was meant to have one process.

    Raises:
        InputError: the message names the launch file that works.
    """
    num_started = _number_in("WORLD_SIZE")
    by_accelerate = "ACCELERATE_MIXED_PRECISION" in os.environ
    if by_accelerate and "WORLD_SIZE" not in os.environ and "MASTER_ADDR" in os.environ:
        raise InputError(
            "the launcher was asked for several processes and started one (accelerate needs mpirun "
            f"for --cpu or MULTI_CPU); use {launch_file('cpu_2proc.yaml')}, which says MULTI_GPU "
            "and works without a GPU"
        )
    if num_started != accelerator.num_processes:
        raise InputError(
            f"the launcher started {num_started} processes, but accelerate sees "
            f"{accelerator.num_processes}; start with {launch_file('cpu_2proc.yaml')}, and without "
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
            f"{launch_file('cpu_2proc.yaml')}"
        )
    if accelerator.distributed_type == DistributedType.FSDP and not accelerator.is_fsdp2:
        raise InputError(
            "the launch file asks for the first version of FSDP; give fsdp_version: 2, as in "
            f"{launch_file('fsdp2.yaml')}"
        )
