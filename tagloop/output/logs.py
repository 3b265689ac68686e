"""What a run reports while it goes: metrics.jsonl, the screen, trackers."""

import json
from pathlib import Path

from accelerate.tracking import get_available_trackers
from accelerate.utils import LoggerType

from tagloop.errors import InputError
from tagloop.run import Run
from tagloop.training.processes import decide


def check_trackers(report_to: str) -> str:
    """Refuse a tracker that does not exist or is not installed."""
    known = [str(tracker) for tracker in LoggerType]
    if report_to != "all" and report_to not in known:
        raise InputError(f"--report_to {report_to}: not among {', '.join(known)}")
    installed = [str(tracker) for tracker in get_available_trackers()]
    if not installed or (report_to != "all" and report_to not in installed):
        name = "tensorboard" if report_to == "all" else report_to
        raise InputError(f"--with_tracking: {name} is not installed; pip install {name}")
    return report_to


def start_trackers(run: Run) -> None:
    """Experiment trackers, their files under the output folder. Every process must call this."""
    if not run.config.with_tracking:
        return
    accelerator = run.accelerator
    accelerator.project_configuration.set_directories(str(run.folder))
    plain = (int, float, str, bool)  # TensorBoard takes neither None nor lists
    options = {k: v for k, v in run.config.public().items() if isinstance(v, plain)}
    accelerator.init_trackers("ner_no_trainer", options)


def format_scores(values: dict) -> str:
    """name value, name value: four digits for what is not tiny."""
    return ", ".join(
        f"{name} {value:.4f}" if abs(value) >= 1e-3 or value == 0 else f"{name} {value:.2e}"
        for name, value in values.items()
        if isinstance(value, float)
    )


def log_training(run: Run) -> None:
    """Report the mean loss since the last time. Four decimals: below them the cut shows."""
    values = {
        "loss": round(run.state.take_log_loss(), 4),
        "grad_norm": None if run.state.grad_norm is None else round(run.state.grad_norm, 4),
        "learning_rate": run.lr_scheduler.get_last_lr()[0],
    }
    log_metrics(run, values)


def log_evaluation(run: Run, results: dict) -> None:
    """Report the scores of the validation split. Every process must call this."""
    log_metrics(run, {f"eval_{name}": value for name, value in results.items()})


def log_metrics(run: Run, values: dict) -> None:
    """One line in metrics.jsonl, on the screen and to the trackers. Every process."""
    epoch = round(run.state.step / run.timetable.updates_per_epoch, 4)
    decide(
        run.accelerator,
        lambda: add_metrics(run.folder, {"step": run.state.step, "epoch": epoch} | values),
    )
    run.say(f"update {run.state.step}, epoch {epoch:.2f}: " + format_scores(values))
    run.accelerator.log({k: v for k, v in values.items() if v is not None}, step=run.state.step)


def add_metrics(folder: Path, values: dict) -> None:
    """Append a line to metrics.jsonl. Main process only."""
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(values) + "\n")
