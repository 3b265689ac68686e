"""Experiment trackers, through accelerate: tensorboard, wandb, mlflow, trackio and others.

TensorBoard writes into the output folder; other trackers write where their own settings say.
"""

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial

from accelerate.tracking import GeneralTracker, get_available_trackers
from accelerate.utils import LoggerType

from tagloop.errors import InputError
from tagloop.options.config import SECRETS, Config
from tagloop.processes.agree import on_main
from tagloop.run import Run
from tagloop.wording import first_line


def check_trackers(config: Config) -> list[str]:
    """Names of the trackers that a run reports to.

    --with_tracking is needed only for the default, --report_to all.

    Raises:
        InputError: accelerate has no tracker of this name, or its package is not installed.
    """
    names = [name.strip() for name in config.report_to.split(",")]
    if names == ["none"] or (names == ["all"] and not config.with_tracking):
        return []
    known = [str(tracker) for tracker in LoggerType if tracker != LoggerType.ALL]
    installed = [str(tracker) for tracker in get_available_trackers()]
    if names == ["all"]:
        names = installed or ["tensorboard"]
    for name in names:
        if name not in known:
            raise InputError(f"--report_to {name}: not among {', '.join(known)}, all and none")
    if missing := [name for name in names if name not in installed]:
        raise InputError(
            f"--report_to {config.report_to}: {', '.join(missing)} is not installed; "
            f"pip install {' '.join(missing)}"
        )
    return names


@contextlib.contextmanager
def reporting(run: Run) -> Iterator[None]:
    """Start the trackers with the options of the run, and close them at the end of the block.

    Every process must call this. The trackers are closed after an error, too.

    Raises:
        InputError: on every process, if a tracker cannot be started.
    """
    if run.accelerator.log_with:
        on_main(run.accelerator, lambda: _start(run))
    try:
        yield
    finally:
        for tracker in _detach(run):
            _attempt(run, tracker, tracker.finish)


def track(run: Run, values: dict[str, float | None]) -> None:
    """Send numbers to the trackers. Only the main process calls this.

    A tracker that fails gets no further numbers.

    Args:
        values: by name; None is not sent.
    """
    values = {name: value for name, value in values.items() if isinstance(value, int | float)}
    for tracker in list(run.accelerator.trackers):
        named = values
        if tracker.name == "mlflow":  # mlflow refuses some names, as PRP$.
            named = {re.sub(r"[^\w/.: -]", "_", name): value for name, value in values.items()}
        if not _attempt(run, tracker, partial(tracker.log, named, step=run.state.step)):
            run.accelerator.trackers.remove(tracker)


def _start(run: Run) -> None:
    accelerator, name = run.accelerator, run.folder.resolve().name
    accelerator.project_configuration.logging_dir = str(run.folder)
    plain = (int, float, str, bool)  # TensorBoard does not take None and lists.
    options = {k: v for k, v in run.config.public().items() if isinstance(v, plain)}
    names = {
        # TensorBoard deletes the points that a killed run wrote after its checkpoint.
        "tensorboard": {"purge_step": run.state.step + 1} if run.config.do_train else {},
        "wandb": {"name": os.environ.get("WANDB_NAME", name)},
        "mlflow": {"run_name": os.environ.get("MLFLOW_RUN_NAME", name)},
        "trackio": {"name": name},
    }
    _hide_secrets(run.config)
    try:
        accelerator.init_trackers(f"{run.config.task_name}_no_trainer", options, names)
    except Exception as error:  # Reasons are: no account, no server, no network.
        given = ",".join(map(str, accelerator.log_with))
        _detach(run)
        raise InputError(
            f"--report_to {given}: could not be started: {first_line(error)} (--report_to takes "
            "the names of others, or none)"
        ) from None


def _hide_secrets(config: Config) -> None:
    """Replace secrets in the command line of this process, which wandb records."""
    for secret in filter(None, (getattr(config, name) for name in SECRETS)):
        for arguments in (sys.argv, sys.orig_argv):
            arguments[:] = [text.replace(secret, "(hidden)") for text in arguments]


def _detach(run: Run) -> list[GeneralTracker]:
    """Remove the trackers from accelerate, which would close them a second time; return them."""
    trackers, run.accelerator.trackers = run.accelerator.trackers, []
    return trackers


def _attempt(run: Run, tracker: GeneralTracker, action: Callable[[], object]) -> bool:
    """Run an action of a tracker; False, with a message, if it fails.

    A server that does not answer must not end the run, whose files contain all numbers.
    """
    try:
        action()
    except Exception as error:
        run.warn(
            f"{tracker.name} failed and gets no more: {first_line(error)}; metrics.jsonl "
            "has everything"
        )
        return False
    return True
