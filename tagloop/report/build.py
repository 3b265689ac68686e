"""Writes the page of a run, or of several; at the end of a run without ever failing it."""

from collections.abc import Sequence
from pathlib import Path

from tagloop.errors import InputError, RunStopped
from tagloop.files import WRITE_ERRORS, whole_file
from tagloop.pages.charts import require_packages
from tagloop.processes.launch import quiet_libraries
from tagloop.report.outcome import Outcome, read_outcome
from tagloop.run import Run

SAMPLE = 500  # sentences that the model is applied to again
LARGEST_MODEL = 2**31  # bytes; at the end of a run a second copy of more may not fit


def write_report(
    folders: Sequence[Path],
    output: Path,
    *,
    sample: int = SAMPLE,
    device: str | None = None,
    largest_model: int | None = None,
) -> None:
    """Write the report of a run, or the comparison of several.

    Args:
        sample, device, largest_model: as again.complete has them.

    Raises:
        InputError: no run there, runs that cannot be compared, or matplotlib is missing.
        RunStopped: the page cannot be written.
    """
    require_packages()
    quiet_libraries()
    outcomes = [read_outcome(folder) for folder in folders]
    for outcome in outcomes:
        # A comparison shows neither probabilities nor what was seen in training.
        if outcome.record.get("finished") and not (len(outcomes) > 1 and outcome.sentences):
            from tagloop.report.again import complete  # with the libraries that models need

            complete(outcome, sample=sample, device=device, largest_model=largest_model)
    text = _one(outcomes[0]) if len(outcomes) == 1 else _several(outcomes)
    try:
        with whole_file(output) as file:
            file.write(text)
    except WRITE_ERRORS as error:
        raise RunStopped(f"{output}: cannot be written: {error}") from None


def report_run(run: Run) -> None:
    """Write report.html into the folder of a run that is saved. Main process only.

    Nothing that happens here may fail the run: one line says what went wrong.
    """
    if not (run.config.report and run.config.do_train):
        return
    page = run.folder / "report.html"
    device = str(run.accelerator.device)
    try:
        write_report([run.folder], page, device=device, largest_model=LARGEST_MODEL)
    except Exception as error:  # no page is worth a run
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        run.say(f"{'report':<11} not written: {reason} (--no_report leaves it out)")
    else:
        run.say(f"{'report':<11} {page}")


def _one(outcome: Outcome) -> str:
    from tagloop.pages.page import render
    from tagloop.report.sections import build_sections

    model = outcome.options.get("model_name_or_path") or "a model from scratch"
    updates = max((line["step"] for line in outcome.metrics), default=0)
    subtitle = f"{outcome.task}, {Path(str(model)).name}"
    subtitle += f", {updates:,} updates" if updates else ""
    return render(outcome.name, subtitle, build_sections(outcome), notes=outcome.notes)


def _several(outcomes: Sequence[Outcome]) -> str:
    from tagloop.pages.page import render
    from tagloop.report.compare import comparison_sections, run_names

    names = run_names(outcomes)
    notes = dict.fromkeys(
        f"{name}: {note}" for name, one in zip(names, outcomes, strict=True) for note in one.notes
    )
    subtitle = f"{outcomes[0].task}, {len(outcomes)} runs"
    sections = comparison_sections(outcomes)
    return render(" and ".join(names), subtitle, sections, notes=[*notes])


def check_folders(folders: Sequence[Path]) -> None:
    """Raises InputError for what is no folder, or given twice."""
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; name the output folder of a training run")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise InputError("the same folder is given twice; a run does not differ from itself")
