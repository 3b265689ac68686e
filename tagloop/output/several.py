"""Several runs in one command, one after the other: --seeds, and the folds of --folds.

    train_each(config, main)    # main(options) trains one run

Each run is a usual run in a folder of its own, seed_N or fold_N of --output_dir, with the same
bytes as a run that was started alone with the same options. In --output_dir lie what the runs say
together: seeds.json or folds.json, and for seeds comparison.html.
"""

import dataclasses
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from accelerate.utils import gather_object
from accelerate.utils.memory import clear_device_cache

from tagloop.checkpoints.resume import RUN_RECORD, holds_run
from tagloop.errors import InputError, Preempted
from tagloop.files import is_plain, read_json, write_json
from tagloop.options.command_line import check_places
from tagloop.options.config import Config
from tagloop.outcome.results import Results
from tagloop.output.lock import Lock
from tagloop.processes.agree import on_all, on_main, say
from tagloop.processes.launch import build_accelerator
from tagloop.report.build import report_runs
from tagloop.report.folds import FILES_OF_FOLDS, write_folds
from tagloop.terminal import NAME_WIDTH, Table, entry, width_of

COMPARISON = "comparison.html"
PATIENCE = 600.0  # the time in seconds that another command may need for its pages
PARTS = {"eval": "validation", "test": "test"}  # Prefix of results -> split.


def train_each(config: Config, main: Callable[[Config], Results]) -> dict[str, Any]:
    """Train all runs of --seeds or --folds. Every process must call this.

    A run that is finished is not trained again, and one that was interrupted goes on. All runs use
    the processes of one launch, which stay connected from run to run.

    Args:
        main: trains one run with these options, and returns its results.

    Returns:
        The content of seeds.json or folds.json.

    Raises:
        InputError: the folder holds something else, or a run cannot work.
        RunStopped, Preempted: as `main` raises them; the runs behind that one do not begin.
    """
    accelerator = build_accelerator(config.mixed_precision, None, use_cpu=config.use_cpu)
    on_all(accelerator, lambda: check_places(config))
    folder, runs = Path(config.output_dir or ""), runs_of(config)
    on_main(accelerator, lambda: _check_folder(config, folder))
    results: dict[str, Results] = {}
    for number, (name, options) in enumerate(runs.items(), start=1):
        say(accelerator, entry(name, f"run {number} of {len(runs)}", width_of(sys.stdout)))
        handler = signal.getsignal(signal.SIGTERM)
        results[name] = main(on_main(accelerator, partial(_go_on, options)))
        clear_device_cache(garbage_collection=True)
        # A signal that came when the run had nothing more to save leaves SIGTERM ignored.
        is_stopped = signal.getsignal(signal.SIGTERM) != handler
        if any(gather_object([is_stopped])) and number < len(runs):
            raise Preempted(
                f"{folder}: stopped by a signal after {name}; the same command goes on with the "
                "next run"
            )
    on_main(accelerator, lambda: _require_same_data(config, folder, [*results]))
    summary = summarize(results)
    on_main(accelerator, lambda: _finish(config, folder, summary, partial(say, accelerator)))
    return summary


def runs_of(config: Config) -> dict[str, Config]:
    """The options of every run by the name of its folder, in order."""
    changes: dict[str, dict[str, Any]] = {
        f"seed_{seed}": {"seed": seed, "seeds": None} for seed in config.list_of_seeds
    }
    if config.folds is not None:
        changes = {f"fold_{fold}": {"fold": fold} for fold in range(1, config.folds + 1)}
    folder = config.output_dir or ""
    return {
        name: dataclasses.replace(
            config, **own, output_dir=os.path.join(folder, name),
            resume_from_checkpoint=None,
        )
        for name, own in changes.items()
    }  # fmt: skip


def summarize(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The scores of several runs together.

    Args:
        results: for the name of every run the content of its all_results.json.

    Returns:
        `runs`, the names; and `scores`, for every score of validation and test data that all runs
        have its `mean`, its `sd`, which is the sample standard deviation (n - 1) and null for one
        run, and its `values` in the order of the runs.

    >>> summarize({"seed_1": {"test_f1": 0.5}, "seed_2": {"test_f1": 0.75}})["scores"]["test_f1"]
    {'mean': 0.625, 'sd': 0.1767766952966369, 'values': [0.5, 0.75]}
    """
    scores = {}
    first = next(iter(results.values()))
    for name in first:
        found = [each.get(name) for each in results.values()]
        values = [float(value) for value in found if isinstance(value, int | float)]
        if name.partition("_")[0] in PARTS and len(values) == len(found):
            spread = stdev(values) if len(values) > 1 else None
            scores[name] = {"mean": mean(values), "sd": spread, "values": values}
    return {"runs": list(results), "scores": scores}


def _go_on(config: Config) -> Config:
    """The options of a run, which goes on if its folder holds a run already."""
    folder = Path(config.output_dir or "")
    goes_on = not config.overwrite_output_dir and folder.is_dir() and holds_run(folder)
    return dataclasses.replace(config, resume_from_checkpoint="auto") if goes_on else config


def _record_of(config: Config) -> str:
    return "folds.json" if config.seeds is None else "seeds.json"


def _check_folder(config: Config, folder: Path) -> None:
    """Refuse a folder that holds a run, or a file of the user's under a name of ours.

    The record is written first, so without it no other file there is one of ours.
    """
    if folder.is_dir() and holds_run(folder):
        raise InputError(
            f"--output_dir {folder}: holds a single run; name another folder for several runs"
        )
    is_ours = {"runs", "scores"} <= read_json(folder / _record_of(config)).keys()
    for name in (_record_of(config), *([COMPARISON] if config.seeds else FILES_OF_FOLDS)):
        path = folder / name
        if os.path.lexists(path) and not is_plain(path):
            raise InputError(f"{path}: is a link or no plain file; move it away")
        if path.exists() and not (is_ours or config.overwrite_output_dir):
            raise InputError(
                f"{path}: would be replaced, and no command with several runs wrote it; move it "
                "away, or name another --output_dir"
            )


def _require_same_data(config: Config, folder: Path, names: Sequence[str]) -> None:
    """Refuse to take a mean over runs of --seeds that learned from or were scored on other data.

    A finished run is not trained again, so its data may be that of an earlier command. The folds of
    --folds differ in their data, and `write_folds` compares what they share.

    Raises:
        InputError: naming two runs and what differs.
    """
    if config.seeds is None:
        return
    known = [_data_of(read_json(folder / name / RUN_RECORD)) for name in names]
    for name, facts in zip(names, known, strict=True):
        if differing := [what for what, value in facts.items() if value != known[0][what]]:
            raise InputError(
                f"{folder / name}: learned from or was scored on other data than {names[0]} "
                f"({', '.join(differing)}), so their scores have no mean; give "
                "--overwrite_output_dir to train all of them again, or another --output_dir"
            )


def _data_of(record: dict[str, Any]) -> dict[str, Any]:
    """What a run's data was, by name, as far as it does not depend on the seed."""
    options, identity = record.get("options", {}), record.get("identity", {})
    facts = {"test data": record.get("fingerprints", {}).get("test")}
    if not options.get("validation_fraction"):  # The seed would choose the validation rows.
        data = identity.get("data", {})
        facts |= {"training data": data.get("train"), "validation data": data.get("validation")}
        facts["class weights"] = identity.get("class_weights")
    return facts


def _finish(
    config: Config, folder: Path, summary: dict[str, Any], tell: Callable[[str], None]
) -> None:
    """Write and print what the runs say together. Main process only."""
    lock = Lock(folder, patience=PATIENCE, say=tell)  # Two commands may end at the same time.
    try:
        record = folder / _record_of(config)
        write_json(record, summary)
        tell(_score_table(summary))
        tell(entry("files", str(record), width_of(sys.stdout)))
        folders = [folder / name for name in summary["runs"]]
        if config.seeds is None:
            names = write_folds(config.task_name, folders, folder, page=config.report)
            for name in names:
                tell(entry("", str(folder / name), width_of(sys.stdout)))
        elif config.report and len(folders) > 1:
            report_runs(folders, folder / COMPARISON, tell)
    finally:
        lock.release()


def _score_table(summary: dict[str, Any]) -> str:
    """Mean ± standard deviation of every score, a row for every split."""
    number = len(summary["runs"])
    heading = f"mean ± standard deviation of {number} runs" if number > 1 else "of one run"
    rows: list[dict[str, str]] = []
    for part, split in PARTS.items():
        cells = {
            name.removeprefix(f"{part}_"): _with_spread(score["mean"], score["sd"])
            for name, score in summary["scores"].items()
            if name.startswith(f"{part}_")
        }
        rows += [{"scores": split} | _loss_first(cells)] if cells else []
    table = Table({"scores": NAME_WIDTH}, is_named=True)
    for row in rows:
        table.make_room(row)
    lines: Sequence[str] = [table.add(row, width=width_of(sys.stdout)) for row in rows]
    return "\n".join([entry("runs", heading, width_of(sys.stdout)), *lines])


def _loss_first(cells: dict[str, str]) -> dict[str, str]:
    """The loss, then scores with short names, as a run prints them."""
    return dict(sorted(cells.items(), key=lambda item: (item[0] != "loss", "_" in item[0])))


def _with_spread(value: float, spread: float | None) -> str:
    """
    >>> _with_spread(0.5, 0.0123), _with_spread(0.5, None)
    ('0.5000 ± 0.0123', '0.5000')
    """
    return f"{value:.4f}" if spread is None else f"{value:.4f} ± {spread:.4f}"
