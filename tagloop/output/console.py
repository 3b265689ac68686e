"""Prints a header before the run, and a footer with its results at the end."""

import shlex
import sys

from tagloop.options.scripts import command_of
from tagloop.output import environment
from tagloop.output.logs import find_divergence, find_zero, score_cells, type_table
from tagloop.run import Run
from tagloop.tasks import has_module, task_module
from tagloop.tasks.task import Scores
from tagloop.terminal import NAME_WIDTH, Table, entry, width_of

PARTS = {"eval": "validation", "test": "test"}  # The names of the splits that are scored.
MOST_TYPES = 10


def print_header(run: Run) -> None:
    """Print data, model, devices, updates and warnings of a run that begins."""
    config, accelerator = run.config, run.accelerator
    if config.uses_sample_corpus:
        text = (
            "the built-in sample corpus; for your own: --train_file FILE --validation_file FILE "
            "--model_name_or_path NAME"
        )
        _say_entries(run, [("data", text)])
    unwrapped = accelerator.unwrap_model(run.model)
    parameters = list(unwrapped.parameters())
    size = sum(parameter.numel() for parameter in parameters)
    trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    is_frozen = config.do_train and trained < size
    share = f", of which {trained / 1e6:.1f} M learn" if is_frozen else ""
    size += run.vocabulary.num_waiting
    is_other = config.optimizer != "AdamW" and not run.vocabulary.why_full
    reason = ", as --optimizer may change rows without a gradient" if is_other else ""
    architecture = type(unwrapped).__name__.removeprefix("FSDP")  # FSDP2 renames the class.
    origin = config.model_name_or_path or "from scratch"
    lines = [
        *run.task.describe(),
        ("model", f"{architecture}, {size / 1e6:.1f} M parameters{share}, {origin}"),
        *([("vocabulary", f"{run.vocabulary}{reason}")] if config.do_train else []),
        (
            "devices",
            f"{accelerator.num_processes} x {accelerator.device.type}, "
            f"precision {accelerator.mixed_precision}",
        ),
    ]
    if config.do_train:
        round_size = config.per_device_train_batch_size * accelerator.num_processes
        rounds = -(-run.global_batch_size // round_size)
        lines.append(
            (
                "updates",
                f"{run.timetable.num_updates:,}, {run.timetable.updates_per_epoch:,} an epoch, "
                f"each of {run.global_batch_size} examples: {accelerator.num_processes} x {rounds} "
                f"micro-batches of at most {config.per_device_train_batch_size}"
                + (", in packed rows" if run.packing else ""),
            )
        )
    if run.packing and run.packing.shapes:
        shapes = ", ".join(f"{rows} x {columns}" for rows, columns in run.packing.shapes)
        lines.append(("shapes", f"{shapes}; {run.padding_of_shapes:.1%} of the cells are padding"))
    if run.state.step:
        lines.append(("resumed", f"after update {run.state.step:,}"))
    lines.append(("output", str(run.folder)))
    _say_entries(run, lines)
    for warning in run.task.warnings:
        run.warn(warning)
    if accelerator.mixed_precision == "bf16" and environment.emulates_bf16(accelerator.device):
        run.warn("this CPU emulates bf16: --mixed_precision no is faster")
    if not {"validation", "test"} & run.task.examples.keys() and config.do_train:
        remedy = "give --validation_file or --validation_fraction 0.1"
        run.warn(f"without validation and test data a run has no scores; {remedy}")


def print_footer(run: Run) -> None:
    """Print speed, memory, scores and the next commands of a run that has ended."""
    _say_entries(run, _costs(run))
    scores = {
        split: run.scores[part]
        for part, split in PARTS.items()
        if part in run.scores and split in run.task.examples and run.scores[part].values
    }
    _say_scores(run, scores)
    if run.config.return_entity_level_metrics:
        for split in scores:
            _say_types(run, split, scores[split], most=None)
    elif scores:
        _say_types(run, *list(scores.items())[-1], most=MOST_TYPES)
    for split, each in scores.items():
        if zero := find_zero(each.values):
            run.warn(f"{split}: {zero}; train longer, or with another --learning_rate")
    if run.config.do_train:
        if divergence := find_divergence(run.state):
            run.warn(divergence)
        _say_entries(run, _next_commands(run))


def _costs(run: Run) -> list[tuple[str, str]]:
    """Entries for the speed, the memory and the folder of a run."""
    lines = []
    measured = run.scores["train"].values if run.config.do_train else {}
    if "runtime" in measured:
        unit = run.task.examples["train"].unit
        speed = (
            f"{measured[f'{unit}_per_second']:,.0f} {unit}/s, "
            f"{measured['padding_share']:.1%} padding, "
            f"{measured['runtime']:.0f} s with evaluations"
        )
        lines.append(("speed", speed))
    memory = environment.peak_memory(run.accelerator.device)
    lines.append(("memory", f"{memory / 2**30:.2f} GiB at the peak of one process"))
    return [*lines, ("files", str(run.folder))]


def _say_scores(run: Run, scores: dict[str, Scores]) -> None:
    """Print a row of scores for every split."""
    table = Table({"scores": NAME_WIDTH}, is_named=True)
    rows = [
        {"scores": split} | score_cells(each.values, run.task.metric)
        for split, each in scores.items()
    ]
    for row in rows:
        table.make_room(row)
    for row in rows:
        run.say(table.add(row, width=width_of(sys.stdout)))


def _say_types(run: Run, split: str, scores: Scores, *, most: int | None) -> None:
    """Print the scores of the most frequent types of a split."""
    types = len(scores.by_type)
    if not types:
        return
    text = f"of the {split} data"
    if most is not None and types > most:
        text += f", the {most} most frequent of {types:,}"
        text += "; README.md has all" if run.config.do_train else ""
    lines = [entry("types", text, width_of(sys.stdout))]
    lines += [f"{'':<{NAME_WIDTH}} {line}" for line in type_table(scores.by_type, most=most)]
    run.say("\n".join(lines))


def _next_commands(run: Run) -> list[tuple[str, str]]:
    """Entries with the commands that apply the trained model and show the run."""
    folder, commands = shlex.quote(str(run.folder)), []
    if has_module(run.config.task_name, "predictor"):
        given = task_module(run.config.task_name, "predictor").example_input(run.task)
        commands.append(f"{command_of('predict.py')} {folder} {given}")
    if not run.config.report:  # Otherwise the last line of the run names the report.
        commands.append(f"{command_of('report.py')} {folder}")
    return [("next" if at == 0 else "", command) for at, command in enumerate(commands)]


def _say_entries(run: Run, entries: list[tuple[str, str]]) -> None:
    width = width_of(sys.stdout)
    if entries:
        run.say("\n".join(entry(name, text, width) for name, text in entries))
