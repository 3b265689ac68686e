"""export.py: what is written tags as the model does; what does not is refused and not written."""

import json
import re
import shutil
from importlib.util import find_spec

import pytest
import torch
from launches import REPO, read_json
from tiny import as_legal

import export
import predict
from tagloop.data.words.schemes import illegal_transitions
from tagloop.errors import InputError, RunStopped
from tagloop.tasks.tagging.tagger import load_tagger

PAGE = REPO / "docs" / "export.md"
PACKAGES = ("onnx", "onnxruntime", "onnxscript")
needs_onnx = pytest.mark.skipif(
    not all(map(find_spec, PACKAGES)), reason="needs pip install -r requirements-export.txt"
)
TEXTS = ["Ann Lee lives in Oslo .", "", "The Acme Group of Berlin met Omar Haddad in May ."] * 3


@needs_onnx
@pytest.mark.slow
def test_an_export_tags_as_the_model_does(trained, tmp_path, capfd):
    folder = tmp_path / "export" / "onnx"
    facts = export.main([str(trained), "--format", "onnx", "--output", str(folder)])
    ours = read_json(trained / "all_results.json")["eval_f1"]
    assert facts["model"]["f1"] == facts["float32"]["f1"] == ours > 0
    assert facts == read_json(folder / "export.json")
    words = [
        block.split("\n")
        for block in re.sub(" .*", "", (trained / "predictions.conll").read_text())
        .strip()
        .split("\n\n")
    ]
    tags = [" ".join(tagged.tags) for tagged in load_tagger(folder)(words)]
    assert tags == (trained / "predictions.txt").read_text().splitlines()
    snippet = re.search("```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]
    capfd.readouterr()
    exec(compile(snippet.replace("runs/mine-onnx", str(folder)), str(PAGE), "exec"), {})
    (tagged,) = load_tagger(trained)([["Ann", "Lee", "lives", "in", "Oslo", "."]])
    assert capfd.readouterr().out == f"{tagged.tags}\n"
    found, expected = load_tagger(folder)(TEXTS), load_tagger(trained)(TEXTS)
    assert [t.entities for t in found] == [t.entities for t in expected]
    legal = [load_tagger(as_legal(each, tmp_path / each.name))(words) for each in (folder, trained)]
    assert [t.tags for t in legal[0]] == [t.tags for t in legal[1]]
    assert not any(illegal_transitions(t.tags, "IOB2") for t in legal[0])
    capfd.readouterr()
    assert predict.cli([str(folder), "--text", TEXTS[0]]) == 0  # as a user would
    onnx = capfd.readouterr().out
    assert predict.cli([str(trained), "--text", TEXTS[0]]) == 0
    assert capfd.readouterr().out == onnx


@needs_onnx
@pytest.mark.slow
def test_int8_is_smaller_and_judged_by_its_score(trained, tmp_path, monkeypatch, capfd):
    folder = tmp_path / "int8"
    monkeypatch.setattr(export, "MAY_LOSE", 1.0)
    facts = export.main([str(trained), "--int8", "--output", str(folder)])
    size = (folder / "model.onnx").stat().st_size
    assert size < 0.6 * (trained / "model.safetensors").stat().st_size
    told = "not faster" in capfd.readouterr().out
    assert told != facts["faster"]
    assert len(load_tagger(folder)(TEXTS)) == len(TEXTS)

    monkeypatch.setattr(export, "MAY_LOSE", -2.0)  # whatever it loses is too much
    assert export.cli([str(trained), "--int8", "--output", str(tmp_path / "refused")]) == 3
    assert "nothing was written" in capfd.readouterr().err
    assert not (tmp_path / "refused").exists()


@needs_onnx
@pytest.mark.slow
def test_an_export_with_other_tags_is_refused(trained, tmp_path, monkeypatch):
    from tagloop.models import onnx_model

    def write_another(model, examples, path):
        with torch.no_grad():
            model.classifier.bias[0] += 3.0  # O
            write_onnx(model, examples, path)
            model.classifier.bias[0] -= 3.0

    write_onnx = onnx_model.write_onnx
    monkeypatch.setattr(onnx_model, "write_onnx", write_another)
    with pytest.raises(RunStopped, match=r"\d+ of \d+ words have another tag; nothing was written"):
        export.main([str(trained), "--output", str(tmp_path / "onnx")])
    assert not (tmp_path / "onnx").exists()


def test_int8_that_loses_too_much_is_refused():
    facts = {"model": {"f1": 0.9}, "float32": {"f1": 0.9, "words_per_second": 9}}
    facts["int8"] = {"f1": 0.8969, "words_per_second": 99}
    with pytest.raises(RunStopped, match=r"loses 0.31 points of f1.*nothing was written"):
        export.judge(facts, "f1")
    export.judge(facts | {"int8": {"f1": 0.8971, "words_per_second": 99}}, "f1")


@pytest.mark.parametrize("name", ["config.json", "export.json", "notes.txt", "tmp-onnx/notes.txt"])
def test_an_export_replaces_no_file_of_the_user(trained, tmp_path, name, capfd):
    mine = tmp_path / "mine" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("precious")
    assert export.cli([str(trained), "--output", str(tmp_path / "mine")]) == 2
    first = name.split("/")[0]
    assert f"holds {first}, which no export wrote" in capfd.readouterr().err
    assert mine.read_text() == "precious"


def test_the_first_rows_of_the_training_file_are_validation_data_again(trained, tmp_path):
    copy = shutil.copytree(trained, tmp_path / "copy")
    record = read_json(copy / "run.json")
    record["options"] |= {"train_file": "a.conll", "validation_split_percentage": 20}
    (copy / "run.json").write_text(json.dumps(record))
    config = export.config_of(copy, None, "onnx")
    assert (config.train_file, config.validation_split_percentage) == ("a.conll", 20)
    record["options"] |= {"validation_split_percentage": None}
    (copy / "run.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="without validation data"):
        export.config_of(copy, None, "onnx")


def test_what_cannot_be_exported_is_named(trained, tmp_path, capfd):
    def refused(*arguments) -> str:
        assert export.cli([str(argument) for argument in arguments]) == 2
        return capfd.readouterr().err

    assert "holds no config.json" in refused(tmp_path)
    assert "holds another model" in refused(trained, "--output", trained)
    assert "--format" in refused(trained, "--format", "tflite")
    (tmp_path / "config.json").write_text("{}")
    assert "give --validation_file" in refused(tmp_path)
    assert str(tmp_path / "none.conll") in refused(
        trained, "--validation_file", tmp_path / "none.conll"
    )


def test_a_task_without_an_export_is_refused(tmp_path, capfd):
    (tmp_path / "config.json").write_text("{}")
    record = {"options": {"task_name": "classification", "train_file": None}}
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert export.cli([str(tmp_path)]) == 2
    assert "a model of --task_name classification cannot be exported" in capfd.readouterr().err
