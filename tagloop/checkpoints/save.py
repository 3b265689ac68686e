"""Saves a checkpoint: copies the state between two updates, and publishes it beside training."""

import contextlib

from tagloop.checkpoints.checkpoint import prune
from tagloop.checkpoints.packed import pack_state
from tagloop.checkpoints.state import require_finite
from tagloop.files import WRITE_ERRORS, describe_write_error
from tagloop.options.config import Config
from tagloop.run import Run


def save_checkpoint(run: Run, *, epoch: int | None, is_best: bool) -> None:
    """Copy the state of a run and publish it beside training. Every process must call this.

    Args:
        epoch: the epoch that has just ended; None inside of an epoch.
        is_best: True if the evaluation of this update was the best so far.

    Raises:
        NotFinite: on every process: weights or moments are not finite. No checkpoint was written.
        RunStopped: on every process: the checkpoint before this one could not be written.
    """
    require_finite(run)
    run.background.wait()  # The copy of the earlier checkpoint must leave the memory first.
    by_epoch = run.config.checkpointing_steps == "epoch" and epoch is not None
    folder = run.folder / (f"epoch_{epoch}" if by_epoch else f"step_{run.state.step}")
    if is_best:
        run.state.best_checkpoint = folder.name
    packed, spare = pack_state(run), [folder.name, run.state.best_checkpoint]

    def publish_and_prune() -> str | None:
        try:
            packed.publish(folder)
        except WRITE_ERRORS as error:
            reason = describe_write_error(error)
            return (
                f"{folder}: the checkpoint could not be written: {reason}; correct this, then go "
                "on with --resume_from_checkpoint auto"
            )
        with contextlib.suppress(OSError):  # The next save prunes the rest.
            prune(run.folder, keep=how_many(run.config), spare=spare, say=run.say)
        return None

    run.background.start(publish_and_prune, packed.help_to_publish)


def how_many(config: Config) -> int | None:
    """The number of checkpoints to keep; None: all.

    It is 1 if the run saves checkpoints only for its best model.
    """
    return config.checkpoints_total_limit or (None if config.checkpointing_steps else 1)
