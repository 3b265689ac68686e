"""Data that was read, wrongly and without a word: now read rightly, or refused with the remedy."""

import csv
import io
import json
import os
import random
import shutil
from decimal import Decimal

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from loading import get_fault, get_rows, load, write

from tagloop.data.encodings import likely_encoding
from tagloop.data.memory import file_of_rows
from tagloop.data.rows import load_rows
from tagloop.data.storage.store import build_once
from tagloop.options.config import Config

ANN = (["Ann", "won"], ["B-PER", "O"])


def read(tmp_path, name, content, **given):
    return load("train", train_file=write(tmp_path / name, content), **given)


def refused(tmp_path, name, content, **given) -> str:
    return get_fault(train_file=write(tmp_path / name, content), **given)


def to_csv(rows) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


# --- quotes that are words ---

WORDS = ['"', "Ann", "won", '"', "5", "said", "Bob", ".", '"', "no"]


@pytest.mark.parametrize(("name", "mark"), [("a.tsv", "\t"), ("a.csv", ","), ("a.csv", ";")])
def test_a_quote_that_is_a_word_swallows_no_row(name, mark, tmp_path):
    rows = [["sentence_id", "word", "tag"]]
    rows += [[str(at // 5), word, "O"] for at, word in enumerate(WORDS * 20)]
    content = "".join(mark.join(row) + "\n" for row in rows)
    corpus = read(tmp_path, name, content)
    assert [word for words in corpus.splits["train"]["tokens"] for word in words] == WORDS * 20
    quoted = to_csv(rows) if mark == "," else content
    assert get_rows(read(tmp_path, name, quoted).splits["train"]) == get_rows(
        corpus.splits["train"]
    )


def test_words_that_begin_or_end_with_a_quote_in_a_table_with_tabs(tmp_path):
    content = 'word\ttag\nsentence_id\tO\n"Yes\tO\n5"\tO\nAnn\tB-PER\n'.replace("\t", "\t1\t")
    content = content.replace("word\t1\t", "word\tsentence_id\t").replace("sentence_id\t1\tO\n", "")
    (row,) = get_rows(read(tmp_path, "a.tsv", content).splits["train"])
    assert row == (['"Yes', '5"', "Ann"], ["O", "O", "B-PER"])


def test_a_cell_with_a_line_break_among_words_is_refused_with_its_line(tmp_path):
    rows = "".join(f"{n},{word},O\n" for n in range(9) for word in ("so", '","', "it"))
    table = f'sentence_id,word,tag\n{rows}9,",O\n9,x,O\n9,",O\n{rows}'
    message = refused(tmp_path, "a.csv", table)
    assert "a.csv:29" in message
    assert "quote" in message


def test_a_table_that_quotes_some_quotes_and_not_others_is_refused(tmp_path):
    rows = "sentence_id\tword\ttag\n" + '0\t""""\tO\n0\t"\tO\n0\tit\tO\n1\t"\tO\n' * 3
    assert "a.tsv:" in refused(tmp_path, "a.tsv", rows)


def test_quoted_texts_keep_their_quotes_line_breaks_and_commas(tmp_path):
    rows = [["tokens", "ner_tags"], ['Ann " won', "B-PER O O"], [", .", "O O"]]
    assert get_rows(read(tmp_path, "a.csv", to_csv(rows)).splits["train"]) == [
        (["Ann", '"', "won"], ["B-PER", "O", "O"]),
        ([",", "."], ["O", "O"]),
    ]


# --- ids and headers ---


@pytest.mark.parametrize(
    "content",
    [
        "1-1 Ann B-PER\n1-2 won O\n\n2-1 it O\n2-2 is O\n",
        "7 Ann B-PER\n7 won O\n7 it O\n\n8 so O\n8 it O\n8 is O\n",
        "a.txt Ann B-PER\na.txt won O\n\nb.txt so O\nb.txt is O\nb.txt it O\n",
        "a 1 Ann B-PER\na 2 won O\na 3 it O\n\na 1 so O\na 2 is O\n",
        "0-3 Ann B-PER\n4-7 won O\n\n8-10 it O\n",
        "\n".join(f"{chr(97 + n % 26)}{'x' * (n // 26)} w{n % 3} O" for n in range(80)),
    ],
)
def test_ids_before_the_words_are_refused_with_an_example_of_each_column(content, tmp_path):
    message = refused(tmp_path, "a.conll", content)
    first, *_, tag = content.split("\n")[0].split()
    assert "column 0 looks like ids" in message
    assert f"0 ({first!r})" in message
    number = content.split("\n")[0].split().index(tag) - 1
    assert f"--text_column_name {number}" in message
    corpus = read(tmp_path, "a.conll", content, text_column_name=str(number))
    assert first not in corpus.splits["train"][0]["tokens"]


def test_ids_in_the_first_column_of_a_table_are_refused(tmp_path):
    rows = [["key", "form", "tag", "sent_id"]]
    rows += [[f"w{n}", word, "O", n // 2] for n, word in enumerate(["Ann", "won"] * 4)]
    message = refused(tmp_path, "a.csv", to_csv(rows))
    assert "column 'key' looks like ids" in message
    assert "form ('Ann')" in message


@pytest.mark.parametrize("header", ["word tag", "Token NER", "words ner_tags", "token pos"])
def test_a_line_that_names_the_columns_is_no_word(header, tmp_path):
    corpus = read(tmp_path, "a.conll", f"{header}\nAnn B-PER\nwon O\n")
    assert get_rows(corpus.splits["train"]) == [ANN]
    assert any(repr(header) in warning for warning in corpus.warnings)


def test_a_header_says_which_columns_are_meant(tmp_path):
    content = "id word ner pos\n7 Ann B-PER NNP\n9 won O VBD\n"
    assert get_rows(read(tmp_path, "a.conll", content).splits["train"]) == [ANN]


def test_a_header_in_words_that_nobody_knows_is_refused(tmp_path):
    lines = "palabra etiqueta\nAnn PROPN\n" + "won VERB\n" * 25
    message = refused(tmp_path, "a.conll", lines, task_name="pos")
    assert "'palabra etiqueta'" in message
    assert "delete that line" in message


# --- keys ---

KEYED = [
    (doc, number, word, tag)
    for doc in "AB"
    for number in range(20)
    for word, tag in zip(*ANN, strict=True)
]


@pytest.mark.parametrize("header", ["doc_id", "wo"])
def test_numbers_that_begin_anew_with_each_document(header, tmp_path):
    rows = [[header, "sentence_id", "word", "tag"], *KEYED]
    assert get_rows(read(tmp_path, "a.csv", to_csv(rows)).splits["train"]) == [ANN] * 40
    lines = [json.dumps(dict(zip(rows[0], row, strict=True))) for row in KEYED]
    assert get_rows(read(tmp_path, "a.jsonl", "\n".join(lines)).splits["train"]) == [ANN] * 40
    alone = [row[1:] for row in rows]
    assert get_rows(read(tmp_path, "b.csv", to_csv(alone)).splits["train"]) == [ANN] * 40
    lone = [rows[0], *[row for row in KEYED if row[1] == 0]]  # one sentence in each document
    assert get_rows(read(tmp_path, "c.csv", to_csv(lone)).splits["train"]) == [ANN] * 2


@pytest.mark.parametrize("columns", [slice(None), slice(1, None)])
def test_rows_in_another_order_are_refused_with_their_lines(columns, tmp_path):
    rows = random.Random(1).sample(KEYED, len(KEYED))
    table = [row[columns] for row in [("doc_id", "sentence_id", "word", "tag"), *rows]]
    message = refused(tmp_path, "a.csv", to_csv(table))
    assert "stand apart" in message
    assert "sort the rows" in message
    assert message.count("a.csv:") == 2


# --- tags of other kinds ---


def test_bare_prefixes_are_spans_of_one_type(tmp_path):
    corpus = read(tmp_path, "a.tsv", "Ann\tB\nLee\tI\nwon\tO\n\nit\tO\n")
    assert corpus.splits["train"][0]["tags"] == ["B-ENTITY", "I-ENTITY", "O"]
    assert corpus.scheme == "IOB2"
    assert any("name no type" in warning for warning in corpus.warnings)
    bioes = read(tmp_path, "b.tsv", "Ann\tB\nLee\tE\nwon\tO\n\nBob\tS\n")
    assert get_rows(bioes.splits["train"])[1] == (["Bob"], ["B-ENTITY"])


@pytest.mark.parametrize("scheme", [None, "IO"])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("Ann PER\nwon _\nit _\n", "stand for O"),
        ("Ann PER\nwon OTHER\nit OTHER\n", "'OTHER' is the commonest"),
        ("Ann PER\nwon o\nit o\n", "'o' is the commonest"),
        ("Ann (PERSON*\nLee *)\nwon *\nit *\n", "CoNLL-2012"),
        ("Ann (PERSON)\nwon *\nit *\n", "CoNLL-2012"),
        ("Ann B_PER\nLee I_PER\nwon O\nit O\nso O\n", "'B-PER'"),
        ("Ann PER-B\nLee PER-I\nwon O\nit O\nso O\n", "'B-PER'"),
        ("Ann B-PER\nwon 0\nit 0\n", "the letter O"),
        ("won 0\nAnn B-PER\nit 0\n", "the letter O"),
        ("#FORMAT=WebAnno TSV 3.2\n\n\n1-1\t0-3\tAnn\tPER\t\n", "WebAnno"),
    ],
)
def test_each_foreign_tag_is_told_with_its_own_remedy(content, told, scheme, tmp_path):
    name = "a.tsv" if "\t" in content else "a.conll"
    message = refused(tmp_path, name, content, label_scheme=scheme)
    assert told in message
    assert "--label_scheme IO" not in message


def test_io_is_still_read_where_it_is_meant(tmp_path):
    content = "Ann PER\nLee PER\nwon O\nit O\nso O\n"
    for scheme in (None, "IO"):
        corpus = read(tmp_path, "a.conll", content, label_scheme=scheme)
        assert corpus.splits["train"][0]["tags"] == ["B-PER", "I-PER", "O", "O", "O"]


@pytest.mark.parametrize("name", ["a.conll", "a.tsv", "a.jsonl"])
def test_an_underscore_is_no_gold_tag_in_every_format(name, tmp_path):
    content = "Ann\tB-PER\nwon\t_\n\nit\tO\n"
    if name == "a.jsonl":
        content = '{"tokens": ["Ann", "won"], "tags": ["B-PER", "_"]}\n'
        content += '{"tokens": ["it"], "tags": ["O"]}\n'
    rows = get_rows(read(tmp_path, name, content).splits["train"])
    assert rows == [(["Ann", "won"], ["B-PER", None]), (["it"], ["O"])]


def test_a_tag_with_a_blank_is_named(tmp_path):
    message = refused(tmp_path, "a.conll", "won O\nAnn B-Job Title\nit O\n")
    assert "a.conll:2" in message
    assert "no tag may hold a blank" in message
    assert "'B-Job_Title'" in message


@pytest.mark.parametrize(
    "names",
    ['["O", "B-PER"]', '{"0": "O", "1": "B-PER"}', '{"O": 0, "B-PER": 1}',
     '{"id2label": {"1": "B-PER", "0": "O"}, "label2id": {}}'],
)  # fmt: skip
def test_names_of_tags_may_be_json(names, tmp_path):
    file = write(tmp_path / "names.json", names)
    content = '{"tokens": ["Ann", "won"], "ner_tags": [1, 0]}'
    corpus = read(tmp_path, "a.jsonl", content, labels_file=file)
    assert get_rows(corpus.splits["train"]) == [ANN]


@pytest.mark.parametrize("names", ['{"O": 0, "B-PER": 2}', '{"O": 0', '["O", 1]', "{}"])
def test_names_of_tags_in_other_json_are_refused(names, tmp_path):
    file = write(tmp_path / "names.json", names)
    assert "names.json" in refused(tmp_path, "a.jsonl", '{"tokens": ["a"]}', labels_file=file)


# --- exports ---


def test_spans_of_words_as_gliner_has_them(tmp_path):
    row = {"tokenized_text": ["Ann", "Lee", "won"], "ner": [[0, 1, "person"], [0, 0, "first name"]]}
    plain = {"tokenized_text": ["so"], "ner": []}
    for name, content in (
        ("a.json", json.dumps([row, plain])),
        ("a.jsonl", json.dumps(row) + "\n" + json.dumps(plain)),
    ):
        corpus = read(tmp_path, name, content)
        assert get_rows(corpus.splits["train"]) == [
            (["Ann", "Lee", "won"], ["B-person", "I-person", "O"]),
            (["so"], ["O"]),
        ]
        assert any("no span of the type 'first name' is left" in w for w in corpus.warnings)
    outside = json.dumps({"tokenized_text": ["Ann"], "ner": [[0, 1, "person"]]})
    assert "a.jsonl:1" in refused(tmp_path, "a.jsonl", outside)


SPAN = {"start": 0, "end": 3, "label": "PER"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", json.dumps({"classes": ["PER"], "annotations": [
            ["Ann won", {"entities": [[0, 3, "PER"]]}], None]})),
        ("a.json", json.dumps({"classes": ["PER"], "annotations": [
            ["Ann won", {"entities": [[0, 3, "PER"]]}]]}, indent=2)),
        ("a.csv", to_csv([["text", "entities"], ["Ann won", json.dumps([SPAN])]])),
        ("a.csv", to_csv([["id", "text", "label"], [1, "Ann won", json.dumps(
            [{"start": 0, "end": 3, "text": "Ann", "labels": ["PER"]}])]])),
        ("a.csv", to_csv([["text", "spans"], ["Ann won", "[(0, 3, 'PER')]"]])),
        ("a.csv", to_csv([["sentence", "word_labels"], ["Ann won", "B-PER,O"]])),
        ("a.csv", to_csv([["sentence", "word_labels"], ["Ann won", "B-PER, O"]])),
        ("a.csv", to_csv([["text", "x"], ["Ann won", "{'entities': [(0, 3, 'PER')]}"]])),
        ("a.jsonl", json.dumps({"text": "Ann won", "ents": [[0, 3, "PER"]]})),
        ("a.jsonl", json.dumps({"text": "Ann won", "entities": [
            {"start": 0, "end": 3, "type": "PER"}]})),
        ("a.csv", to_csv([["Sentence #", "sentence", "word_labels"], [1, "Ann won", "B-PER,O"]])),
        ("a.jsonl", json.dumps({"text": "Ann won", "annotations": [SPAN]})),
    ],
)  # fmt: skip
def test_common_exports_are_read(name, content, tmp_path):
    assert get_rows(read(tmp_path, name, content).splits["train"]) == [ANN]


def test_labels_that_are_integers_need_names(tmp_path):
    mark = {"label": 1, "start_offset": 0, "end_offset": 3, "user": 1}
    content = json.dumps({"text": "Ann won", "annotations": [mark]})
    message = refused(tmp_path, "a.jsonl", content)
    assert "--labels_file" in message
    names = write(tmp_path / "names.txt", "ORG\nPER\n")
    assert get_rows(read(tmp_path, "a.jsonl", content, labels_file=names).splits["train"]) == [ANN]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (
            {"tokens": ["Ann"], "entities": [{"type": "PER", "start": 0, "end": 1}]},
            "spans or lists",
        ),
        (
            {"content": "Ann won", "annotation": [{"label": ["PER"], "points": []}]},
            "spans or lists",
        ),
        ({"examples": [{"content": "Ann won", "annotations": []}]}, "inside of 'examples'"),
        ({"rasa_nlu_data": {"common_examples": []}}, "inside of 'rasa_nlu_data'"),
        ({"sentences": [["Ann", "won"]], "ner": [[[0, 0, "PER"]]]}, "a list of sentences"),
    ],
)
def test_other_exports_are_named(row, told, tmp_path):
    assert told in refused(tmp_path, "a.jsonl", json.dumps(row))


# --- encodings ---

SENTENCES = {
    "gb18030": "中国 B-LOC\n北京 B-LOC\n新华社 B-ORG\n记者 O\n今天 O\n报道 O\n经济 O\n发展 O\n",
    "big5": "臺灣 B-LOC\n台北 B-LOC\n記者 O\n今天 O\n報導 O\n我們 O\n經濟 O\n發展 O\n大學 I-ORG\n",
    "shift_jis": "東京 B-LOC\nで O\n日本 B-LOC\nの O\n首相 O\nは O\n記者 O\n会見 O\nを O\n行い O\n",
    "euc-kr": "서울 B-LOC\n에서 O\n대통령 O\n은 O\n기자 O\n회견 O\n을 O\n했다 O\n삼성 B-ORG\n",
    "cp1251": "Москва B-LOC\nсегодня O\nпрезидент O\nзаявил O\nжурналистам O\nчто O\nРоссия O\n",
    "latin1": "Zürich B-LOC\nder O\nMüller B-PER\nwürde O\nschön O\nfür O\nStraße O\ngrößer O\n",
    "cp1252": "Zürich B-LOC\n“schön” O\nMüller B-PER\nwürde O\n– O\nfür O\n€ O\nL’été O\n",
}  # fmt: skip


@pytest.mark.parametrize("encoding", SENTENCES)
def test_the_likely_encoding_is_named_in_the_remedy(encoding, tmp_path):
    content = (SENTENCES[encoding] * 3).encode(encoding)
    message = refused(tmp_path, "a.conll", content)
    assert f"iconv -f {encoding} -t utf-8" in message
    assert likely_encoding(content) == (encoding, True)


def test_a_few_words_are_a_guess_however_often_they_are_there(tmp_path):
    content = "Łukasz B-PER\nWrocław B-LOC\nżyje O\n\n" * 20
    message = refused(tmp_path, "a.conll", content.encode("cp1250"))
    assert "look at the words" in message
    assert "(line 1 is then '£ukasz B-PER')" in message


def test_an_encoding_of_ascii_bytes_is_told(tmp_path):
    message = refused(tmp_path, "a.conll", "東京 B-LOC\n".encode("iso2022_jp"))
    assert "iconv -f iso-2022-jp" in message


# --- extremes ---


@pytest.mark.slow
def test_extreme_values_end_with_their_place(tmp_path):
    digits = "1" * 5000
    for name, content in (
        ("a.json", f'[{{"tokens": ["a"], "ner_tags": [{digits}]}}]'),
        ("a.jsonl", f'{{"tokens": ["a"], "ner_tags": ["O"], "x": {digits}}}'),
        ("a.jsonl", '{"tokens": ["a"], "ner_tags": ["O"], "x": "\\ud800"}'),
        ("a.json", '[{"tokens": ["a"], "ner_tags": ["O"], "x": "\\udfff"}]'),
        ("a.conll", f"a {digits}\nb O\n"),
        ("a.conll", f"{digits} a O\n{digits} b O\n{digits} c O\n"),
        ("a.conll", "x" * 200_000 + " O\nb O\n"),
    ):
        message = refused(tmp_path, name, content)
        assert name in message
        assert len(message) < 1000
    for given in ({"train_file": "x" * 300}, {"train_file": "x" * 253 + ".txt"}):
        assert "too long" in get_fault(**given) or "No such file" in get_fault(**given)
    assert "too long" in get_fault(dataset_name="x" * 300)
    os.mkfifo(tmp_path / "pipe.conll")
    assert "no plain file" in get_fault(train_file=tmp_path / "pipe.conll")


# --- prepared data ---


@pytest.mark.slow
def test_other_content_of_the_same_size_is_built_again(tmp_path, monkeypatch):
    monkeypatch.setenv("TAGLOOP_CACHE", str(tmp_path / "cache"))
    file = write(tmp_path / "a.conll", "Ann B-PER\nwon O\n")
    load("train", train_file=file)
    (folder,) = (tmp_path / "cache").glob("corpus-*")
    data = folder / "train.arrow"
    before, facts = data.read_bytes(), data.stat()
    data.write_bytes(before.replace(b"Ann", b"Bob"))
    os.utime(data, ns=(facts.st_atime_ns, facts.st_mtime_ns))  # as old as it was
    assert get_rows(load("train", train_file=file).splits["train"]) == [ANN]
    assert data.read_bytes() == before


def test_a_folder_that_this_machine_knows_is_not_read_again(tmp_path, monkeypatch):
    monkeypatch.setenv("TAGLOOP_CACHE", str(tmp_path))
    folder = build_once("test", {}, lambda folder: write(folder / "whole", "a" * 99))
    reads = []
    monkeypatch.setattr("tagloop.data.storage.store.sha256_of", reads.append)
    assert build_once("test", {}, None) == folder
    assert not reads
    for checked in (tmp_path / "locks").glob("*.checked"):
        checked.unlink()  # as on another machine, which shares the folder
    monkeypatch.undo()
    monkeypatch.setenv("TAGLOOP_CACHE", str(tmp_path))
    assert build_once("test", {}, None) == folder


def test_a_dataset_that_was_made_anew_is_read_anew(tmp_path):
    """Its fingerprint follows from the function that made it, and not from what that has read."""
    tags, folder = tmp_path / "tags.json", tmp_path / "saved"
    base = datasets.Dataset.from_list([{"tokens": ["Ann", "won"]}])

    def with_tags(row):
        return {"ner_tags": json.loads(tags.read_text())}

    found, files = [], []
    for tag in ("B-PER", "B-ORG"):
        tags.write_text(json.dumps([tag, "O"]))
        made = base.map(with_tags, load_from_cache_file=False)
        made.save_to_disk(folder / tag)
        shutil.rmtree(folder / "used", ignore_errors=True)
        shutil.copytree(folder / tag, folder / "used")
        corpus = load("train", dataset_name=str(folder / "used"))
        found += corpus.splits["train"]["tags"]
        files.append(file_of_rows(made, "train"))
    assert found == [["B-PER", "O"], ["B-ORG", "O"]]
    assert files[0] != files[1]


def test_a_no_break_space_does_not_part_the_words_of_a_table(tmp_path):
    rows = [("Sentence #", "Word", "Tag"), ("1", "10\u00a0000", "O"), ("1", "Ann", "B-PER")]
    rows += [("2", "Bo", "B-PER"), ("2", "won", "O")]
    corpus = read(tmp_path, "a.csv", to_csv(rows))
    assert get_rows(corpus.splits["train"]) == [
        (["10\u00a0000", "Ann"], ["O", "B-PER"]),
        (["Bo", "won"], ["B-PER", "O"]),
    ]


@pytest.mark.parametrize(
    ("tokens", "tags", "expected"),
    [
        ("Oslo, ,, Bergen, .", "B-LOC, O, B-LOC, O", ["Oslo", ",", "Bergen", "."]),
        ("Ann, won, ,", "B-PER, O, O", ["Ann", "won", ","]),
        ("Ann, won", "B-PER, O", ["Ann", "won"]),
    ],
)
def test_a_comma_between_words_that_commas_part_is_a_word(tokens, tags, expected, tmp_path):
    corpus = read(tmp_path, "a.csv", to_csv([("tokens", "ner_tags"), (tokens, tags)]))
    assert corpus.splits["train"]["tokens"][0] == expected


def test_of_equal_spans_of_brat_the_first_is_kept(tmp_path):
    (tmp_path / "brat").mkdir()
    write(tmp_path / "brat" / "a.txt", "Ann won\n")
    write(tmp_path / "brat" / "a.ann", "T1\tPER 0 3\tAnn\nT2\tORG 0 3\tAnn\n")
    corpus = load("train", train_file=tmp_path / "brat")
    assert corpus.splits["train"]["tags"][0] == ["B-PER", "O"]


def test_an_empty_list_in_a_cell_says_that_nothing_is_marked(tmp_path):
    rows = [("text", "label"), ("Ann won", '[[0, 3, "PER"]]'), ("so it is", "[]")]
    corpus = read(tmp_path, "a.csv", to_csv(rows), label_column_name="label")
    assert corpus.splits["train"]["tags"][1] == ["O"] * 3
    assert not [warning for warning in corpus.warnings if "without a list" in warning]


@pytest.mark.parametrize("key", ["document_id", "meeting"])
@pytest.mark.parametrize("kind", ["doccano", "gliner"])
def test_documents_of_annotated_rows_are_told_by_their_column(key, kind, tmp_path):
    row = {"text": "Ann won", "label": [[0, 3, "PER"]]}
    if kind == "gliner":
        row = {"tokenized_text": ["Ann", "won"], "ner": [[0, 0, "PER"]]}
    lines = [json.dumps(row | {key: name}) for name in ("a", "a", "b")]
    given = {} if key == "document_id" else {"document_column_name": key}
    corpus = read(tmp_path, "a.jsonl", "\n".join(lines), context_tokens=1, **given)
    assert corpus.splits["train"]["document"][:] == [0, 0, 1]
    assert corpus.documents["train"] == "a column"
    given = {"document_column_name": "typing error", "unmarked_split": "document"}
    unknown = read(tmp_path, "a.jsonl", "\n".join(lines), context_tokens=1, **given)
    assert unknown.documents["train"] is None, "no row has this column"
    lines = [json.dumps(row | ({key: name} if name else {})) for name in ("a", "", "", "b")]
    given = {} if key == "document_id" else {"document_column_name": key}
    corpus = read(tmp_path, "b.jsonl", "\n".join(lines), context_tokens=1, **given)
    assert corpus.splits["train"]["document"][:] == [0, 1, 2, 3], "a row without a name is alone"


def test_words_to_tag_may_have_tags_of_another_kind(tmp_path):
    train = write(tmp_path / "a.conll", "Ann B-PER\nwon O\n")
    words = write(tmp_path / "b.conll", "Ann NNP\nwon VBD\n")
    corpus = load("predict", train_file=train, predict_file=words)
    assert get_rows(corpus.splits["predict"]) == [(["Ann", "won"], [None, None])]
    assert any("predict: its tags fit no scheme" in warning for warning in corpus.warnings)
    lines = "Ann B-PER\nLee E-PER\nwon O\n\nOslo S-LOC\n\nso O\n"
    corpus = load("predict", train_file=train, predict_file=write(tmp_path / "c.conll", lines))
    assert corpus.splits["predict"]["tags"][:] == [["B-PER", "I-PER", "O"], ["B-LOC"], ["O"]]


def test_types_of_parquet_that_are_no_texts_are_read_or_refused(tmp_path):
    table = {"text": pa.array([b"so it is", b"Ann won"]), "label": pa.array([Decimal("1"), None])}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    rows = load_rows(
        Config(task_name="classification", train_file=str(tmp_path / "a.parquet")),
        lambda *_: {"text": "text", "label": "label"},
        dict,
    ).splits["train"]
    assert (rows["text"][:], rows["label"][:]) == (["so it is", "Ann won"], ["1", None])
    odd = {"text": ["a"], "odd": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))}
    pq.write_table(pa.table(odd), tmp_path / "odd.parquet")
    assert "odd.parquet: not a readable parquet file" in refused_file(tmp_path / "odd.parquet")


def refused_file(path) -> str:
    return get_fault(train_file=path)
