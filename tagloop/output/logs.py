"""Reports metrics during a run: to metrics.jsonl, to the screen and to trackers."""

import json
import sys
from pathlib import Path
from typing import Any

from tagloop.files import append_line
from tagloop.output.trackers import track
from tagloop.processes.agree import on_main
from tagloop.run import Run
from tagloop.tasks.task import Metric, Scores
from tagloop.terminal import NAME_WIDTH, Table, width_of
from tagloop.training.progress import TrainState

LONGEST_TYPE = 24  # characters of the name of a type on a terminal


def significant(run: Run, value: float) -> float:
    """A loss or norm, rounded to the digits that are usually equal for every cut of a batch.

    Two cuts change a sum by about 1e-5 of its size in float32, and by 1e-3 in bf16 and fp16.
    """
    digits = 4 if run.accelerator.mixed_precision == "no" else 3
    return float(f"{value:.{digits}g}")


def type_table(by_type: dict[str, dict[str, float]], *, most: int | None) -> list[str]:
    """A table of the scores by type: a header and a line for every type.

    Args:
        by_type: as `Scores` has it, not empty.
        most: how many types are shown, the most frequent ones; None: all.
    """
    width = width_of(sys.stdout)
    longest = LONGEST_TYPE if width else None
    table = Table({"type": 0}, is_named=True)
    rows = []
    for type_, values in sorted(by_type.items(), key=lambda item: -item[1]["number"])[:most]:
        cells = {
            name: f"{value:.4f}" if isinstance(value, float) else f"{value:,}"
            for name, value in values.items()
        }
        rows.append({"type": type_[:longest]} | {name: f"{c:>9}" for name, c in cells.items()})
    for row in rows:
        table.make_room(row)
    free = width and width - NAME_WIDTH - 1
    return [line for row in rows for line in table.add(row, width=free).split("\n")]


def score_cells(values: dict[str, Any], metric: Metric) -> dict[str, str]:
    """The scores of a whole split as text by name: the loss, the metric, then the others.

    A value has four decimals, or an exponent if it is tiny. Scores of types are left out.
    """
    types = tuple(name.removesuffix("number") for name in values if name.endswith("_number"))
    first = {name: values.get(name) for name in ("loss", metric.name)}
    # A narrow terminal shows the first ones; accuracy says more than strict_precision.
    ordered = sorted(first | values, key=lambda name: (name not in first, "_" in name))
    return {
        name: f"{value:.4f}" if abs(value) >= 1e-3 or value == 0 else f"{value:.2e}"
        for name in ordered
        if isinstance(value := (first | values)[name], float)
        and not (types and name.startswith(types))
    }


def log_training(run: Run) -> dict:
    """Report the mean loss since the last log, the gradient norm and the base learning rate.

    Every process must call this.

    Returns:
        The values by name; grad_norm is None if it was not finite.
    """
    norm = run.state.grad_norm
    values = {
        "loss": significant(run, run.state.take_log_loss()),
        "grad_norm": None if norm is None else significant(run, norm),
        "learning_rate": run.learning_rate,
    }
    digits = {"loss": 4, "grad_norm": 4, "learning_rate": 3}
    shown = {k: f"{v:.{digits[k]}g}" for k, v in values.items() if v is not None}
    log_metrics(run, values, shown)
    return values


def log_evaluation(run: Run, scores: Scores) -> None:
    """Report the scores of the validation split. Every process must call this."""
    values = {f"eval_{name}": value for name, value in scores.values.items()}
    cells = score_cells(scores.values, run.task.metric)
    # The scores have the names of metrics.jsonl, but only the loss could be taken for another.
    cells = {"eval_loss" if name == "loss" else name: cell for name, cell in cells.items()}
    is_best = run.state.best_step == run.state.step
    log_metrics(run, values, cells, mark="best" if is_best else "")
    for remark in (find_zero(scores.values), find_divergence(run.state)):
        if remark:
            run.warn(remark)


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


def log_metrics(run: Run, values: dict, cells: dict[str, str], mark: str = "") -> None:
    """Report values to metrics.jsonl, the trackers and the screen. Every process must call this.

    Args:
        values: by name.
        cells: the values as text by the name of their column on the screen.
        mark: a word behind the row on the screen.
    """
    epoch = round(run.state.step / run.timetable.updates_per_epoch, 4)

    def report() -> None:
        add_metrics(run.folder, {"step": run.state.step, "epoch": epoch} | values)
        track(run, values)

    on_main(run.accelerator, report)
    cells = {"update": str(run.state.step), "epoch": f"{epoch:.2f}"} | cells
    run.say(run.table.add(cells, width=width_of(sys.stdout), mark=mark))


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
