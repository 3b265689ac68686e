"""Remedies, as messages, for a run whose numbers are not finite or whose memory ends."""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

from tagloop.checkpoints.checkpoint import checkpoint_folders, step_of
from tagloop.errors import NotFinite, OutOfMemory, RunStopped
from tagloop.processes.devices import ran_out_of_memory
from tagloop.run import Run
from tagloop.training.memory import smaller_micro_batches
from tagloop.wording import in_brackets


@contextlib.contextmanager
def with_remedy(run: Run) -> Iterator[None]:
    """Add a remedy to the error of a run whose numbers are not finite or whose memory ends.

    Raises:
        RunStopped: the block raised a NotFinite.
        OutOfMemory: the block raised an error because memory ended.
    """
    try:
        yield
    except NotFinite as error:
        saved = _saved(run.folder)
        weights = f"--model_name_or_path {saved[-1]} " if saved else ""
        other = ", or bf16 instead of fp16" * (run.accelerator.mixed_precision == "fp16")
        raise RunStopped(
            f"{error}. Nothing was saved{' since the last checkpoint' if saved else ''}. A resumed "
            f"run keeps its options; start a new run: {weights}--output_dir NEW with a lower "
            f"--learning_rate or more --num_warmup_steps{other}"
        ) from None
    except Exception as error:
        if not ran_out_of_memory(error):
            raise
        raise OutOfMemory(
            f"process {run.accelerator.process_index}, update {run.state.step}: out of memory"
            f"{in_brackets(error)}; {_memory_remedy(run)}"
        ) from None


def _saved(folder: Path) -> list[Path]:
    return [path for path in checkpoint_folders(folder) if step_of(path) < math.inf]


def _memory_remedy(run: Run) -> str:
    """The remedy for a run without memory: options with numbers.

    A resumed run may cut its global batch in another way, so it may use smaller micro-batches.
    """
    config = run.config
    evaluating = f"--per_device_eval_batch_size (now {config.per_device_eval_batch_size})"
    if not config.do_train:
        return f"give a smaller {evaluating}"
    batch, cut = config.per_device_train_batch_size * config.gradient_accumulation_steps, ""
    smaller = smaller_micro_batches(config.per_device_train_batch_size, batch)
    if smaller:
        size = smaller[0]
        cut = f"--per_device_train_batch_size {size}"
        if saved := _saved(run.folder):
            cut = f"{cut} --resume_from_checkpoint auto, which goes on after {saved[-1].name}"
        else:
            cut += f" --gradient_accumulation_steps {batch // size}"
            if not (config.auto_micro_batch or run.accelerator.is_fsdp2):
                cut += " or --auto_micro_batch"
        cut = f"give {cut}: the run learns the same; or "
    return (
        f"{cut}give --gradient_checkpointing or a smaller --max_length; if an evaluation ran out "
        f"of memory, give a smaller {evaluating}"
    )
