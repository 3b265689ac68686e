"""Every source gives the same rows; every bad input names its place and the remedy."""

import csv
import gzip
import io
import json
import os
import re
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import datasets
import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from launches import HANG, wait_until
from loading import get_fault, get_rows, load, write

from tagloop.data.row import Choices
from tagloop.data.storage import store
from tagloop.data.storage.store import build_once, source_digest
from tagloop.data.words import readers
from tagloop.errors import InputError
from tagloop.tasks.tagging.kinds import KINDS

REPO = Path(__file__).resolve().parents[3]
# Tokens that a careless reader loses: "#", U+0085, U+2028, a no-break space, a lone selector.
ROWS = [
    (["#Berlin", "greets", "the", "EU", "Bank"], ["B-LOC", "O", "O", "B-ORG", "I-ORG"]),
    (["\x85x", "a\xa0b", "\u2028", "\ufe0f", "\x96", ","], ["O", "B-PER", "I-PER", "O", "O", "O"]),
    (["[", "1", "]"], ["O", "O", "O"]),
    (['"', "Zoë", "#", "😀"], ["O", "B-PER", "O", None]),
]
NAMES = ["O", "B-PER", "I-PER", "B-LOC", "B-ORG", "I-ORG"]


# --- the same rows from every format ---


def to_ids(tags):
    return [-100 if tag is None else NAMES.index(tag) for tag in tags]


def to_columns(rows, separator="\t", end="\n"):
    return "".join(
        "".join(
            f"{token}{separator}{tag or -100}{end}" for token, tag in zip(tokens, tags, strict=True)
        )
        + end
        for tokens, tags in rows
    )


def to_conllu(rows):
    text = "# newdoc id = one\n"
    for tokens, tags in rows:
        text += "# sent_id = 7\n1-2\tin the\t_\t_\t_\t_\t_\t_\t_\t_\n"
        for number, (token, tag) in enumerate(zip(tokens, tags, strict=True), start=1):
            text += f"{number}\t{token}\tlemma\tX\t{tag or '_'}\t_\t0\troot\t_\t_\n"
        text += f"{len(tokens)}.1\tghost\t_\t_\tB-PER\t_\t_\t_\t_\t_\n\n"
    return text


def to_dicts(rows, tags_of=list):
    return [{"tokens": tokens, "ner_tags": tags_of(tags)} for tokens, tags in rows]


def to_csv(rows, cell, delimiter=","):
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(["tokens", "ner_tags"])
    writer.writerows([cell(tokens), cell(tags)] for tokens, tags in rows)
    return text.getvalue()


def to_jsonl(dicts):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in dicts)


def to_dataset(dicts, label=None, wrap=datasets.List):
    strings = datasets.List(datasets.Value("string"))
    label = wrap(label) if label else strings
    features = datasets.Features({"tokens": strings, "ner_tags": label})
    return datasets.Dataset.from_list(dicts, features=features)


CLASS_LABEL = datasets.ClassLabel(names=NAMES)


def nullable_ids(tags):
    return [None if tag is None else NAMES.index(tag) for tag in tags]


def write_saved(folder: Path, rows) -> dict:
    saved = to_dataset(to_dicts(rows, nullable_ids), CLASS_LABEL, datasets.LargeList)
    datasets.DatasetDict({"train": saved}).save_to_disk(folder / "saved")
    return {"dataset_name": folder / "saved"}


def write_single_saved(folder: Path, rows) -> dict:
    to_dataset(to_dicts(rows)).save_to_disk(folder / "single")
    return {"dataset_name": folder / "single"}


def write_local_folder(folder: Path, rows) -> dict:
    (folder / "hub").mkdir()
    write(folder / "hub" / "train.jsonl", to_jsonl(to_dicts(rows)))
    return {"dataset_name": folder / "hub"}


def write_parquet(label, tags_of, wrap=datasets.List):
    def write_file(folder: Path, rows) -> dict:
        to_dataset(to_dicts(rows, tags_of), label, wrap).to_parquet(folder / "train.parquet")
        return {"train_file": folder / "train.parquet"}

    return write_file


def write_plain_parquet(folder: Path, rows) -> dict:
    pq.write_table(pa.Table.from_pylist(to_dicts(rows, to_ids)), folder / "plain.parquet")
    return {"train_file": folder / "plain.parquet"} | with_names(folder)


def with_names(folder: Path) -> dict:
    return {"labels_file": write(folder / "labels.txt", "\n".join(NAMES) + "\n")}


def text_file(name, to_text, extra=lambda folder: {}):
    def write_file(folder: Path, rows) -> dict:
        return {"train_file": write(folder / name, to_text(rows))} | extra(folder)

    return write_file


def spaced(items):
    return " ".join("-100" if item is None else item for item in items)


FORMATS = {
    "tabs": text_file("train.conll", to_columns),
    "spaces": text_file("train.txt", lambda rows: to_columns(rows, "  ")),
    "any extension": text_file("corpus.tagged", to_columns),
    "tsv of columns": text_file("corpus.tsv", to_columns),
    "CRLF": text_file("train.conll", lambda rows: to_columns(rows, end="\r\n")),
    "BOM": text_file("train.conll", lambda rows: "\ufeff" + to_columns(rows)),
    "blank lines of tabs": text_file(
        "train.bio", lambda rows: to_columns(rows).replace("\n\n", "\n\t\n \n\n")
    ),
    "comments": text_file(
        "train.iob", lambda rows: "# id 1\n" + to_columns(rows).replace("\n\n", "\n\n# text = a\n")
    ),
    "documents": text_file("eng.train", lambda rows: "-DOCSTART- O\n\n" + to_columns(rows, " ")),
    "four columns": text_file(
        "train.conll",
        lambda rows: re.sub("\t", " NN I-NP ", "-DOCSTART-\t-X-\n\n" + to_columns(rows)),
    ),
    "tag first": text_file(
        "train.conll",
        lambda rows: re.sub(r"(?m)^([^\t\n]+)\t(.+)$", r"\2\t\1", to_columns(rows)),
        lambda folder: {"text_column_name": "-1", "label_column_name": "0"},
    ),
    "CoNLL-U": text_file("train.conllu", to_conllu, lambda _: {"label_column_name": "xpos"}),
    "CoNLL-U sniffed": text_file("train.txt", to_conllu, lambda _: {"label_column_name": "4"}),
    "JSON lines": text_file("train.jsonl", lambda rows: to_jsonl(to_dicts(rows))),
    "JSON lines in .json": text_file(
        "train.json", lambda rows: "\ufeff" + to_jsonl(to_dicts(rows)).replace("\n", "\r\n\r\n")
    ),
    "JSON lines of integers": text_file(
        "train.ndjson", lambda rows: to_jsonl(to_dicts(rows, to_ids)), with_names
    ),
    "JSON array": text_file("train.json", lambda rows: json.dumps(to_dicts(rows))),
    "JSON array, indented": text_file(
        "train.json", lambda rows: json.dumps(to_dicts(rows), indent=2, ensure_ascii=False)
    ),
    "JSON data": text_file(
        "train.json", lambda rows: json.dumps({"version": "1", "data": to_dicts(rows)}, indent=1)
    ),
    "other names": text_file(
        "train.jsonl",
        lambda rows: to_jsonl([{"id": 1, "w": t, "x": 3, "y": g} for t, g in rows]),
        lambda folder: {"text_column_name": "w", "label_column_name": "y"},
    ),
    "first and second": text_file(
        "train.jsonl", lambda rows: to_jsonl([{"w": t, "y": g} for t, g in rows])
    ),
    "words and second": text_file(
        "train.jsonl", lambda rows: to_jsonl([{"words": t, "y": g} for t, g in rows])
    ),
    "CSV of JSON": text_file("train.csv", lambda rows: to_csv(rows, json.dumps)),
    "CSV of spaces": text_file("train.csv", lambda rows: to_csv(rows, spaced)),
    "CSV of integers": text_file(
        "train.csv",
        lambda rows: to_csv([(tokens, map(str, to_ids(tags))) for tokens, tags in rows], spaced),
        with_names,
    ),
    "TSV": text_file("train.tsv", lambda rows: to_csv(rows, json.dumps, "\t")),
    "parquet": write_parquet(None, list),
    "parquet of ClassLabel": write_parquet(CLASS_LABEL, nullable_ids),
    "parquet of large lists": write_parquet(CLASS_LABEL, nullable_ids, datasets.LargeList),
    "parquet of integers": write_plain_parquet,
    "save_to_disk": write_saved,
    "save_to_disk, one split": write_single_saved,
    "folder of files": write_local_folder,
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.medium
def test_every_format_gives_the_same_rows(name, tmp_path):
    corpus = load("train", **FORMATS[name](tmp_path, ROWS))
    assert get_rows(corpus.splits["train"]) == ROWS
    assert corpus.labels == sorted(NAMES)
    assert corpus.scheme == "IOB2"
    plain = load("train", train_file=write(tmp_path / "plain.jsonl", to_jsonl(to_dicts(ROWS))))
    assert corpus.fingerprints == plain.fingerprints


@pytest.mark.medium
def test_fingerprint_sees_every_difference(tmp_path):
    tokens, tags = ROWS[0]
    variants = [
        ROWS,
        ROWS[::-1],
        ROWS[:3],
        [*ROWS[:3], (ROWS[3][0], ["O", "B-PER", "O", "O"])],
        [([*tokens[:3], "EU Bank"], tags[:4]), *ROWS[1:]],
    ]
    files = [write(tmp_path / f"{n}.jsonl", to_jsonl(to_dicts(v))) for n, v in enumerate(variants)]
    prints = {load("train", train_file=file).fingerprints["train"] for file in files}
    assert len(prints) == len(variants)


def test_tokens_may_hold_spaces_where_tabs_separate(tmp_path):
    file = write(
        tmp_path / "a.conll", "New York\tB-LOC\n \tO\nis\tO\n# is comment\n#\tO\n#1\tO\n\n"
    )
    tokens = ["New York", " ", "is", "#", "#1"]
    assert load(train_file=file).splits["train"][0]["tokens"] == tokens


def test_lone_control_characters_are_words_not_blank_lines(tmp_path):
    words = ["\x85", "\xa0", "\u2028", "\x1c", "\x0b"]
    corpus = load(predict_file=write(tmp_path / "a.txt", "\n".join(["a", *words, "b"])))
    assert corpus.splits["predict"]["tokens"][:] == [["a", *words, "b"]]


def test_comments_and_tokens_in_files_split_at_spaces(tmp_path):
    text = "# sent_id = 4\n# a NN\n#b NN O O\n# NN O O\n\n#end document\n#begin (x);\nc NN O O\n"
    file = write(tmp_path / "a.conll", text)
    tokens = [row["tokens"] for row in load(train_file=file).splits["train"]]
    assert tokens == [["#b", "#"], ["c"]]


def test_documents_are_counted(tmp_path):
    text = "-DOCSTART- -X-\n\na O\n\nb O\n\n-DOCSTART- -X-\n-DOCSTART-\nc O\n"
    corpus = load(train_file=write(tmp_path / "a.conll", text))
    assert corpus.splits["train"]["document"][:] == [0, 0, 2]
    late = load(train_file=write(tmp_path / "b.conll", text.removeprefix("-DOCSTART- -X-")))
    assert late.splits["train"]["document"][:] == [0, 0, 2]
    conllu = to_conllu(ROWS[:2]) + to_conllu(ROWS[2:])
    corpus = load(
        train_file=write(tmp_path / "a.conllu", conllu), label_column_name="xpos", task_name="ner"
    )
    assert corpus.splits["train"]["document"][:] == [0, 0, 1, 1]
    rows = [(["-DOCSTART-"], ["O"]), ROWS[0], (["-DOCSTART-"], ["O"]), ROWS[1]]
    corpus = load(train_file=write(tmp_path / "a.jsonl", to_jsonl(to_dicts(rows))))
    assert corpus.splits["train"]["document"][:] == [0, 0, 1, 1]
    mark = (["-DOCSTART-"], [None])  # a row stays a row: predictions have a line for each
    assert get_rows(corpus.splits["train"]) == [mark, ROWS[0], mark, ROWS[1]]


@pytest.mark.medium
def test_what_marks_documents_is_found(tmp_path):
    def documents(name, content, **given):
        split = load("train", train_file=write(tmp_path / name, content), **given)
        return split.splits["train"]["document"][:], split.documents["train"]

    columns = "-DOCSTART- -X-\n\na O\n\n-DOCSTART-\n\nb O\n"
    assert documents("a.conll", columns) == ([0, 1], "lines -DOCSTART-")
    assert documents("b.conll", "a O\n\nb O\n") == ([0, 0], None)
    keys = ["x", "x", "y", None, None, "x"]  # a name that is missing is like no other
    rows = [row | {"doc_id": key} for row, key in zip(to_dicts(ROWS * 2), keys, strict=False)]
    expected = [0, 0, 1, 2, 3, 4]
    assert documents("a.jsonl", to_jsonl(rows[:6])) == (expected, "a column")
    assert documents("b.jsonl", to_jsonl(to_dicts(ROWS[:2]))) == ([0, 0], None)
    other = [{"page" if name == "doc_id" else name: row[name] for name in row} for row in rows[:6]]
    assert documents("c.jsonl", to_jsonl(other))[1] is None
    assert documents("c.jsonl", to_jsonl(other), document_column_name="page")[0] == expected
    words = "doc,sentence_id,word,tag\nx,1,a,O\nx,2,b,O\ny,1,c,O\n"
    assert documents("a.csv", words) == ([0, 0, 1], "a column")
    assert documents("b.csv", words.replace("doc,", "page,"), document_column_name="page") == (
        [0, 0, 1], "a column"
    )  # fmt: skip


def test_documents_are_part_of_the_fingerprint_where_context_is_seen(tmp_path):
    both = "-DOCSTART-\n\na O\n\n{}b O\n"
    one = write(tmp_path / "1.conll", both.format(""))
    two = write(tmp_path / "2.conll", both.format("-DOCSTART-\n\n"))
    for context_tokens, number in ((0, 1), (4, 2)):
        options = {"context_tokens": context_tokens}
        corpora = [load("train", train_file=file, **options) for file in (one, two)]
        assert len({corpus.fingerprints["train"] for corpus in corpora}) == number


@pytest.mark.medium
def test_task_chooses_the_column(tmp_path):
    four = write(tmp_path / "four.conll", "EU NNP B-NP B-ORG\nsaid VBD B-VP O\n")
    three = write(tmp_path / "three.conll", "EU NNP B-NP\nsaid VBD B-VP\n")
    conllu = write(tmp_path / "u.conllu", to_conllu(ROWS[:1]))

    def labels(file, task, **given):
        return load(train_file=file, task_name=task, **given).labels

    assert labels(four, "ner") == ["B-ORG", "O"]
    assert labels(four, "pos") == labels(three, "pos") == ["NNP", "VBD"]
    assert labels(four, "chunk") == labels(three, "chunk") == ["B-NP", "B-VP"]
    assert labels(four, "pos", label_column_name="-4") == ["EU", "said"]
    assert labels(conllu, "pos") == ["X"]
    assert labels(conllu, "pos", label_column_name="deprel") == ["root"]
    every = {"tokens": ["a"], "x": ["?"], "pos_tags": ["DT"], "chunk": ["B-NP"], "ner_tags": ["O"]}
    json_file = write(tmp_path / "t.jsonl", json.dumps(every))
    assert labels(json_file, "pos") == ["DT"]
    assert labels(json_file, "chunk") == ["B-NP"]
    assert labels(json_file, "ner") == ["O"]


def test_integers_without_names_serve_pos(tmp_path):
    row = {"tokens": ["a", "b", "c"], "pos_tags": [11, -100, 2]}
    corpus = load(train_file=write(tmp_path / "a.jsonl", json.dumps(row)), task_name="pos")
    assert corpus.splits["train"][0]["tags"] == ["11", None, "2"]
    assert (corpus.labels, corpus.scheme) == (["11", "2"], None)


@pytest.mark.slow
def test_predict_needs_no_tags_and_keeps_those_there(tmp_path):
    train = {"train_file": write(tmp_path / "train.conll", "EU\tB-ORG\nsaid\tO\n")}
    for name, content in {
        "a.txt": "EU\n#1\nsaid\n",
        "a.jsonl": '{"tokens": ["EU", "#1", "said"], "id": "1"}\n',
        "b.jsonl": '{"id": ["1"], "tokens": ["EU", "#1", "said"], "pos_tags": ["a", "b", "c"]}\n',
        "a.csv": "tokens\nEU #1 said\n",
        "three.conll": "EU\tNNP\tB-NP\n#1\tNN\tB-NP\nsaid\tVBD\tB-VP\n",
    }.items():
        file = write(tmp_path / name, content)
        for given in (train, train | {"text_column_name": "0"} if name[-1] == "t" else train):
            corpus = load(predict_file=file, **given)
            assert get_rows(corpus.splits["predict"]) == [(["EU", "#1", "said"], [None] * 3)], name
            assert corpus.labels == ["B-ORG", "O"]
    for name, content in {
        "g.txt": "Ann\tI-PER\n",
        "g.jsonl": '{"tokens":["Ann"],"ner":["I-PER"]}',
    }.items():
        corpus = load("predict", predict_file=write(tmp_path / name, content))
        assert get_rows(corpus.splits["predict"]) == [(["Ann"], ["B-PER"])]
        assert list(corpus.splits) == ["predict"]
    untagged = load("predict", predict_file=tmp_path / "a.txt")
    assert (untagged.scheme, untagged.labels) == (None, [])


@pytest.mark.medium
def test_files_override_and_add_to_the_dataset(tmp_path):
    dataset = to_dataset(to_dicts(ROWS))
    datasets.DatasetDict({"train": dataset, "dev": dataset, "test": dataset}).save_to_disk(
        tmp_path / "saved"
    )
    given = {
        "dataset_name": tmp_path / "saved",
        "test_file": write(tmp_path / "a.txt", "Ulm B-LOC\n"),
    }
    corpus = load(predict_file=tmp_path / "a.txt", **given)
    assert {split: len(rows) for split, rows in corpus.splits.items()} == {
        "train": 4,
        "validation": 4,
        "test": 1,
        "predict": 1,
    }
    assert list(load("validation", **given).splits) == ["validation"]
    assert load("validation", **given).labels == corpus.labels


# --- scheme, labels, selection ---


def test_iob1_is_found_over_all_splits_and_becomes_iob2(tmp_path):
    train = write(tmp_path / "train.conll", "EU I-ORG\nBank I-ORG\nUlm I-LOC\n")
    test = write(tmp_path / "test.conll", "Ann I-PER\nBo B-PER\nUlm I-LOC\n")
    corpus = load(train_file=train, test_file=test)
    assert corpus.scheme == "IOB1"
    assert corpus.splits["test"]["tags"][:] == [["B-PER", "B-PER", "B-LOC"]]
    assert corpus.labels == ["B-LOC", "B-ORG", "B-PER", "I-ORG"]
    assert load(train_file=train, test_file=test, label_scheme="IOB2").scheme == "IOB2"
    message = get_fault(train_file=write(tmp_path / "a.conll", "\nEU S-ORG\n"), label_scheme="IOB2")
    assert "a.conll:2: tag 'S-ORG'" in message


def test_labels_of_all_splits_with_a_warning(tmp_path):
    train = write(tmp_path / "train.conll", "EU B-ORG\nsaid O\n")
    test = write(tmp_path / "test.conll", "Ann B-PER\n\nsaid o\n")
    corpus = load("train", train_file=train, test_file=test, label_scheme="IOB2", task_name="pos")
    assert corpus.labels == ["B-ORG", "B-PER", "O", "o"]
    assert any("test" in w and "B-PER" in w for w in corpus.warnings)
    assert any("'O', 'o'" in w for w in corpus.warnings)
    assert load("train", train_file=train).warnings == []


@pytest.mark.slow
def test_validation_fraction_is_seeded_disjoint_and_ordered(tmp_path):
    rows = [([str(n)], ["B-PER" if n == 99 else "O"]) for n in range(100)]
    file = write(tmp_path / "a.jsonl", to_jsonl(to_dicts(rows)))

    def numbers(**given):
        splits = load(train_file=file, validation_fraction=0.15, **given).splits
        return [[int(tokens[0]) for tokens in splits[s]["tokens"]] for s in ("train", "validation")]

    train, validation = numbers()
    assert sorted(train + validation) == list(range(100))
    assert (train, validation) == (sorted(train), sorted(validation))
    assert len(validation) == 15
    assert numbers() == [train, validation]
    assert numbers(seed=1) != [train, validation]
    assert numbers(max_train_samples=10, max_eval_samples=3) == [train[:10], validation[:3]]
    given = {"train_file": file, "validation_fraction": 0.15}
    assert load("train", **given).splits["train"].num_rows == 85  # validation asked for or not
    # Labels are known from all the data; a selection has a fingerprint of its own.
    sampled = load("train", train_file=file, max_train_samples=10)
    assert sampled.labels == ["B-PER", "O"]
    prints = {
        load("train", train_file=file, max_train_samples=n).fingerprints["train"]
        for n in (10, 11, 100, 200, None)
    }
    assert len(prints) == 3
    own = load(train_file=file, validation_file=file, **{"validation_fraction": 0.15})
    assert [len(own.splits[split]) for split in ("train", "validation")] == [100, 100]
    predict = load(predict_file=file, test_file=file, max_predict_samples=7)
    assert [len(predict.splits[split]) for split in ("test", "predict")] == [7, 7]


@pytest.mark.slow
def test_sample_corpus_is_the_default():
    for task in ("ner", "pos", "chunk"):
        corpus = load(task_name=task)
        assert list(corpus.splits) == ["train", "validation", "test"]
        assert len(corpus.labels) > 5
        assert not any(None in tags for tags in corpus.splits["train"]["tags"])


# --- bad input: (file name, content, options, what the message must contain) ---

ROW = '{"tokens": ["a", "b"], "ner_tags": ["O", "O"]}\n'
BAD = {
    "empty": ("a.conll", "", {}, ["--train_file", "a.conll", "empty"]),
    "blank": ("a.conll", "\n \n\t\n", {}, ["a.conll", "no sentences"]),
    "header only": ("a.csv", "tokens,ner_tags\n", {}, ["train", "no sentences"]),
    "empty array": ("a.json", "[]", {}, ["train", "no sentences"]),
    "not UTF-8": ("a.conll", b"a\tO\nZo\xeb\tO\n", {}, ["a.conll:2", "0xeb", "offset 6", "iconv"]),
    "not UTF-8, BOM": ("a.txt", b"\xef\xbb\xbfZo\xeb\tO\n", {}, ["a.txt:1", "offset 5"]),
    "not UTF-8, JSON lines": ("a.jsonl", ROW.encode() + b'{"\xff', {}, ["a.jsonl:2", "offset 49"]),
    "not UTF-8, array": ("a.json", b'[\n{"t": "\xff"}]', {}, ["a.json:2", "offset 9", "iconv"]),
    "not UTF-8, end": ("a.json", b'[{"t": "\xc3', {}, ["a.json:1", "offset 8"]),
    "UTF-16": ("a.csv", "tokens".encode("utf-16"), {}, ["a.csv", "UTF-16", "iconv -f utf-16 -t"]),
    "UTF-16, no BOM": (
        "a.conll",
        "Zoë\tB-PER\nwon\tO\n".encode("utf-16-le"),
        {},
        ["a.conll", "UTF-16 without", "iconv -f utf16-le -t utf-8"],
    ),
    "UTF-16, big": ("a.xyz", "a\tO\nb\tO\n".encode("utf-16-be"), {}, ["UTF-16", "utf16-be"]),
    "gzip": ("a.conll.gz", gzip.compress(b"a O\n"), {}, ["a.conll.gz", "gzip", "gunzip"]),
    "gzip inside": ("a.json", gzip.compress(b"[]"), {}, ["a.json", "gzip", "gunzip"]),
    "extension": ("a.xyz", "some text\nof many words here\n", {}, ["a.xyz", "'.xyz'", ".jsonl"]),
    "binary": ("a.bin", b"\x80\x04\x95", {}, ["a.bin", "unknown format", ".parquet"]),
    "arrow": ("a.arrow", b"\xff\xff\xff\xff\x00", {}, ["a.arrow", "unknown format"]),
    "not parquet": ("a.parquet", b"PAR1 no", {}, ["a.parquet", "parquet file"]),
    "malformed line": (
        "a.jsonl",
        ROW + '{"tokens": ["a" "b"]}\n',
        {},
        ["a.jsonl:2", "one object a"],
    ),
    "malformed array": ("a.json", f"[{ROW},\n\n{{bad", {}, ["a.json:4", "not valid JSON"]),
    "truncated array": ("a.json", f"[{ROW}, {ROW}", {}, ["a.json:3", "not valid JSON"]),
    "not a row": ("a.jsonl", ROW + "[1]\n", {}, ["a.jsonl:2", "[1]", "object"]),
    "half a character": (
        "a.jsonl",
        '{"tokens": ["\\ud800"], "ner_tags": ["O"]}',
        {},
        ["a.jsonl:1", "half a character", "escape"],
    ),
    "tokens and tags": (
        "a.jsonl",
        ROW + '{"tokens": ["a", "b"], "ner_tags": ["O"]}\n',
        {},
        ["a.jsonl:2", "2 tokens but 1 tag", "every token"],
    ),
    "tokens and tags, CSV": (
        "a.csv",
        'tokens,ner_tags\na b,O O\n"[""a\nb""]",O\n"a b c",O O\n',
        {},
        ["a.csv:3", "JSON list", "json.dumps"],
    ),
    "CSV count": (
        "a.csv",
        "tokens,ner_tags\na b,O O\na b c,O O\n",
        {},
        ["a.csv:3", "3 tokens but 2"],
    ),
    "CSV python list": (
        "a.csv",
        "tokens,ner_tags\n\"['a' 'b']\",O\n",
        {},
        ["a.csv:2", "neither a JSON list nor one of Python", "json.dumps"],
    ),
    "CSV cells": (
        "a.csv",
        "tokens,ner_tags\na,b,O\n",
        {},
        ["a.csv:2", "3 cells", "has 2", "quote"],
    ),
    "CSV quote": ("a.csv", 'tokens,ner_tags\na,O\n"a,O\n', {}, ["a.csv:3", "CSV", "quotes"]),
    "text, not tokens": (
        "a.jsonl",
        '{"tokens": "a b", "ner_tags": ["O", "O"]}',
        {},
        ["a.jsonl:1", "'tokens' holds 'a b'", "--text_column_name"],
    ),
    "token null": (
        "a.jsonl",
        '{"tokens": ["a", null], "ner_tags": ["O", "O"]}',
        {},
        ["a.jsonl:1", "not a list of strings"],
    ),
    "tags no list": (
        "a.jsonl",
        '{"tokens": ["a"], "ner_tags": "O"}',
        {},
        ["a.jsonl:1", "'ner_tags' holds 'O'", "--label_column_name"],
    ),
    "tag of no kind": (
        "a.jsonl",
        '{"tokens": ["a"], "ner_tags": [true]}',
        {},
        ["a.jsonl:1", "True", "neither a string nor an integer"],
    ),
    "ragged": (
        "train.conll",
        "a NN B O\n" * 16 + "b NN O\n",
        {},
        [
            "train.conll:17: 3 columns, but the lines before have 4; "
            "separate columns by one tab or by spaces"
        ],
    ),
    "ragged, tabs": ("a.conll", "a\tO\nb c\n", {}, ["a.conll:2: 1 column, but", "one tab"]),
    "ragged hashtag": ("a.conll", "a\tO\n#b\n", {}, ["a.conll:2: 1 column"]),
    "ragged CoNLL-U": (
        "a.conllu",
        "1\ta\tb\n",
        {"task_name": "pos"},
        ["a.conllu:1: 3 columns", "10"],
    ),
    "CoNLL-U number": (
        "a.conllu",
        "x" + "\ta" * 9 + "\n",
        {"task_name": "pos"},
        ["a.conllu:1", "'x'", "count words"],
    ),
    "empty tag": ("a.conll", "a\tO\nb\t\n", {}, ["a.conll:2", "tag is empty", "every word"]),
    "missing label": (
        "a.jsonl",
        ROW,
        {"label_column_name": "gold"},
        ["a.jsonl:1", "'gold'", "tokens, ner_tags", "--label_column_name"],
    ),
    "missing text": (
        "a.jsonl",
        ROW,
        {"text_column_name": "text"},
        ["a.jsonl:1", "'text'", "tokens, ner_tags", "--text_column_name"],
    ),
    "missing in a later row": (
        "a.jsonl",
        ROW + '{"tokens": ["a"], "id": 7}',
        {},
        ["a.jsonl:2", "'ner_tags'", "tokens, id"],
    ),
    "no columns": ("a.jsonl", "{}", {}, ["a.jsonl:1", "no columns", "tokens and ner_tags"]),
    "column index": ("a.conll", "a O\n", {"label_column_name": "2"}, ["'2'", "0 to 1"]),
    "column name": ("a.conll", "a O\n", {"label_column_name": "ner"}, ["'ner'", "0 to 1"]),
    "CoNLL-U name": (
        "a.conllu",
        "1" + "\ta" * 9 + "\n",
        {"label_column_name": "pos"},
        ["'pos'", "upos, xpos", "--label_column_name"],
    ),
    "no names": (
        "a.jsonl",
        '{"tokens": ["a"], "ner_tags": [3]}',
        {},
        ["a.jsonl:1", "3", "ner needs names", "--labels_file"],
    ),
    "no names, columns": ("a.conll", "a O\nb 3\n", {}, ["a.conll:2", "--labels_file"]),
    "no names, chunk": (
        "a.jsonl",
        '{"tokens": ["a"], "chunk_tags": [3]}',
        {"task_name": "chunk"},
        ["a.jsonl:1", "chunk needs names"],
    ),
    "negative": (
        "a.jsonl",
        '{"tokens": ["a"], "pos_tags": [-1]}',
        {"task_name": "pos"},
        ["a.jsonl:1", "-1", "-100"],
    ),
    "ignored": (
        "a.jsonl",
        '{"tokens": ["a", "b"], "ner_tags": [-100, null]}',
        {},
        ["train", "a.jsonl", "no word has a gold tag", "--label_column_name"],
    ),
    "no tags": ("a.jsonl", '{"tokens": ["a"]}', {}, ["a.jsonl:1", "task ner", "--predict_file"]),
    "tokens second": (
        "a.jsonl",
        '{"id": 1, "tokens": ["a"], "gold": ["O"]}',
        {},
        ["a.jsonl:1", "id, tokens, gold", "--label_column_name"],
    ),
    "one column": ("a.txt", "a\nb\n", {}, ["a.txt", "task ner", "--predict_file"]),
    "five columns": (
        "a.conll",
        "a b c d e\n",
        {"task_name": "chunk"},
        ["a.conll", "5 columns", "chunk", "--label_column_name"],
    ),
    "CoNLL-U for ner": (
        "a.conllu",
        to_conllu(ROWS),
        {},
        ["a.conllu", "task ner", "--label_column_name", "upos"],
    ),
    "mixed schemes": (
        "a.conll",
        "a B-PER\nb E-PER\n\nc S-LOC\n\nd I-LOC\n\ne B-PER\nf L-PER\n\ng U-PER\n",
        {},
        ["mix two schemes: E-PER at", "a.conll:2 is IOBES", "L-PER at", "a.conll:9 is BILOU"],
    ),
    "no scheme": ("a.conll", "\na PER\n", {}, ["a.conll:2", "'PER'", "--task_name pos"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_names_place_and_remedy(name, tmp_path):
    file, content, given, fragments = BAD[name]
    message = get_fault(train_file=write(tmp_path / file, content), **given)
    for fragment in fragments:
        assert fragment in message
    assert not list(store.cache_root().glob("tmp-*"))


def test_missing_file_and_directory(tmp_path):
    message = get_fault(validation_file=tmp_path / "no.conll")
    assert re.search(r"--validation_file .*no\.conll: .*No such file", message)
    message = get_fault(test_file=tmp_path)
    assert re.search(r"--test_file .*: a directory; .*--dataset_name", message)
    assert "--train_file" in get_fault(dataset_name=write(tmp_path / "a.conll", "a O\n"))


def test_integer_out_of_range(tmp_path):
    row = {"tokens": ["a", "b"], "ner_tags": [0, 9]}
    file = write(tmp_path / "a.jsonl", json.dumps(row))
    message = get_fault(train_file=file, **with_names(tmp_path))
    assert re.search(r"a\.jsonl:1: the tag 9, but .* 6 names \(0 to 5\); .*--labels_file", message)
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
    message = get_fault(train_file=tmp_path / "a.parquet", **with_names(tmp_path))
    assert "a.parquet[0]: the tag 9" in message


def test_bad_labels_files(tmp_path):
    train = {"train_file": write(tmp_path / "a.conll", "a 0\n")}
    for content, fragments in {
        "O\n\nB-PER\n": ["labels:2", "empty line"],
        "O\nB-PER\nO\n": ["labels:3", "'O'", "line 1"],
        "\n": ["labels", "no names"],
    }.items():
        message = get_fault(labels_file=write(tmp_path / "labels", content), **train)
        assert all(fragment in message for fragment in fragments)


def test_dataset_faults_name_split_and_row(tmp_path, monkeypatch):
    rows = [*to_dicts(ROWS), {"tokens": ["a", "b"], "ner_tags": ["O"]}]
    good = to_dataset(to_dicts(ROWS))
    saved = datasets.DatasetDict({"train": good, "test": to_dataset(rows)})
    saved.save_to_disk(tmp_path / "a")
    assert "test[4]: 2 tokens but 1 tag" in get_fault(dataset_name=tmp_path / "a")
    saved["test"] = good.remove_columns("ner_tags")
    saved.save_to_disk(tmp_path / "b")
    message = get_fault(dataset_name=tmp_path / "b")
    assert re.search(r"test: no column .*task ner; .*tokens", message)
    saved["test"] = good.select([])
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **given: saved)
    assert "test: no sentences" in get_fault(dataset_name="someone/something")
    datasets.DatasetDict({"part_1": good}).save_to_disk(tmp_path / "d")
    assert re.search(r"only part_1; .*--train_file", get_fault(dataset_name=tmp_path / "d"))
    (tmp_path / "d" / "dataset_dict.json").write_text("{")
    assert re.search(
        r"cannot be loaded .*; check the folder", get_fault(dataset_name=tmp_path / "d")
    )


@pytest.mark.medium
def test_splits_have_the_names_that_the_user_gives(tmp_path):
    rows = to_dicts(ROWS)
    parts = {"train": rows[:1], "extra": rows[1:2], "dev": rows[2:3], "test": rows[3:]}
    splits = datasets.DatasetDict({name: to_dataset(part) for name, part in parts.items()})
    splits.save_to_disk(tmp_path / "a")

    def sizes(**given) -> dict[str, list]:
        corpus = load(dataset_name=tmp_path / "a", **given)
        return {split: get_rows(dataset) for split, dataset in corpus.splits.items()}

    found = sizes(train_split_name="train+extra", eval_split_name="test")
    assert found.keys() == {"train", "validation"}, "the test data is not scored twice"
    assert [tokens for tokens, _ in found["train"]] == [row["tokens"] for row in rows[:2]]
    assert [tokens for tokens, _ in found["validation"]] == [row["tokens"] for row in rows[3:]]
    assert sizes(eval_split_name="dev") == sizes(), "the usual names need not be given"
    assert sizes(train_split_name="extra").keys() == {"train", "validation", "test"}
    message = get_fault(dataset_name=tmp_path / "a", train_split_name="train+more")
    assert re.search(
        r"no split 'more', only train, extra, dev, test; .*--train_split_name", message
    )


def test_every_tagged_split_is_checked(tmp_path):
    train = write(tmp_path / "train.conll", "a O\n")
    message = get_fault(train_file=train, test_file=write(tmp_path / "test.txt", "a\n"))
    assert re.search(r"test\.txt: one column only, .*--predict_file", message)
    ignored = write(tmp_path / "dev.jsonl", '{"tokens": ["a"], "ner_tags": [null]}')
    warnings = load(train_file=train, validation_file=ignored).warnings
    assert any("validation: no word has a gold tag" in warning for warning in warnings)


# --- the hub, which tests cannot reach ---


@pytest.fixture
def _offline(monkeypatch):
    """What HF_HUB_OFFLINE=1 sets when the libraries are imported; no retries, no waiting."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("conll2003", None),
        ("eriktks/conll2003", "conll2003"),
        ("wnut_17", None),
        ("universal_dependencies", "en_partut"),
        ("someone/with_a_script", None),
    ],
)
def test_retired_names_load_their_parquet_conversion(name, config, monkeypatch):
    asked = []

    def load_stand_in(path, config_name=None, **given):
        asked.append((path, config_name or given.get("name") or given.get("data_dir")))
        if given["revision"] is None:
            raise RuntimeError("Dataset scripts are no longer supported, but found it.py")
        if config and "data_dir" not in given:
            raise ValueError("BuilderConfig not found")
        assert given["revision"] == "refs/convert/parquet"
        assert given["token"] == "secret"
        dataset = to_dataset(to_dicts(ROWS, nullable_ids), CLASS_LABEL)
        return datasets.DatasetDict({"train": dataset, "valid": dataset})

    monkeypatch.setattr(datasets, "load_dataset", load_stand_in)
    corpus = load(dataset_name=name, dataset_config_name=config, hub_token="secret")
    assert get_rows(corpus.splits["validation"]) == ROWS
    assert "parquet conversion" in corpus.warnings[0]
    assert set(asked) == {(name, config)}


@pytest.mark.parametrize(
    ("name", "replacement"),
    [
        ("conll2003", "lhoestq/conll2003"),
        ("eriktks/conll2003", "lhoestq/conll2003"),
        ("wnut_17", "github.com/leondz/emerging_entities_17"),
        ("universal_dependencies", "commul/universal_dependencies"),
    ],
)
@pytest.mark.usefixtures("_offline")
def test_without_a_network_the_error_names_a_replacement(name, replacement):
    message = get_fault(dataset_name=name)  # the real library
    assert name in message
    assert replacement in message
    assert "no network" in message


def test_no_minute_of_retries_without_a_network(monkeypatch, looked_up):
    for library in (datasets.config, huggingface_hub.constants):
        monkeypatch.setattr(library, "HF_HUB_OFFLINE", False)
    message = get_fault(dataset_name="wnut_17")
    assert len(looked_up) == 1  # the library alone tries each name six times, over 20 s
    assert "github.com/leondz/emerging_entities_17" in message
    assert not datasets.config.HF_HUB_OFFLINE


@pytest.mark.usefixtures("_offline")
def test_other_hub_errors_are_one_line(monkeypatch):
    message = get_fault(dataset_name="someone/something")
    assert re.search(
        r"someone/something: cannot be loaded .*without a network.*--train_file", message
    )

    def fail(*args, **given):
        raise ValueError("Config name is missing.\nPick one")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    message = get_fault(dataset_name="someone/something")
    assert re.search(r"\(Config name is missing\.\); .*--dataset_config_name", message)
    assert "\n" not in message
    message = get_fault(dataset_name="conll2003", dataset_revision="main")  # theirs: no fallback
    assert "Config name is missing" in message


# --- size ---


@pytest.mark.parametrize(("name", "sentences"), [("a.jsonl", 5000), ("a.conll", 1000)])
@pytest.mark.slow
def test_rows_are_never_all_in_memory(name, sentences, tmp_path):
    rows = [([f"word{n % 977}" for n in range(s, s + 100)], ["O"] * 100) for s in range(sentences)]
    content = to_jsonl(to_dicts(rows)) if name == "a.jsonl" else to_columns(rows)
    file = write(tmp_path / name, content)
    del rows, content
    tracemalloc.start()
    try:
        number = sum(1 for _ in readers.read_source(file, "train", Choices(KINDS["ner"])).rows)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert number == sentences
    assert peak < file.stat().st_size


# --- the real corpora ---


def count_words(dataset) -> int:
    return sum(map(len, dataset["tokens"]))


@pytest.mark.slow
def test_conll2003(corpora):
    files = {
        f"{split}_file": corpora / "conll2003" / f"eng.{name}"
        for split, name in [("train", "train"), ("validation", "testa"), ("test", "testb")]
    }
    corpus = load(**files)
    splits = corpus.splits.values()
    assert [len(split) for split in splits] == [14_041, 3_250, 3_453]
    assert [count_words(split) for split in splits] == [203_621, 51_362, 46_435]
    assert [split["document"][-1] + 1 for split in splits] == [946, 216, 231]
    assert corpus.scheme == "IOB1"
    types = ["LOC", "MISC", "ORG", "PER"]
    assert corpus.labels == [f"{prefix}-{type_}" for prefix in "BI" for type_ in types] + ["O"]
    for tags in corpus.splits["train"]["tags"]:
        for before, tag in zip(["O", *tags], tags, strict=False):
            assert not tag.startswith("I-") or before[1:] == tag[1:]
    assert len(corpus.warnings) == 1
    assert "tags are IOB1, but 2 do not fit" in corpus.warnings[0]  # slips of that corpus
    lines = b"".join(file.read_bytes() for file in files.values()).split(b"\n")
    third = {line.split(b" ")[1].decode() for line in lines if line and line[:2] != b"-D"}
    assert load(task_name="pos", **files).labels == sorted(third)
    assert load(task_name="chunk", **files).splits["train"][0]["tags"][:2] == ["B-NP", "B-VP"]


@pytest.mark.medium
def test_wnut17(corpora):
    corpus = load(
        train_file=corpora / "wnut17" / "wnut17train.conll",
        validation_file=corpora / "wnut17" / "wnut17dev.conll",
        test_file=corpora / "wnut17" / "wnut17test.conll",
    )
    splits = corpus.splits.values()
    assert [len(split) for split in splits] == [3_394, 1_009, 1_287]
    assert [count_words(split) for split in splits] == [62_730, 15_733, 23_394]
    assert (corpus.scheme, len(corpus.labels)) == ("IOB2", 13)


@pytest.mark.medium
def test_partut(corpora):
    files = {
        f"{split}_file": corpora / "ud_partut" / f"en_partut-ud-{name}.conllu"
        for split, name in [("train", "train"), ("validation", "dev"), ("test", "test")]
    }
    corpus = load(task_name="pos", **files)
    for option, file in files.items():
        words = re.findall(rb"(?m)^[0-9]+\t([^\t]+)\t[^\t]*\t([^\t]+)\t", file.read_bytes())
        split = corpus.splits[option.removesuffix("_file")]
        assert len(split) == file.read_bytes().count(b"# sent_id")
        pairs = [
            pair for tokens, tags in get_rows(split) for pair in zip(tokens, tags, strict=True)
        ]
        assert pairs == [(word.decode(), tag.decode()) for word, tag in words]
    assert corpus.scheme is None
    assert corpus.labels[:3] == ["ADJ", "ADP", "ADV"]


def test_transformers_fixture(corpora):
    corpus = load(train_file=corpora / "conll_sample.json")
    assert (len(corpus.splits["train"]), count_words(corpus.splits["train"])) == (10, 195)


# --- the cache ---

BUILD_SLOWLY = """
import sys, time
from pathlib import Path
from tagloop.data.storage.store import build_once
def build(folder):
    with open(sys.argv[1], "a") as log:
        log.write("built\\n")
    time.sleep(float(sys.argv[2]))
    (folder / "data").write_text("complete")
folder = build_once("test", {"file": sys.argv[1]}, build)
print(folder, (folder / "data").read_text())
"""


def start_build(log: Path, seconds: float) -> subprocess.Popen:
    command = [sys.executable, "-c", BUILD_SLOWLY, str(log), str(seconds)]
    return subprocess.Popen(command, cwd=REPO, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_two_processes_at_once_build_once(tmp_path):
    log = tmp_path / "log"
    builds = [start_build(log, 2), start_build(log, 2)]
    outputs = {build.communicate(timeout=HANG)[0] for build in builds}
    assert log.read_text() == "built\n"
    assert len(outputs) == 1
    assert outputs.pop().endswith(" complete\n")


@pytest.mark.slow
def test_killed_build_leaves_nothing_that_is_opened(tmp_path):
    log = tmp_path / "log"
    killed = start_build(log, HANG)
    wait_until(log.exists, "the build has begun")
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    output, _ = start_build(log, 0).communicate(timeout=HANG)
    assert output.endswith(" complete\n")
    assert log.read_text() == "built\n" * 2


def test_failed_build_leaves_nothing_and_can_be_repeated(tmp_path, monkeypatch):
    monkeypatch.setenv("TAGLOOP_CACHE", str(tmp_path))

    def fail(folder):
        (folder / "half").write_text("")
        raise InputError("bad row")

    with pytest.raises(InputError, match="bad row"):
        build_once("test", {"a": 1}, fail)
    assert [path.name for path in tmp_path.iterdir()] == ["locks"]
    folder = build_once("test", {"a": 1}, lambda folder: (folder / "whole").write_text(""))
    assert sorted(path.name for path in folder.iterdir()) == ["sizes.json", "whole"]
    assert build_once("test", {"a": 1}, fail) == folder
    with pytest.raises(InputError, match="bad row"):
        build_once("test", {"a": 2}, fail)


@pytest.mark.parametrize("damaged", ["train.arrow", "facts.json", "sizes.json"])
@pytest.mark.parametrize("how", ["truncated", "missing"])
def test_a_damaged_cache_is_built_again(damaged, how, tmp_path, monkeypatch):
    monkeypatch.setenv("TAGLOOP_CACHE", str(tmp_path / "cache"))
    file = write(tmp_path / "a.conll", to_columns(ROWS))
    before = load("train", train_file=file)
    (folder,) = (tmp_path / "cache").glob("corpus-*")
    content = (folder / damaged).read_bytes()
    (folder / damaged).unlink()
    if how == "truncated":
        write(folder / damaged, content[: len(content) // 2])
    again = load("train", train_file=file)
    assert get_rows(again.splits["train"]) == ROWS
    assert again.fingerprints == before.fingerprints
    assert (folder / damaged).read_bytes() == content


@pytest.mark.parametrize(
    "seal",
    ['{"/dev/zero": [0, "x"]}', '{"../whole": [0, "x"]}', '{"a\\u0000": [0, "x"]}', '{"a": 1}',
     '{"a": [1]}', "[]"],
)  # fmt: skip
def test_a_seal_of_another_program_is_not_believed(tmp_path, monkeypatch, seal):
    monkeypatch.setenv("TAGLOOP_CACHE", str(tmp_path))
    folder = build_once("test", {}, lambda folder: write(folder / "whole", "a" * 99))
    write(folder / "sizes.json", seal)
    built = build_once("test", {}, lambda folder: write(folder / "whole", "b" * 99))
    assert (built / "whole").read_text() == "b" * 99


def test_a_pipe_among_prepared_data_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setenv("TAGLOOP_CACHE", str(tmp_path))
    folder = build_once("test", {}, lambda folder: write(folder / "whole", "a" * 99))
    (folder / "whole").unlink()
    os.mkfifo(folder / "whole")
    built = build_once("test", {}, lambda folder: write(folder / "whole", "b" * 99))
    assert (built / "whole").read_text() == "b" * 99


def test_unwritable_cache(tmp_path, monkeypatch):
    root = write(tmp_path / "file", "") / "cache"
    monkeypatch.setenv("TAGLOOP_CACHE", str(root))
    with pytest.raises(InputError, match=rf"{re.escape(str(root))}.*TAGLOOP_CACHE"):
        build_once("test", {}, lambda folder: None)


def test_warm_cache_reads_no_rows(tmp_path, monkeypatch):
    first = load("train", train_file=write(tmp_path / "a.conll", "warm B-LOC\n"))
    monkeypatch.setattr(readers, "read_source", None)
    again = load("train", train_file=write(tmp_path / "b.conll", "warm B-LOC\n"))
    assert again.fingerprints == first.fingerprints
    assert again.splits["train"].cache_files == first.splits["train"].cache_files


def test_the_digest_of_a_builder_is_that_of_all_that_it_imports(tmp_path, monkeypatch):
    monkeypatch.setattr(
        store, "__file__", str(tmp_path / "tagloop" / "data" / "storage" / "store.py")
    )
    (tmp_path / "tagloop" / "data").mkdir(parents=True)
    for name, text in {
        "builder": "from tagloop.data import parts\n",
        "data/parts": "from tagloop.tools import cut\n",
        "tools": "def cut(): pass\n",
        "optimizer": "",
    }.items():
        write(tmp_path / "tagloop" / f"{name}.py", text)
    write(tmp_path / "tagloop" / "data" / "__init__.py", "")
    digest = source_digest("tagloop.builder")
    write(tmp_path / "tagloop" / "optimizer.py", "EDITED = 1\n")
    assert source_digest("tagloop.builder") == digest, "a module that the builder does not import"
    for name in ("builder", "data/parts", "tools"):
        with (tmp_path / "tagloop" / f"{name}.py").open("a") as file:
            file.write("EDITED = 1\n")
        assert source_digest("tagloop.builder") != digest
        digest = source_digest("tagloop.builder")
