"""The page docs/options.md: every option, from the fields of Config.

python -m tagloop.options.page > docs/options.md
"""

import sys

from tagloop.options.groups import groups
from tagloop.options.reading.values import describe_default, describe_values
from tagloop.options.settle import SETTLED
from tagloop.tasks import TASKS, sample_defaults


def options_page() -> str:
    """The text of the page."""
    lines = [
        "# Options",
        "",
        "Made by `python -m tagloop.options.page > docs/options.md` from the options that all",
        "tasks share (`tagloop/options/config.py`) and those of each task",
        "(`options.py` of its folder in `tagloop/tasks`).",
        "",
        "`--name value` or `--name=value`; hyphens and underscores are the same, and a name may be",
        "shortened as long as one option fits. Options that are true or false need no value:",
        "`--debug` is `--debug true`. `--config FILE` reads `name: value` lines of YAML, or JSON.",
        "Defaults < sample defaults < file < command line. The sample defaults, without data and",
        "model options, are:",
        "",
        *_sample_defaults(),
        "",
        "Default: a value, or in words what the run does if the option is not given. The defaults",
        f"of {' and '.join(f'`--{name}`' for name in SETTLED)} are decided in",
        "`tagloop/options/settle.py`, because a resumed run goes on as it began.",
        "Resume: yes where a resumed run may be given another value.",
    ]
    for title, fields in groups().items():
        lines += ["", f"## {title}", "", "| option | value | default | | resume |"]
        lines += ["|---|---|---|---|---|"]
        for field in fields:
            marks = field.metadata
            spellings = ", ".join(f"`{word}`" for word in (f"--{field.name}", *marks["aliases"]))
            bounds = "".join(f", {k} {v}" for k, v in marks["bounds"].items() if v is not None)
            values = describe_values(field).replace("|", " \\| ")
            values += bounds.replace("least", "at least")
            default = describe_default(field)
            default = default if field.default is None else f"`{default}`"
            resume = "yes" if marks["may_change"] else ""
            lines.append(f"| {spellings} | {values} | {default} | {marks['help']} | {resume} |")
    return "\n".join(lines) + "\n"


def _sample_defaults() -> list[str]:
    """A line for each set of sample defaults: the tasks, and their values."""
    tasks: dict[str, list[str]] = {}
    for task in TASKS:
        defaults = sample_defaults(task)
        values = ", ".join(f"`--{name} {value}`" for name, value in defaults.items())
        tasks.setdefault(values, []).append(task)
    return [f"- {', '.join(names)}: {values}" for values, names in tasks.items()]


if __name__ == "__main__":
    sys.stdout.write(options_page())
