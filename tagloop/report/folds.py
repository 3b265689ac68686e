"""What the runs of --folds say together: predictions of all training data, likely label errors.

Each row is predicted by the one run that has not learned from it. How predictions are joined is
known to the task: folds.py of its folder.
"""

from collections.abc import Sequence
from pathlib import Path

from tagloop.files import write_text
from tagloop.outcome.record import read_outcome
from tagloop.pages.charts import require_jinja
from tagloop.pages.label_errors import ranked, sections, table_text
from tagloop.pages.page import render
from tagloop.tasks import has_module, task_module

TABLE, PAGE = "label_errors.tsv", "label_errors.html"
FILES_OF_FOLDS = ("predictions.conll", "predictions.jsonl", TABLE, PAGE)


def write_folds(task_name: str, folders: Sequence[Path], output: Path, *, page: bool) -> list[str]:
    """Write the predictions of all folds, and the likely label errors.

    Args:
        folders: the output folders of the runs, one for each fold.
        output: the folder to write into.
        page: True writes the page, too; it needs jinja2.

    Returns:
        The names of the files that were written; [] for a task that cannot join its folds.

    Raises:
        InputError: a run has left no predictions, or its data has changed since.
        OSError: a file cannot be written.
    """
    if not has_module(task_name, "folds"):
        return []
    module = task_module(task_name, "folds")
    outcomes = [read_outcome(folder) for folder in folders]
    joined = module.join_folds(outcomes)
    suspects = ranked(joined.suspects)
    places = module.places_of(outcomes[0], [one.row for one in suspects])
    written = dict(joined.files) | {TABLE: table_text(suspects, places)}
    if page:
        require_jinja("the page")
        title = f"Label errors of {output.resolve().name}"
        written[PAGE] = render(
            title, f"{task_name}, {len(folders)} folds", sections(suspects, places)
        )
    for name, text in written.items():
        write_text(output / name, text)
    return list(written)
