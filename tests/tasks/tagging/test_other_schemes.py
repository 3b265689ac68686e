"""Models of other origin, whose labels are no IOB2."""

import json

import pytest
from tiny import build_model, model_config, tokenizer_like

import train_loop
from tagloop.data.words.schemes import spans, to_iob2
from tagloop.tasks.tagging.tagger import load_tagger

WORDS = ["john", "lives", "in", "berlin", "and", "mary", "works", "in", "new", "york"]


def save_model(folder, labels):
    build_model(model_config("bert", labels)).save_pretrained(folder)
    tokenizer_like("word_piece").save_pretrained(folder)
    return folder


def evaluate(folder, model, content) -> int:
    file = folder / "a.conll"
    file.write_text(content, encoding="utf-8")
    return train_loop.cli(
        ["--do_eval", f"--validation_file={file}", f"--model_name_or_path={model}",
         f"--output_dir={folder / 'run'}"]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("scheme", "labels"),
    [("IOBES", ["O", "B-PER", "I-PER", "E-PER", "S-PER"]),
     ("BILOU", ["O", "B-PER", "I-PER", "L-PER", "U-PER"])],
)  # fmt: skip
def test_entities_of_models_whose_spans_have_ends(scheme, labels, tmp_path, capfd):
    model = save_model(tmp_path / "model", labels)
    (tagged,) = load_tagger(model)([WORDS])
    expected = spans(to_iob2(tagged.tags, scheme))
    assert expected, "the model finds nothing, so this test shows nothing"
    found = [(entity["text"], entity["label"]) for entity in tagged.entities]
    assert found == [(" ".join(WORDS[first:end]), type_) for first, end, type_ in expected]
    assert evaluate(tmp_path, model, "john B-PER\nlives O\n") == 2
    assert f"are {scheme}, and only IOB2" in capfd.readouterr().err


def test_a_model_that_predicts_no_tags_of_spans_has_no_score(tmp_path, capfd):
    model = save_model(tmp_path / "model", ["X", "B-PER"])
    config = json.loads((model / "config.json").read_text())
    assert config["id2label"]["0"] == "X"
    (tagged,) = load_tagger(model)([WORDS])
    assert "X" in tagged.tags, "the model never predicts X, so this test shows nothing"
    words = "".join(f"{word} B-PER\n" for word in WORDS)
    assert evaluate(tmp_path, model, words) == 2
    assert "the model predicts the tag 'X'" in capfd.readouterr().err
