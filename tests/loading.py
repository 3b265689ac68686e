"""Files written and corpora loaded in a line of a test."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tagloop.data.words.corpus import load_corpus
from tagloop.errors import InputError
from tagloop.tasks.tagging.kinds import read_choices

SPLITS = ["train", "validation", "test", "predict"]


def build_options(**given) -> SimpleNamespace:
    options = dict.fromkeys(
        [
            *("dataset_name", "dataset_config_name", "dataset_revision", "hub_token"),
            *("train_split_name", "eval_split_name"),
            *("train_file", "validation_file", "test_file", "predict_file", "labels_file"),
            *("text_column_name", "label_column_name", "document_column_name", "label_scheme"),
            *("validation_fraction", "validation_split_percentage"),
            *("max_train_samples", "max_eval_samples", "max_predict_samples"),
            *("folds", "fold", "train_on_validation"),
        ]
    )
    options |= {"task_name": "ner", "seed": 42, "misaligned": "error", "context_tokens": 0}
    options |= {name: str(v) if isinstance(v, Path) else v for name, v in given.items()}
    return SimpleNamespace(**options)


def load(*splits: str, **given):
    options = build_options(**given)
    return load_corpus(options, read_choices(options), splits or SPLITS)


def get_rows(dataset) -> list[tuple[list, list]]:
    return list(zip(dataset[:]["tokens"], dataset[:]["tags"], strict=True))


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def get_fault(**given) -> str:
    with pytest.raises(InputError) as caught:
        load(**given)
    return str(caught.value)
