"""The header shows what was read, so that a wrong column or missing tags are seen at once."""

import json

import pytest
from launches import SMALL

import train_loop
from tagloop.tasks.tagging import header


def test_a_long_sentence_is_cut_to_a_line():
    words = ["word\n"] * 100
    shown = header.first_sentence([{"tokens": words, "tags": ["O"] * 100}])
    assert shown.startswith("word\ufffd/O word")
    assert len(shown) <= 88
    assert shown.endswith(" ...")


def test_a_terminal_is_not_steered_and_words_with_joiners_stay_whole():
    """Persian, an emoji of three, and the sequence that clears a screen."""
    words = ["می\u200cخواهم", "👩\u200d👩\u200d👧", "\x1b[2J"]
    shown = header.first_sentence([{"tokens": words, "tags": ["O", "O", "O"]}])
    assert shown == f"{words[0]}/O {words[1]}/O \ufffd[2J/O"


@pytest.mark.slow
def test_what_was_read_is_shown_and_every_row_is_predicted(tmp_path, capfd):
    model = tmp_path / "model"
    train_loop.main([*SMALL, "--max_train_steps=1", f"--output_dir={model}"])
    capfd.readouterr()
    rows = [
        {"tokens": ["-DOCSTART-"], "ner_tags": ["O"]},
        {"tokens": ["Ann", "Lee", "won"], "ner_tags": [None, "I-PER", "O"]},
        {"tokens": [], "ner_tags": []},
        {"tokens": ["Ulm"], "ner_tags": ["B-LOC"]},
    ]
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    out = tmp_path / "out"
    train_loop.main([f"--test_file={file}", f"--model_name_or_path={model}", f"--output_dir={out}"])
    shown = capfd.readouterr().out
    assert "Ann Lee/I-PER won/O\n" in shown
    assert "words from 'tokens', tags from 'ner_tags'" in shown
    assert "2 words (40.0%) have no gold tag" in shown
    lines = (out / "predictions.txt").read_text(encoding="utf-8").split("\n")
    assert [len(line.split()) for line in lines] == [1, 3, 0, 1, 0]
