"""The groups of options in --help and on the page of options."""

import dataclasses

from tagloop.options.config import FIELDS
from tagloop.options.lists import tasks_of
from tagloop.tasks import TASKS


def groups() -> dict[str, list[dataclasses.Field]]:
    """Title of a group -> its options: first those that all tasks take, then those of some."""
    found: dict[str, list[dataclasses.Field]] = {}
    title = ""
    for name, field in FIELDS.items():
        tasks = tasks_of(name)
        title = field.metadata["group"] or title
        own_title = title if len(tasks) == len(TASKS) else f"Only for {', '.join(tasks)}"
        found.setdefault(own_title, []).append(field)
    return found
