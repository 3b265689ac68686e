"""Several models that predict together: the mean of their probabilities, then the label."""

import json
import shutil

import pytest
import torch
from launches import SMALL

import predict
import train_loop
from tagloop.tasks.tagging.tagger import load_tagger

TEXTS = ["Ann Lee lives in Oslo .", "Siemens AG won the Netacom Cup in Alderedstan ."]


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    """Two seeds of the sample."""
    folder = tmp_path_factory.mktemp("group") / "group"
    # Then every word has the likeliest label of its mean.
    options = ["--no_report", "--seeds=2,10", "--decoding=best"]
    train_loop.main([*SMALL, *options, f"--output_dir={folder}"])
    return folder


def predicted(capsys, *arguments):
    capsys.readouterr()
    assert predict.cli([*map(str, arguments), "--scores", "--text", *TEXTS]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def refused(capsys, *folders):
    capsys.readouterr()
    assert predict.cli([*map(str, folders), "--text", *TEXTS]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.mark.slow
def test_the_mean_of_the_probabilities_decides(group, capsys):
    rows = predicted(capsys, group)
    assert rows == predicted(capsys, group / "seed_2", group / "seed_10")
    members = [load_tagger(group / name) for name in ("seed_2", "seed_10")]
    differ = False
    for row, text in zip(rows, TEXTS, strict=True):
        words, shares = text.split(), []
        for member in members:
            encoded = member.tokenizer(words, is_split_into_words=True, return_tensors="pt")
            ids = encoded.word_ids(0)
            with torch.inference_mode():
                logits = member.model(**encoded).logits[0]
            shares.append(logits[[ids.index(at) for at in range(len(words))]].softmax(-1))
        mean = torch.stack(shares).mean(0)
        assert row["tokens"] == words
        assert row["tags"] == [members[0].labels[label] for label in mean.argmax(-1)]
        assert row["scores"] == pytest.approx(mean.max(-1).values.tolist(), abs=1.1e-4)
        differ |= bool((shares[0].argmax(-1) != shares[1].argmax(-1)).any())
    assert differ, "else the mean has nothing to decide"


@pytest.mark.slow
def test_one_model_or_the_same_twice_is_that_model(group, tmp_path, capsys):
    alone = predicted(capsys, group / "seed_2")
    shutil.copytree(group / "seed_2", tmp_path / "one" / "seed_1")
    assert predicted(capsys, tmp_path / "one") == alone
    shutil.copytree(group / "seed_2", tmp_path / "one" / "seed_3")
    assert predicted(capsys, tmp_path / "one") == alone


@pytest.mark.slow
def test_models_that_differ_in_labels_or_text_are_refused(group, trained, tmp_path, capsys):
    first, other = group / "seed_2", tmp_path / "other"
    assert "the same model is given twice" in refused(capsys, first, group)
    assert "has another way to cut text" in refused(capsys, first, trained)
    shutil.copytree(group / "seed_10", other)
    config = json.loads((other / "config.json").read_text())
    config["id2label"]["0"], config["id2label"]["1"] = "B-X", "B-Y"
    (other / "config.json").write_text(json.dumps(config))
    assert f"{other}: has another list of labels than {first}" in refused(capsys, first, other)
    config["tagloop"]["task"] = "classification"
    (other / "config.json").write_text(json.dumps(config))
    assert "is of --task_name classification" in refused(capsys, first, other)
    for folder in (first, other):
        copy = tmp_path / f"qa-{folder.name}"
        shutil.copytree(folder, copy)
        own = json.loads((copy / "config.json").read_text())
        own["tagloop"]["task"] = "qa"
        (copy / "config.json").write_text(json.dumps(own))
    assert "predict alone" in refused(capsys, tmp_path / "qa-seed_2", tmp_path / "qa-other")
