"""The model card, README.md of the output folder: its text is for people, its head for the hub."""

import hashlib
import os
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from tagloop.files import real_path, write_text
from tagloop.options.config import FIELDS, Config
from tagloop.options.lists import options_about
from tagloop.options.settle import settle
from tagloop.output.hub import name_of
from tagloop.output.own_files import CARD
from tagloop.run import Run
from tagloop.streams import visible
from tagloop.tasks.card_facts import CardFacts
from tagloop.tasks.task import Scores

SEAL = "\n<!-- Written by tagloop, which leaves it alone once it is edited: {} -->\n"
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
SPLITS = {"eval": "validation", "test": "test"}
# All other options say nothing about the trained model.
PUBLISHED = options_about("data", "model", "training")


def write_card(run: Run, scores: dict[str, Scores], environment: dict) -> None:
    """Write README.md, unless the user wrote or changed it. Only the main process calls this.

    Args:
        scores: the scores by part of the run: "train", "eval", "test".
        environment: the result of describe_environment.

    Raises:
        OSError: the file cannot be written.
    """
    path = run.folder / CARD
    if path.exists() and not is_own_card(path):
        run.warn(f"{path} is not as tagloop wrote it and stays; it may be out of date")
        return
    facts = run.task.card()
    shown = {part: scores[part] for part in SPLITS if part in scores}
    shown = {
        part: Scores(_known(each.values, facts.metrics), each.by_type)
        for part, each in shown.items()
    }
    text = "\n".join(_body(run, facts, shown, environment))
    head = _metadata(run, facts, shown).to_yaml()
    card = str(ModelCard(f"---\n{head}\n---\n{text}\n"))
    write_text(path, card + SEAL.format(_digest(card)))


def is_own_card(path: Path) -> bool:
    """True if a card is unchanged since write_card wrote it."""
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, ValueError):
        return False
    card, start, _ = text.rpartition(SEAL.partition("{}")[0])
    return bool(start) and text == card + SEAL.format(_digest(card))


def _digest(card: str) -> str:
    return hashlib.sha256(card.encode("utf-8")).hexdigest()


def _known(values: dict[str, float | None], metrics: dict[str, str]) -> dict[str, float]:
    """The scores that have a name on the hub, as Python floats, which YAML can write."""
    return {k: float(v) for k, v in values.items() if k in metrics and v is not None}


def _metadata(run: Run, facts: CardFacts, scores: dict[str, Scores]) -> ModelCardData:
    config, metric = run.config, facts.type_metric
    results = []
    for part, (values, by_type) in scores.items():
        named = [(k.replace("_", " "), facts.metrics[k], v) for k, v in values.items()]
        for type_, each in by_type.items():
            named.append((f"{metric} of {type_}", metric, float(each[metric])))
        results += [
            EvalResult(
                task_type=facts.pipeline_tag,
                dataset_type=re.sub(r"[^\w./-]+", "-", _source(config, SPLITS[part])),
                dataset_name=_source(config, SPLITS[part]),
                dataset_config=config.dataset_config_name,
                dataset_revision=config.dataset_revision,
                dataset_split=SPLITS[part],
                metric_type=kind,
                metric_name=name,
                metric_value=round(value, 4),
            )
            for name, kind, value in named
        ]
    return ModelCardData(
        base_model=config.model_name_or_path if _on_hub(config.model_name_or_path) else None,
        datasets=[config.dataset_name] if _on_hub(config.dataset_name) else None,
        library_name="transformers",
        pipeline_tag=facts.pipeline_tag,
        tags=["tagloop", config.task_name],
        metrics=sorted({result.metric_type for result in results}) or None,
        model_name=visible(name_of(config, run.folder).rpartition("/")[2]),
        eval_results=results or None,
    )


def _on_hub(name: str | None) -> bool:
    return bool(name) and bool(HUB_NAME.fullmatch(name)) and not os.path.exists(name)


def _source(config: Config, split: str) -> str:
    """The name of the data of a split; of a path only its last part, because cards are public."""
    file = getattr(config, f"{split}_file", None)
    if file is None and split == "validation" and config.validation_fraction:
        return f"{config.validation_fraction:g} of {_source(config, 'train')}"
    if file is None and split == "test" and config.fold:
        return f"part {config.fold} of {config.folds} of {_source(config, 'train')}"
    first_rows = config.validation_split_percentage and config.train_file
    if file is None and split == "validation" and first_rows:
        return f"the first {config.validation_split_percentage}% of {_source(config, 'train')}"
    if file or config.dataset_name:
        name = file or config.dataset_name
        return name if _on_hub(name) and not file else visible(real_path(Path(name)).name)
    return "tagloop's sample corpus"


def _body(run: Run, facts: CardFacts, scores: dict[str, Scores], environment: dict) -> list[str]:
    config, name = run.config, name_of(run.config, run.folder)
    base = config.model_name_or_path
    origin = f"Fine-tuned from {_text(base if _on_hub(base) else Path(base).name)}" if base else (
        "Trained from scratch"
    )  # fmt: skip
    lines = [f"# {_text(name)}", "", f"{facts.title}. {origin} with tagloop.", ""]
    columns = list(dict.fromkeys(column for each in scores.values() for column in each.values))
    rows = [
        [SPLITS[part], *(f"{each.values[c]:.4f}" if c in each.values else "" for c in columns)]
        for part, each in scores.items()
    ]
    if rows:
        lines += ["## Scores", "", *_table(["", *columns], rows)]
        if facts.note and columns:
            lines += [facts.note, ""]
    for part, (_, by_type) in scores.items():
        if by_type:
            header = [f"{SPLITS[part]}, by type", *next(iter(by_type.values()))]
            values = [
                [type_, *(f"{v:.4f}" if isinstance(v, float) else f"{v:,}" for v in each.values())]
                for type_, each in by_type.items()
            ]
            lines += _table(header, values)
    lines += ["## Use", "", *_usage(facts, name)]
    if facts.labels:
        labels = ", ".join(map(_text, facts.labels))
        lines += ["## Labels", "", f"{len(facts.labels)}: {labels}", ""]
    lines += ["## Data", ""]
    rows = [[split, _source(config, split), size] for split, size in facts.sizes.items()]
    lines += _table(["split", "from", "size"], rows, align="---")
    return [*lines, *_training(run, environment)]


def _usage(facts: CardFacts, name: str) -> list[str]:
    folder = name.rpartition("/")[2]  # of a download from the hub, too
    values = {"model": repr(name), "folder": repr(folder), "folder_word": _shell_word(folder)}
    names = re.compile("{(" + "|".join(values) + ")}")
    return [names.sub(lambda found: values[found[1]], line) for line in facts.usage]


def _training(run: Run, environment: dict) -> list[str]:
    """Lines about the training: updates, device, options that are not the defaults, versions."""
    config = run.config
    defaults = settle(Config(task_name=config.task_name, do_train=config.do_train), None)
    given = []
    for name in PUBLISHED:
        value, marks = getattr(config, name), FIELDS[name].metadata
        if value is None or value == getattr(defaults, name):
            continue
        if value and (marks["is_path"] or (marks["is_hub_name"] and not _on_hub(value))):
            value = real_path(Path(value)).name
        value = str(value).lower() if isinstance(value, bool) else str(value)
        given.append(f"--{name} {_shell_word(value)}")
    device = f"{environment['num_processes']} x {environment['device']}"
    versions = [f"{package} {version}" for package, version in environment["versions"].items()]
    return [
        "## Training",
        "",
        f"{run.state.step:,} updates, each of {run.global_batch_size} examples, on {device}, "
        f"precision {environment['mixed_precision']}. Options other than the "
        "defaults (run.json has all, and the data's fingerprints):",
        "",
        *(f"    {option}" for option in given),
        "",
        f"Versions: {', '.join(versions)}.",
    ]


def _table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, align: str = "---:"
) -> list[str]:
    lines = [f"| {' | '.join(map(_text, row))} |" for row in (header, *rows)]
    return [lines[0], "|---|" + f"{align}|" * (len(header) - 1), *lines[1:], ""]


def _shell_word(text: str) -> str:
    """Quote a word for a command line of the shell; line breaks in the word are escaped."""
    if text.isprintable():
        return shlex.quote(text)
    escaped = text.encode("unicode_escape").decode("ascii").replace("'", "\\'")
    return f"$'{escaped}'"


def _text(text: str) -> str:
    r"""Escape a text for Markdown; a tag may be called `*` or |."""
    return re.sub(r"([\\`*_\[\]<>|$&~])", r"\\\1", visible(text))
