"""Prints a header before the run, and a footer with its results at the end."""

from tagloop.output import environment
from tagloop.output.logs import find_divergence, find_zero, format_scores, score_table
from tagloop.run import Run


def print_header(run: Run) -> None:
    """Print data, model, devices, updates and warnings of a run that begins."""
    config, accelerator = run.config, run.accelerator
    if config.uses_sample_corpus:
        run.say(
            "tagloop on its built-in sample corpus. For your own data: --train_file FILE "
            "--validation_file FILE --model_name_or_path NAME"
        )
    unwrapped = accelerator.unwrap_model(run.model)
    size = sum(parameter.numel() for parameter in unwrapped.parameters())
    size += run.vocabulary.num_waiting
    architecture = type(unwrapped).__name__.removeprefix("FSDP")  # FSDP2 renames the class.
    origin = config.model_name_or_path or "from scratch"
    lines = [
        *run.task.describe(),
        ("model", f"{architecture}, {size / 1e6:.1f} M parameters, {origin}"),
        *([("vocabulary", str(run.vocabulary))] if config.do_train else []),
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
    lines += [("warning", warning) for warning in run.task.warnings]
    if accelerator.mixed_precision == "bf16" and environment.emulates_bf16(accelerator.device):
        lines.append(("warning", "this CPU emulates bf16: --mixed_precision no is faster"))
    if not {"validation", "test"} & run.task.examples.keys() and config.do_train:
        remedy = "give --validation_file or --validation_fraction 0.1"
        lines.append(("warning", f"without validation and test data a run has no scores; {remedy}"))
    run.say("\n".join(f"{name:<11} {text}" for name, text in lines))


def print_footer(run: Run, results: dict) -> None:
    """Print scores, speed, memory and folder of a run that has ended.

    Args:
        results: the content of all_results.json.
    """
    lines, remarks = [], []
    for part, split in (("eval", "validation"), ("test", "test")):
        if split not in run.task.examples:  # The score is of an earlier run in this folder.
            continue
        scores = {
            name.removeprefix(f"{part}_"): value
            for name, value in results.items()
            if name.startswith(f"{part}_")
        }
        if scores:
            lines.append(f"{part:<11} {format_scores(scores)}")
            lines += [f"{'':<11} {line}" for line in score_table(scores)]
            if zero := find_zero(scores):
                remarks.append(f"{split}: {zero}; train longer, or with another --learning_rate")
    if run.config.do_train:
        unit = run.task.examples["train"].unit
        lines.append(
            f"{'speed':<11} {results[f'train_{unit}_per_second']:,.0f} {unit}/s, "
            f"{results['train_padding_share']:.1%} padding, "
            f"{results['train_runtime']:.0f} s with evaluations"
        )
        if divergence := find_divergence(run.state):
            remarks.append(divergence)
    memory = environment.peak_memory(run.accelerator.device)
    lines.append(f"{'memory':<11} {memory / 2**30:.2f} GiB at the peak of one process")
    lines.append(f"{'files':<11} {run.folder}")
    lines += [f"{'warning':<11} {remark}" for remark in remarks]
    run.say("\n".join(lines))
