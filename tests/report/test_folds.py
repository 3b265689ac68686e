"""--folds: each sentence is predicted once, by a model that has not seen it; label errors."""

import csv
import json
from collections import Counter

import numpy as np
import pytest
from launches import read_json
from loading import get_fault, get_rows, load

import report
import tagloop
import train_loop
from tagloop.data.storage.folds import divide
from tagloop.sample.corpus import build_sample_corpus, build_sample_texts

OPTIONS = ["--num_train_epochs=6", "--per_device_train_batch_size=12",
           "--learning_rate=6e-3", "--no_report"]  # fmt: skip
NUM_DOCUMENTS, WRONG = 30, (7, 61)


def write_data(path):
    """Documents of three sentences; in two sentences each person is annotated as a place."""
    rows = build_sample_corpus()["train"][: 3 * NUM_DOCUMENTS]
    wrong = [row for row, each in enumerate(rows) if "B-PER" in each["ner_tags"]]
    wrong = [next(row for row in wrong if row >= first) for first in WRONG]
    lines = []
    for row, each in enumerate(rows):
        lines += ["-DOCSTART- O\n\n"] if row % 3 == 0 else []
        tags = each["ner_tags"]
        if row in wrong:
            tags = [tag.replace("PER", "LOC") for tag in tags]
        lines += [f"{word} {tag}\n" for word, tag in zip(each["tokens"], tags, strict=True)] + [
            "\n"
        ]
    path.write_text("".join(lines), encoding="utf-8")
    return rows, wrong


@pytest.fixture(scope="module")
def crossed(tmp_path_factory, trained):
    """The data, the sentences with wrong annotations, and the folder of a cross-validation."""
    folder = tmp_path_factory.mktemp("folds")
    rows, wrong = write_data(folder / "data.conll")
    arguments = [*OPTIONS, f"--train_file={folder / 'data.conll'}", f"--tokenizer_name={trained}"]
    arguments += [f"--config_name={trained}"]
    train_loop.main([*arguments, "--folds=3", "--report", f"--output_dir={folder / 'group'}"])
    return rows, wrong, folder / "group", arguments


def sentences_of(path):
    blocks = path.read_text(encoding="utf-8").strip("\n").split("\n\n")
    return [[line.split(" ")[0] for line in block.split("\n")] for block in blocks]


@pytest.mark.slow
def test_every_sentence_is_predicted_once_by_a_model_that_has_not_seen_it(crossed):
    rows, _, group, _ = crossed
    blocks = (group / "predictions.conll").read_text(encoding="utf-8").strip("\n").split("\n\n")
    assert len(blocks) == len(rows)
    shares, seen = [], Counter()
    for block, row in zip(blocks, rows, strict=True):
        words, _, predicted, scores = zip(
            *(line.split(" ") for line in block.split("\n")), strict=True
        )
        assert list(words) == row["tokens"]
        shares.append((predicted, [float(score) for score in scores]))
    order = [tuple(row["tokens"]) for row in rows]
    for number in (1, 2, 3):
        fold = group / f"fold_{number}"
        tested = {tuple(words) for words in sentences_of(fold / "predictions.conll")}
        seen.update(tested)
        # The model of this fold gives these sentences the tags of the joined file.
        tagger = tagloop.load_tagger(fold)
        own = [row for row, words in enumerate(order) if words in tested]
        for row, tagged in zip(own, tagger([list(order[row]) for row in own]), strict=True):
            assert tuple(tagged.tags) == shares[row][0]
            assert tagged.scores == pytest.approx(shares[row][1], abs=2e-4)
        documents = {row // 3 for row in own}
        assert len(own) == 3 * len(documents), "a document is in one part as a whole"
    assert seen == Counter(set(order))
    record = read_json(group / "folds.json")
    assert record["runs"] == ["fold_1", "fold_2", "fold_3"]
    tests = [read_json(group / run / "test_results.json")["test_f1"] for run in record["runs"]]
    assert record["scores"]["test_f1"]["values"] == tests


@pytest.mark.slow
def test_wrong_annotations_are_found_first(crossed):
    rows, wrong, group, _ = crossed
    with (group / "label_errors.tsv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file, delimiter="\t"))
    assert [float(one["margin"]) for one in found] == sorted(float(one["margin"]) for one in found)
    for row in wrong:
        own = [one for one in found if int(one["row"]) == row + 1]
        first = min(own, key=lambda one: int(one["rank"]))
        assert int(first["rank"]) <= len(found) // 4
        name, line = first["place"].rsplit(":", 1)
        text = (group.parent / "data.conll").read_text().split("\n")[int(line) - 1]
        assert (name.endswith("data.conll"), text.split(" ")[0]) == (True, rows[row]["tokens"][0])
    page = (group / "label_errors.html").read_text(encoding="utf-8")
    assert "The most suspicious annotations" in page
    assert found[0]["gold_words"] in page


@pytest.mark.slow
def test_a_fold_alone_is_the_same_run_and_folds_go_on(crossed, tmp_path, capfd):
    _, _, group, arguments = crossed
    alone = tmp_path / "alone"
    train_loop.main([*arguments, "--folds=3", "--fold=2", f"--output_dir={alone}"])
    for name in ("model.safetensors", "metrics.jsonl", "predictions.npz"):
        assert (alone / name).read_bytes() == (group / "fold_2" / name).read_bytes(), name
    before = {path.name: path.read_bytes() for path in group.iterdir() if path.is_file()}
    capfd.readouterr()
    train_loop.main([*arguments, "--folds=3", "--report", f"--output_dir={group}"])
    assert capfd.readouterr().out.count("this run is finished") == 3
    assert {path.name: path.read_bytes() for path in group.iterdir() if path.is_file()} == before
    assert report.main([str(alone)]).is_file(), "a fold is read again for its report"


@pytest.mark.slow
def test_classes_of_texts_are_joined_and_suspected_too(tmp_path):
    texts = build_sample_texts()["train"][:180]
    labels = sorted({row["label"] for row in texts})
    wrong = texts[40] | {"label": next(label for label in labels if label != texts[40]["label"])}
    rows = [*texts[:40], wrong, *texts[41:]]
    file, group = tmp_path / "data.jsonl", tmp_path / "group"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    base = tmp_path / "base"
    small = ["--task_name=classification", "--per_device_train_batch_size=12", "--no_report"]
    train_loop.main([*small, "--max_train_steps=1", f"--output_dir={base}"])
    train_loop.main(
        [*small, f"--train_file={file}", f"--config_name={base}", f"--tokenizer_name={base}",
         "--learning_rate=4e-3", "--num_train_epochs=6", "--folds=3", f"--output_dir={group}"]
    )  # fmt: skip
    lines = (group / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    shown = [json.loads(line) for line in lines]
    assert [row["text"] for row in shown] == [row["text"] for row in rows]
    assert [row["label"] for row in shown] == [row["label"] for row in rows]
    right = sum(row["label"] == row["predicted_label"] for row in shown)
    assert right > 0.6 * len(rows), "else a wrong label is no surprise"
    with (group / "label_errors.tsv").open(encoding="utf-8", newline="") as read:
        found = list(csv.DictReader(read, delimiter="\t"))
    assert len(found) == len(rows) - right
    assert not (group / "label_errors.html").exists()
    own = next(one for one in found if one["row"] == "41")
    assert int(own["rank"]) <= len(found) // 3
    assert own["place"] == f"{file}:41"


@pytest.mark.parametrize("num_parts", [2, 3, 7])
def test_parts_keep_groups_together_and_are_of_similar_size(num_parts):
    groups = np.random.default_rng(1).integers(0, 40, 500)
    parts = divide(groups, num_parts, seed=3)
    for group in range(40):
        assert len({*parts[groups == group]}) <= 1
    sizes = np.bincount(parts)
    assert len(sizes) == num_parts
    assert np.ptp(sizes) <= np.bincount(groups).max()
    assert (divide(groups, num_parts, seed=4) != parts).any()


def test_the_same_sentence_stays_in_one_part_without_documents(tmp_path):
    rows = [{"tokens": ["Oslo", str(number)], "ner_tags": ["B-LOC", "O"]} for number in range(20)]
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *rows]), encoding="utf-8")
    tested = []
    for fold in (1, 2, 3):
        splits = load(train_file=path, folds=3, fold=fold).splits
        own, others = ({row[0][1] for row in get_rows(splits[s])} for s in ("test", "train"))
        assert not own & others
        tested += [row[0][1] for row in get_rows(splits["test"])]
    assert Counter(tested) == {str(number): 2 for number in range(20)}


def test_fewer_documents_than_parts_are_refused(tmp_path):
    file = tmp_path / "data.conll"
    file.write_text("-DOCSTART- O\n\nOslo B-LOC\n\n-DOCSTART- O\n\nBob B-PER\n\nhe O\n")
    assert "has 2 documents" in get_fault(train_file=file, folds=3, fold=1)


def test_a_last_run_keeps_the_documents_of_both_splits_apart(tmp_path):
    """The last one of the training data, and the first one of the validation data."""
    text = "-DOCSTART- O\n\nOslo B-LOC\n\nhe O\n\n-DOCSTART- O\n\nBob B-PER\n"
    for split in ("train", "validation"):
        (tmp_path / f"{split}.conll").write_text(text)
    files = {f"{split}_file": tmp_path / f"{split}.conll" for split in ("train", "validation")}
    splits = load(**files, train_on_validation=True).splits
    assert list(splits) == ["train"]
    assert splits["train"][:]["document"] == [0, 0, 1, 2, 2, 3]
