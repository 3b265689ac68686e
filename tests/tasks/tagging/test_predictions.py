"""predictions.*: one tag a word, and a file that conlleval scores as we do."""

from tagloop.tasks.tagging.predictions import write_predictions
from tagloop.tasks.tagging.scores import TokenScores

SENTENCES = [
    {"tokens": ["Ann", "saw", "Bob"], "tags": ["B-PER", None, "B-PER"]},
    {"tokens": ["in", "New York"], "tags": [None, None]},
    {"tokens": [], "tags": []},
    {"tokens": ["", "Paris"], "tags": ["O", "B-LOC"]},
]
PREDICTED = [["B-PER", "B-PER", "B-PER"], ["O", "B-LOC"], [], ["O", "B-LOC"]]


def test_words_without_a_gold_tag_are_not_given_one(tmp_path):
    write_predictions(tmp_path, SENTENCES, PREDICTED)
    assert (tmp_path / "predictions.txt").read_text() == (
        "B-PER B-PER B-PER\nO B-LOC\n\nO B-LOC\n"
    ), "every word has its tag"
    text = (tmp_path / "predictions.conll").read_text()
    assert text == "Ann B-PER B-PER\nBob B-PER B-PER\n\n\n_ O O\nParis B-LOC B-LOC\n\n"
    blocks = [[line.split(" ") for line in b.split("\n") if line] for b in text.split("\n\n")]
    again = TokenScores().compute(
        predictions=[[row[2] for row in block] for block in blocks],
        references=[[row[1] for row in block] for block in blocks],
    )
    scores = TokenScores().compute(
        predictions=PREDICTED, references=[row["tags"] for row in SENTENCES]
    )
    assert again == scores


def test_without_any_gold_tag_the_columns_are_word_and_tag(tmp_path):
    untagged = [row | {"tags": [None] * len(row["tokens"])} for row in SENTENCES]
    write_predictions(tmp_path, untagged, PREDICTED)
    lines = (tmp_path / "predictions.conll").read_text().split("\n")
    assert lines[:4] == ["Ann B-PER", "saw B-PER", "Bob B-PER", ""]
    assert lines[4:6] == ["in O", "New_York B-LOC"]
