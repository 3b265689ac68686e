"""Labels of texts as files really have them: spelt in several ways, missing, in another order."""

import json

import datasets
import pytest

from tagloop.data.rows import load_rows
from tagloop.errors import InputError
from tagloop.options.config import Config
from tagloop.sample.corpus import build_sample_texts
from tagloop.tasks.classification.check import check_task
from tagloop.tasks.classification.labels import as_named, labels_of_rows
from tagloop.tasks.classification.task import choose_columns


def write_csv(path, labels):
    lines = ["text;label", *(f"text {at};{label}" for at, label in enumerate(labels)), ""]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def write_classes(path, names, numbers):
    """A parquet file whose labels are integers, with their names beside them."""
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)}
    )
    rows = {"text": [f"text {at}" for at, _ in enumerate(numbers)], "label": numbers}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(path)
    return path


def build_config(**files) -> Config:
    options = {f"{split}_file": str(file) for split, file in files.items()}
    return Config(task_name="classification", **options)


def read(**files) -> tuple[list[str], dict[str, list]]:
    """The classes, and the gold class of every row by split; numbers of a regression."""
    config = build_config(**files)
    rows = load_rows(config, lambda *table: choose_columns(config, *table), build_sample_texts)
    classes = as_named(config, labels_of_rows(rows)).classes
    label2id = {name: number for number, name in enumerate(classes)} or None
    gold = {
        split: [rows.value_of(cell, "label", label2id) for cell in dataset["label"]]
        for split, dataset in rows.splits.items()
    }
    if classes:
        gold = {
            split: [None if value is None else classes[value] for value in values]
            for split, values in gold.items()
        }
    return classes, gold


@pytest.mark.parametrize(
    ("train", "other"),
    [(["0", "1"], ["0.0", "1.0"]), (["1.0", "0.0"], ["1", "0"]), (["+1", "-1"], ["1", "-1.0"]),
     (["01", "02"], ["1", "2"])],
)  # fmt: skip
def test_a_number_is_one_class_however_it_is_spelt(train, other, tmp_path):
    files = {
        "train": write_csv(tmp_path / "a.csv", train * 2),
        "validation": write_csv(tmp_path / "b.csv", [*other, ""]),
    }
    classes, gold = read(**files)
    assert sorted(classes) == sorted(train)
    assert gold == {"train": train * 2, "validation": [*train, None]}
    report = check_task(build_config(**files))
    assert not any("unseen" in kind for kind in report.problems)
    assert any("is the class" in text for _, text in report.facts)


def test_ids_with_more_digits_than_a_float_are_classes_of_their_own(tmp_path):
    ids = ["1234567890123456781", "1234567890123456782", "1234567890123456783"]
    classes, gold = read(train=write_csv(tmp_path / "a.csv", ids * 2))
    assert sorted(classes) == ids
    assert gold == {"train": ids * 2}


def test_a_model_keeps_its_spelling_of_the_classes(tmp_path):
    (tmp_path / "model").mkdir()
    facts = {"model_type": "bert", "id2label": {"0": "0", "1": "1"}, "label2id": {"0": 0, "1": 1}}
    (tmp_path / "model" / "config.json").write_text(json.dumps(facts))
    config = build_config(validation=write_csv(tmp_path / "a.csv", ["1.0", "0.0"]))
    config = Config(**vars(config) | {"model_name_or_path": str(tmp_path / "model")})
    rows = load_rows(config, lambda *table: choose_columns(config, *table), build_sample_texts)
    assert as_named(config, labels_of_rows(rows)).classes == ["0", "1"]


def test_each_file_has_an_order_of_its_own_of_the_names(tmp_path):
    classes, gold = read(
        train=write_classes(tmp_path / "a.parquet", ["neg", "pos"], [0, 1, 1]),
        validation=write_classes(tmp_path / "b.parquet", ["pos", "neg"], [0, 1, -1]),
        test=write_classes(tmp_path / "c.parquet", ["new", "pos"], [0, 1]),
    )
    assert classes == ["neg", "pos", "new"]
    assert gold["train"] == ["neg", "pos", "pos"]
    assert gold["validation"] == ["pos", "neg", None]
    assert gold["test"] == ["new", "pos"]


@pytest.mark.parametrize("named", ["train", "validation"])
@pytest.mark.parametrize("others", [["pos", "neg"], ["1", "0"]])
def test_integers_with_names_beside_words_or_bare_integers(named, others, tmp_path):
    (other,) = {"train", "validation"} - {named}
    files = {
        named: write_classes(tmp_path / "a.parquet", ["neg", "pos"], [0, 1]),
        other: write_csv(tmp_path / "b.csv", others),
    }
    classes, gold = read(**files)
    assert classes == ["neg", "pos"]
    assert gold == {named: ["neg", "pos"], other: ["pos", "neg"]}
    report = check_task(build_config(**files))
    assert not any("unseen" in kind for kind in report.problems)


def test_an_integer_without_a_name_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"b.csv:3: the label 2 has no name"):
        read(
            train=write_classes(tmp_path / "a.parquet", ["neg", "pos"], [0, 1]),
            validation=write_csv(tmp_path / "b.csv", ["0", "2"]),
        )


def test_names_of_what_is_predicted_shape_nothing(tmp_path):
    classes, _ = read(
        train=write_classes(tmp_path / "a.parquet", ["neg", "pos"], [0, 1]),
        predict=write_classes(tmp_path / "b.parquet", ["other", "pos"], [0, 1]),
    )
    assert classes == ["neg", "pos"]


def test_nan_of_json_is_no_class(tmp_path):
    rows = '{"text":"a","label":"pos"}\n{"text":"b","label":NaN}\n{"text":"c","label":"neg"}\n'
    (tmp_path / "a.jsonl").write_text(rows)
    classes, gold = read(train=tmp_path / "a.jsonl")
    assert classes == ["neg", "pos"]
    assert gold["train"] == ["pos", None, "neg"]


@pytest.mark.parametrize("labels", [["3,5", "4,0", "2"], ["0,2", "1"], ["1,200", "3,400"]])
def test_numbers_with_commas_are_refused(labels, tmp_path):
    file = write_csv(tmp_path / "a.csv", labels)
    with pytest.raises(InputError, match="has a comma in it"):
        read(train=file)
    assert check_task(build_config(train=file)).problems["labels that cannot be read"]
