"""Scores, speed, circumstances and options of a run of any task, from its JSON files."""

from tagloop.options.command_line import FIELDS
from tagloop.outcome.record import Outcome
from tagloop.pages.page import Section, Table

SPEED = (
    ("padding", "train_padding_share", "{:.1%}"),
    ("seconds, with evaluations", "train_runtime", "{:,.0f}"),
    ("validation loss", "eval_loss", "{:.4f}"),
    ("test loss", "test_loss", "{:.4f}"),
)


def results_section(outcome: Outcome) -> Section:
    """The section with the scores of all_results.json, for a page without gold answers."""
    rows = [
        (name, f"{value:,.4f}" if isinstance(value, float) else f"{value:,}")
        for name, value in outcome.results.items()
        if name.startswith(("eval_", "test_")) and isinstance(value, int | float)
    ]
    if not rows:
        return Section("Results")
    return Section("Results", "As all_results.json has them.", [Table(("", "value"), rows)])


def facts_section(outcome: Outcome) -> Section:
    """The section with speed and padding, device and versions, and the options that were given."""
    results, environment = outcome.results, outcome.record.get("environment", {})
    rates = (name for name in results if name.startswith("train_") and name.endswith("_per_second"))
    rows = [
        (f"{name.removeprefix('train_').removesuffix('_per_second')} a second", f"{rate:,.0f}")
        for name in rates
        if (rate := results[name]) is not None
    ]
    rows += [
        (name, shape.format(results[key]))
        for name, key, shape in SPEED
        if results.get(key) is not None
    ]
    if size := outcome.record.get("global_batch_size"):
        rows.append(("examples in an update", f"{size:,}"))
    for name in ("device", "num_processes", "mixed_precision", "git_revision"):
        if environment.get(name) is not None:
            rows.append((name.replace("_", " "), str(environment[name])))
    versions = environment.get("versions", {})
    rows.append(("versions", ", ".join(f"{name} {v}" for name, v in versions.items()) or "–"))
    return Section(
        "Speed and circumstances",
        "On the right the options that differ from their defaults.",
        [Table((), rows), Table((), options_given(outcome.options))],
    )


def options_given(options: dict) -> list[tuple[str, str]]:
    """Names and values of the options that differ from their defaults."""
    return [
        (f"--{name}", str(value))
        for name, value in options.items()
        if name not in FIELDS or value != FIELDS[name].default
    ]
