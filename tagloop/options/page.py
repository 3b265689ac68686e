"""The page docs/options.md: every option, from the fields of Config.

python -m tagloop.options.page > docs/options.md
"""

import sys
from dataclasses import Field

from tagloop.options.config import FIELDS
from tagloop.options.groups import groups
from tagloop.options.reading.values import describe_default, describe_values
from tagloop.options.settle import SETTLED
from tagloop.tasks import TASKS, sample_defaults

OPENING = (
    "```bash",
    "tagloop train --help                                  # the same list in a terminal",
    "tagloop train --config run.yaml --seed 2              # a file of options; the command wins",
    "tagloop train --num_train_epochs 5 --output_dir runs/five",
    "```",
)
# Field of Config -> when somebody gives this option.
MOST_NEEDED = {
    "train_file": "Your training data; `--validation_file` and `--test_file` beside it.",
    "model_name_or_path": "The encoder to start from: a name on the hub, or a folder.",
    "output_dir": "Where everything goes that the run leaves.",
    "task_name": "What is learned.",
    "learning_rate": "First of all: 2e-5 to 5e-5 for models of BERT's size, 1e-4 for small ones.",
    "num_train_epochs": "More for little data.",
    "per_device_train_batch_size": "As large as fits into the memory; "
    "with `--gradient_accumulation_steps` it makes the global batch.",
    "mixed_precision": "`bf16` on a GPU: faster, and less memory.",
    "load_best_model_at_end": "Keep the best evaluation instead of the last.",
    "resume_from_checkpoint": "`auto`, with `--checkpointing_steps 500`: "
    "the same command begins the run, and resumes it.",
}


def options_page() -> str:
    """The text of the page."""
    lines = [
        "# Options",
        "",
        *OPENING,
        "",
        "## The ten that most people need",
        "",
        "| option | default | |",
        "|---|---|---|",
        *_most_needed(),
        "",
        "## How to give them",
        "",
        "Made by `python -m tagloop.options.page > docs/options.md` from the options that all",
        "tasks share (`tagloop/options/config.py`, `fine_tuning.py`) and those of each task",
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
        f"of {', '.join(f'`--{name}`' for name in SETTLED)} are decided in",
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
            resume = "yes" if marks["may_change"] else ""
            lines.append(
                f"| {spellings} | {values} | {_default(field)} | {marks['help']} | {resume} |"
            )
    return "\n".join(lines) + "\n"


def _most_needed() -> list[str]:
    """A row of a table for each of the options in MOST_NEEDED."""
    return [
        f"| `--{name}` | {_default(FIELDS[name])} | {use} |" for name, use in MOST_NEEDED.items()
    ]


def _default(field: Field) -> str:
    """The default of an option; an option without a value has its default in words."""
    default = describe_default(field)
    return default if field.default is None else f"`{default}`"


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
