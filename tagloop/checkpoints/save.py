"""When a checkpoint is saved: copied between two updates, published and pruned beside training."""

import contextlib

from tagloop.checkpoints.checkpoint import prune, publish
from tagloop.checkpoints.state import pack_state, require_finite
from tagloop.files import WRITE_ERRORS, describe_write_error
from tagloop.options.config import Config
from tagloop.run import Run


def save_checkpoint(run: Run, *, epoch: int | None, is_best: bool) -> None:
    """Copy where the training is, and publish it beside training. Every process must call this.

    Args:
        epoch: the one that has just ended, if any.
        is_best: this evaluation was the best so far.

    Raises:
        RunStopped: on every process, if the checkpoint before this one could not be written, or
            weights or moments are not finite. Nothing was published.
    """
    require_finite(run)
    run.background.wait()  # before memory is taken for another copy
    by_epoch = run.config.checkpointing_steps == "epoch" and epoch is not None
    folder = run.folder / (f"epoch_{epoch}" if by_epoch else f"step_{run.state.step}")
    if is_best:
        run.state.best_checkpoint = folder.name
    packed, spare = pack_state(run), [folder.name, run.state.best_checkpoint]

    def publish_and_prune() -> str | None:
        try:
            publish(folder, packed.write, packed.facts)
        except WRITE_ERRORS as error:
            reason = describe_write_error(error)
            return (
                f"{folder}: the checkpoint could not be written: {reason}; mend that and go on "
                "with --resume_from_checkpoint auto"
            )
        with contextlib.suppress(OSError):  # what is left over is pruned the next time
            prune(run.folder, keep=how_many(run.config), spare=spare, say=run.say)
        return None

    run.background.start(publish_and_prune)


def how_many(config: Config) -> int | None:
    """Checkpoints to keep; those that only the best model needs make room for each other."""
    return config.checkpoints_total_limit or (None if config.checkpointing_steps else 1)
