"""The one table of tasks: what --task_name may be, and the folder that holds everything of it.

Nothing outside of a task's folder names that task. A folder has these modules:

    options.py  Options (what only this task takes), SAMPLE_DEFAULTS (of a run without data and
                model), OWN_SAMPLE_DEFAULTS (where one task of the folder has others, by its name;
                may be missing), DEFAULTS (of shared options, where they are not the usual ones;
                may be missing), EXPORT_FORMATS (that export.py can write),
                find_problems(config); read before torch is imported, so it imports only
                tagloop.options.marks
    task.py     load_task(config, pad_to_multiple_of=1) -> a Task, as tasks/task.py describes it
    check.py    check_task(config) -> what --check_data says
    card.py     what the model card says
    export.py   what export.py compares; a task without this module cannot be exported
    predictor.py  what predict.py applies: FORMATS (of files; None: all), SPLITS_WORDS (True if it
                takes --words), example_input(task), content_reader(folder), and
                load_predictor(folder, batch_size, device, mixed_precision), with `words` if it
                takes --words; HAS_MEAN = True if several models may predict together, by the mean
                of the softmax of their logits (may be missing)
    answers.py  read_answers(outcome) -> gold answers beside what a finished run predicted, or None
    report.py   build_sections(answers) -> sections of its report; CURVES: scores drawn over updates
    folds.py    join_folds(outcomes) -> what the runs of --folds predicted, and the annotations
                that they contradict; places_of(outcome, rows): where these rows stand

answers.py, report.py and folds.py may be missing: the report then has what every run has. Without
predictor.py, predict.py refuses the models of a task.
"""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from tagloop.files import read_json

TASKS = {  # the first is the default of --task_name
    "ner": "tagging",
    "pos": "tagging",
    "chunk": "tagging",
    "classification": "classification",
    "clm": "language_modelling",
    "mlm": "language_modelling",
    "t5_mlm": "language_modelling",
    "qa": "qa",
    "summarization": "summarization",
    "speech": "speech",
}


PLAIN_TAGS = "--task_name pos"  # what to give for tags of words that mark no spans


def task_module(task_name: str, name: str) -> ModuleType:
    """A module of a task's folder: ("ner", "check") is `tagloop.tasks.tagging.check`."""
    return import_module(f"tagloop.tasks.{TASKS[task_name]}.{name}")


def has_module(task_name: str, name: str) -> bool:
    """True if the folder of a task has this module; False for a task that is not in the table."""
    return task_name in TASKS and bool(find_spec(f"tagloop.tasks.{TASKS[task_name]}.{name}"))


def sample_defaults(task_name: str) -> dict[str, object]:
    """The defaults of a run without data and model, by the names of the options."""
    own = task_module(task_name, "options")
    return own.SAMPLE_DEFAULTS | getattr(own, "OWN_SAMPLE_DEFAULTS", {}).get(task_name, {})


def task_of(folder: Path) -> str:
    """The task that a model was trained for; the first task if no file of the folder says it."""
    facts = read_json(folder / "config.json").get("tagloop")
    options = read_json(folder / "run.json").get("options")
    named = [
        values.get(name)
        for values, name in ((facts, "task"), (options, "task_name"))
        if isinstance(values, dict)
    ]
    return next((name for name in named if name in [*TASKS]), next(iter(TASKS)))
