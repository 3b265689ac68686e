"""The built-in sample corpus: the same everywhere, well-formed, and with names kept apart."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tagloop.sample import grammar
from tagloop.sample.__main__ import main
from tagloop.sample.corpus import SPLIT_SIZES, build_sample_corpus, finish_spelling, parse_markup

ROOT = Path(__file__).resolve().parents[2]
TAG_COLUMNS = ("pos_tags", "chunk_tags", "ner_tags")
PRINT_DIGEST = """
import hashlib, json
from tagloop.sample.corpus import build_sample_corpus
print(hashlib.sha256(json.dumps(build_sample_corpus()).encode()).hexdigest())
"""


@pytest.fixture(scope="module")
def corpus():
    return build_sample_corpus()


def list_spans(tags: list[str]) -> list[tuple[str, int, int]]:
    """Spans (type, start, end exclusive) of IOB2 tags, which must be valid.

    >>> list_spans(["B-PER", "I-PER", "O"])
    [('PER', 0, 2)]
    """
    spans = []
    for position, tag in enumerate(tags):
        if tag == "O":
            continue
        prefix, _, kind = tag.partition("-")
        assert prefix in ("B", "I"), tag
        if prefix == "B":
            spans.append((kind, position, position + 1))
        else:
            assert spans, f"{tag} opens {tags}"
            assert spans[-1][0] == kind, f"{tag} follows another type in {tags}"
            assert spans[-1][2] == position, f"{tag} follows O in {tags}"
            spans[-1] = (kind, spans[-1][1], position + 1)
    return spans


def list_entities(sentences: list[dict]) -> set[str]:
    return {
        " ".join(sentence["tokens"][start:end]).lower()
        for sentence in sentences
        for _, start, end in list_spans(sentence["ner_tags"])
    }


@pytest.mark.medium
@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_another_process_builds_the_same_corpus(corpus, hash_seed):
    printed = subprocess.run(
        [sys.executable, "-c", PRINT_DIGEST],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert printed == hashlib.sha256(json.dumps(corpus).encode()).hexdigest()


def test_splits_have_their_sizes_and_no_sentence_twice(corpus):
    assert {split: len(rows) for split, rows in corpus.items()} == SPLIT_SIZES
    sentences = [tuple(row["tokens"]) for rows in corpus.values() for row in rows]
    assert len(set(sentences)) == len(sentences)


def test_columns_are_parallel(corpus):
    for sentence in (row for rows in corpus.values() for row in rows):
        assert set(sentence) == {"tokens", *TAG_COLUMNS}
        assert 3 <= len(sentence["tokens"]) <= 45
        assert {len(column) for column in sentence.values()} == {len(sentence["tokens"])}
        for token in sentence["tokens"]:
            assert re.fullmatch(r"[^\s<>{}\[\]]+", token), f"markup left in {sentence['tokens']}"


def test_tags_are_iob2_and_entities_lie_in_noun_phrases(corpus):
    for sentence in (row for rows in corpus.values() for row in rows):
        chunks = list_spans(sentence["chunk_tags"])
        for kind, start, end in list_spans(sentence["ner_tags"]):
            assert kind in ("PER", "ORG", "LOC", "MISC")
            assert any(
                chunk == "NP" and first <= start and end <= last for chunk, first, last in chunks
            ), sentence


@pytest.mark.parametrize("column", TAG_COLUMNS)
def test_held_out_tags_are_known_from_training(corpus, column):
    known = {tag for row in corpus["train"] for tag in row[column]}
    for split in ("validation", "test"):
        assert {tag for row in corpus[split] for tag in row[column]} <= known


def test_splits_share_no_entity(corpus):
    train, validation, test = (list_entities(corpus[split]) for split in corpus)
    assert not train & validation
    assert not train & test
    assert not validation & test


@pytest.mark.parametrize("column", TAG_COLUMNS)
def test_some_words_have_several_tags(corpus, column):
    tags_of: dict[str, set[str]] = {}
    for row in corpus["train"]:
        for token, tag in zip(row["tokens"], row[column], strict=True):
            tags_of.setdefault(token, set()).add(tag)
    assert sum(len(tags) > 1 for tags in tags_of.values()) >= 20


def test_every_symbol_is_defined_and_used():
    defined = {*grammar.NAMES, *grammar.WORDS, *grammar.RULES}
    used = set(re.findall(r"<(\w+)>", " ".join(grammar.RULES.values())))
    assert used | {"sentence", "headline"} == defined


def test_markup_becomes_columns():
    assert parse_markup("[NP {ORG Lee/NNP } {PER Ann/NNP Lee/NNP } ] [VP won/VBD ] ./.") == {
        "tokens": ["Lee", "Ann", "Lee", "won", "."],
        "pos_tags": ["NNP", "NNP", "NNP", "VBD", "."],
        "chunk_tags": ["B-NP", "I-NP", "I-NP", "B-VP", "O"],
        "ner_tags": ["B-ORG", "B-PER", "I-PER", "O", "O"],
    }


def test_spelling_is_finished():
    tokens = finish_spelling(["a", "offer", "--", "she", "won"])
    assert tokens == ["An", "offer", "--", "She", "won"]


def test_the_corpus_is_written_as_files_that_are_read_back(tmp_path, capfd):
    folder = tmp_path / "new" / "data"
    assert main([str(folder)]) == 0
    blocks = (folder / "validation.conll").read_text().strip().split("\n\n")
    cells = [[line.split(" ") for line in block.split("\n")] for block in blocks]
    corpus = build_sample_corpus()["validation"]
    assert [[word for word, _ in sentence] for sentence in cells] == [r["tokens"] for r in corpus]
    assert [[tag for _, tag in sentence] for sentence in cells] == [r["ner_tags"] for r in corpus]
    assert (folder / "new.txt").read_text().count("\n") == 250
    (folder / "train.conll").write_text("mine")
    assert main([str(folder)]) == 2
    assert "train.conll: exists and stays as it is" in capfd.readouterr().err
    assert (folder / "train.conll").read_text() == "mine"
