"""Reports metrics during a run: to metrics.jsonl, to the screen and to trackers."""

import json
from pathlib import Path

from tagloop.files import append_line
from tagloop.output.trackers import track
from tagloop.processes.agree import on_main
from tagloop.run import Run
from tagloop.tasks.task import Scores
from tagloop.training.progress import TrainState


def significant(run: Run, value: float) -> float:
    """A loss or norm, rounded to the digits that are usually equal for every cut of a batch.

    Two cuts change a sum by about 1e-5 of its size in float32, and by 1e-3 in bf16 and fp16.
    """
    digits = 4 if run.accelerator.mixed_precision == "no" else 3
    return float(f"{value:.{digits}g}")


def score_table(scores: dict) -> list[str]:
    """A table of the scores by type: a header and a line for every type; empty without types.

    Args:
        scores: values by name. TYPE is a type if the scores have `TYPE_number`.
    """
    types = [name.removesuffix("_number") for name in scores if name.endswith("_number")]
    columns = [
        column
        for column in ("precision", "recall", "f1", "number")
        if types and f"{types[0]}_{column}" in scores
    ]
    rows = [["type", *columns]]
    for type_ in types:
        values = [scores[f"{type_}_{column}"] for column in columns]
        rows.append([type_, *(f"{v:.4f}" if isinstance(v, float) else f"{v:,}" for v in values)])
    width = max(len(row[0]) for row in rows)
    return [f"{row[0]:<{width}}" + "".join(f"{v:>11}" for v in row[1:]) for row in rows if types]


def format_scores(values: dict) -> str:
    """The scores of a whole split in one line: "name value, name value".

    A value has four decimals, or an exponent if it is tiny. Scores of types are left out.
    """
    types = tuple(name.removesuffix("number") for name in values if name.endswith("_number"))
    return ", ".join(
        f"{name} {value:.4f}" if abs(value) >= 1e-3 or value == 0 else f"{name} {value:.2e}"
        for name, value in values.items()
        if isinstance(value, float) and not (types and name.startswith(types))
    )


def log_training(run: Run) -> dict:
    """Report the mean loss since the last log, the gradient norm and the learning rate.

    Every process must call this.

    Returns:
        The values by name; grad_norm is None if it was not finite.
    """
    norm = run.state.grad_norm
    values = {
        "loss": significant(run, run.state.take_log_loss()),
        "grad_norm": None if norm is None else significant(run, norm),
        "learning_rate": run.lr_scheduler.get_last_lr()[0],
    }
    log_metrics(run, values, ", ".join(f"{k} {v:g}" for k, v in values.items() if v is not None))
    return values


def log_evaluation(run: Run, scores: Scores) -> None:
    """Report the scores of the validation split. Every process must call this."""
    values = {f"eval_{name}": value for name, value in scores.values.items()}
    remarks = (find_zero(scores.values), find_divergence(run.state))
    shown = "".join(f"; {remark}" for remark in remarks if remark)
    log_metrics(run, values, format_scores(values) + shown)


def find_divergence(state: TrainState) -> str | None:
    """A remark on a run whose loss rose far above that of its first update."""
    if not state.has_diverged:
        return None
    return (
        f"the loss rose from {state.first_loss:.3g} in the first update to {state.train_loss:.3g} "
        "in the last epoch: the run diverged; give a lower --learning_rate or more "
        "--num_warmup_steps"
    )


def find_zero(scores: dict) -> str | None:
    """A remark on a score of 0, which looks like any other number among the others."""
    zeros = [name for name in ("f1", "accuracy") if scores.get(name) == 0]
    if not zeros:
        return None
    return f"{zeros[0]} is 0: of what it counts, the model got nothing right"


def log_metrics(run: Run, values: dict, shown: str) -> None:
    """Report values to metrics.jsonl, the trackers and the screen. Every process must call this.

    Args:
        values: by name.
        shown: the values as text for the screen.
    """
    epoch = round(run.state.step / run.timetable.updates_per_epoch, 4)

    def report() -> None:
        add_metrics(run.folder, {"step": run.state.step, "epoch": epoch} | values)
        track(run, values)

    on_main(run.accelerator, report)
    run.say(f"update {run.state.step}, epoch {epoch:.2f}: {shown}")


def log_ending(run: Run) -> dict:
    """Say when early stopping ended the run, and which update gave the best model.

    Returns:
        `best_step` and `stopped_early_at` as far as they are known; {} for a run without early
        stopping and without --load_best_model_at_end.
    """
    config, state = run.config, run.state
    if config.early_stopping_patience is None and not config.load_best_model_at_end:
        return {}
    facts = {} if state.best_step is None else {"best_step": state.best_step}
    if run.gave_up and state.step < run.timetable.num_updates:
        facts["stopped_early_at"] = state.step
        run.say(
            f"stopped early after update {state.step}: the last {state.evaluations_without_gain} "
            f"evaluations had no better {run.task.metric.name}"
        )
    if config.load_best_model_at_end and state.best_checkpoint:
        folder_note = (
            f"; {run.folder / state.best_checkpoint} stays" if config.checkpointing_steps else ""
        )
        run.say(f"the model is that of update {state.best_step}, the best{folder_note}")
    elif state.best_step is not None:
        run.say(f"the model is that of update {state.step}; the best was after {state.best_step}")
    return facts


def add_metrics(folder: Path, values: dict) -> None:
    """Append a line to metrics.jsonl. Main process only."""
    append_line(folder / "metrics.jsonl", json.dumps(values))
