"""Lists of options by their marks and by the place of their definition; none is kept by hand."""

from tagloop.options.config import (
    FIELDS,
    FORMERLY,
    MAY_CHANGE_ON_RESUME,
    OF_ALL_TASKS,
    OPTIONS_OF_TASKS,
    SECRETS,
)
from tagloop.tasks import TASKS


def tasks_of(name: str) -> tuple[str, ...]:
    """The tasks that take an option, by its name, in the order of the table of tasks."""
    among = FIELDS[name].metadata["tasks"] or TASKS
    if name in OF_ALL_TASKS:
        return tuple(among)
    holders = (t for t, options in OPTIONS_OF_TASKS.items() if name in options.__dataclass_fields__)
    return tuple(task for task in holders if task in among)


def options_about(*subjects: str) -> tuple[str, ...]:
    """The names of all options about these subjects, as marks.option explains them."""
    return tuple(name for name, field in FIELDS.items() if field.metadata["about"] in subjects)


def options_to_share(options: dict, task_name: str) -> dict:
    """The values that a resumed run of a task must share with the earlier run.

    Args:
        options: values by name, of the earlier or of the resumed run. What an older run does not
            hold is what runs did before the option existed.
        task_name: the task of the run; the options of other tasks do not matter to it.
    """
    known = FORMERLY | options
    ignored = MAY_CHANGE_ON_RESUME | SECRETS
    ignored |= {name for name in FIELDS if task_name not in tasks_of(name)}
    return {name: value for name, value in known.items() if name not in ignored}
