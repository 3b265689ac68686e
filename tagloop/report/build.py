"""Writes the report of a run or of several runs; an error in a report never fails a run."""

from collections.abc import Callable, Sequence
from pathlib import Path

from tagloop.errors import InputError, RunStopped
from tagloop.files import WRITE_ERRORS, whole_file
from tagloop.outcome.record import Outcome, read_outcome
from tagloop.pages.answers import Answers
from tagloop.pages.charts import require_packages
from tagloop.pages.page import render
from tagloop.processes.launch import quiet_libraries
from tagloop.report.compare import ComparedRun, comparison_sections, name_runs
from tagloop.report.curves import find_divergence, training_section
from tagloop.report.facts import facts_section, results_section
from tagloop.run import Run
from tagloop.tasks import has_module, task_module
from tagloop.wording import first_line


def write_report(folders: Sequence[Path], output: Path) -> None:
    """Write the report of one run, or a comparison of several runs. No model is loaded.

    Args:
        folders: the output folders of the runs.
        output: the HTML file to write.

    Raises:
        InputError: a folder has no run, the runs cannot be compared, or matplotlib is missing.
        RunStopped: the page cannot be written.
    """
    require_packages()
    quiet_libraries()
    outcomes = [read_outcome(folder) for folder in folders]
    text = _one(outcomes[0]) if len(outcomes) == 1 else _several(outcomes)
    try:
        with whole_file(output) as file:
            file.write(text)
    except WRITE_ERRORS as error:
        raise RunStopped(f"{output}: cannot be written: {error}") from None


def report_run(run: Run) -> None:
    """Write report.html into the folder of a finished run. Only the main process calls this.

    The function raises no error: if the report cannot be written, one line says why.
    """
    if not (run.config.report and run.config.do_train):
        return
    report_runs([run.folder], run.folder / "report.html", run.say)


def report_runs(folders: Sequence[Path], page: Path, say: Callable[[str], None]) -> None:
    """Write the report of one run or of several. Only the main process calls this.

    The function raises no error: if the report cannot be written, one line says why.

    Args:
        folders: the output folders of the runs.
        page: the HTML file to write.
        say: prints the line that names the page.
    """
    try:
        write_report(folders, page)
    except Exception as error:  # A run must not fail because of its report.
        say(f"{'report':<11} not written: {first_line(error)} (--no_report leaves it out)")
    else:
        say(f"{'report':<11} {page}")


def _read_answers(outcome: Outcome) -> Answers | None:
    task_name = outcome.config.task_name
    if not has_module(task_name, "answers"):
        return None
    return task_module(task_name, "answers").read_answers(outcome)


def _one(outcome: Outcome) -> str:
    config, answers = outcome.config, _read_answers(outcome)
    sections, scores = [], ()
    if has_module(config.task_name, "report"):
        module = task_module(config.task_name, "report")
        sections = module.build_sections(answers) if answers else []
        scores = module.CURVES
    if not answers:
        sections.append(results_section(outcome))
    sections += [training_section(outcome.metrics, scores), facts_section(outcome)]
    sections = [section for section in sections if section.text or section.blocks]
    warnings = find_divergence(outcome.metrics, answers.guessing_loss if answers else None)
    warnings += answers.warnings if answers else []
    model = config.model_name_or_path or "a model from scratch"
    about = f"{config.task_name}, {Path(str(model)).name}" if outcome.record else "predictions"
    updates = max((line["step"] for line in outcome.metrics), default=0)
    about += f", {updates:,} updates" if updates else ""
    return render(outcome.name, about, sections, notes=outcome.notes, warnings=warnings)


def _several(outcomes: Sequence[Outcome]) -> str:
    runs = [
        ComparedRun(name, outcome, _read_answers(outcome))
        for name, outcome in zip(name_runs(outcomes), outcomes, strict=True)
    ]
    sections = comparison_sections(runs)
    notes, warnings = [], []
    for run in runs:
        notes += [f"{run.name}: {note}" for note in run.outcome.notes]
        own = find_divergence(run.outcome.metrics, run.answers.guessing_loss)
        warnings += [f"{run.name}: {warning}" for warning in [*own, *run.answers.warnings]]
    subtitle = f"{outcomes[0].config.task_name}, {len(outcomes)} runs"
    title = " and ".join(run.name for run in runs)
    if len(runs) > 3:
        title = f"{runs[0].name} and {len(runs) - 1} other runs"
    return render(title, subtitle, sections, notes=notes, warnings=warnings)


def check_folders(folders: Sequence[Path]) -> None:
    """Raise InputError if a path is no folder, or if a folder is given twice."""
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; name the output folder of a training run")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise InputError("the same folder is given twice; a run does not differ from itself")
