"""More shapes that lost data or words without a word: now read rightly, or refused."""

import io
import json

import pytest
from loading import get_fault, get_rows, load, write

from tagloop.data.documents.files import DocumentFiles
from tagloop.data.documents.reading import read_documents
from tagloop.errors import InputError

ANN, SO = (["Ann", "won"], ["B-PER", "O"]), (["so", "it"], ["O", "O"])
SPAN = [0, 3, "PER"]


def read(tmp_path, name, content, **given):
    return load("train", train_file=write(tmp_path / name, content), **given)


def refused(tmp_path, name, content, **given) -> str:
    return get_fault(train_file=write(tmp_path / name, content), **given)


def to_lines(*rows) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def tagged_words(content: str | bytes, kind: str, name: str = "a") -> list:
    """What predict.py would tag."""
    raw = content if isinstance(content, bytes) else content.encode()
    return [document.content for document in read_documents(io.BytesIO(raw), name, kind)]


# --- spans ---


@pytest.mark.parametrize("other", ["relations", "ner_negatives"])
def test_an_empty_list_before_the_spans_of_gliner_hides_none(other, tmp_path):
    row = {"tokenized_text": ["Ann", "won"], other: [], "ner": [[0, 0, "PER"]]}
    assert get_rows(read(tmp_path, "a.jsonl", to_lines(row)).splits["train"]) == [ANN]


def test_two_columns_that_may_be_the_spans_of_words_are_refused(tmp_path):
    row = {"tokenized_text": ["Ann", "won"], "first": [], "second": [[0, 0, "PER"]]}
    message = refused(tmp_path, "a.jsonl", to_lines(row))
    assert "'first' or 'second'" in message
    assert "--label_column_name" in message
    corpus = read(tmp_path, "a.jsonl", to_lines(row), label_column_name="second")
    assert get_rows(corpus.splits["train"]) == [ANN]


def test_two_columns_with_other_spans_of_characters_are_refused(tmp_path):
    row = {"text": "Ann won", "entities": [SPAN], "label": [[4, 7, "ACT"]]}
    message = refused(tmp_path, "a.jsonl", to_lines(row))
    assert "'entities' or 'label'" in message
    corpus = read(tmp_path, "a.jsonl", to_lines(row), label_column_name="entities")
    assert get_rows(corpus.splits["train"]) == [ANN]


def test_the_json_of_a_document_of_spacy_is_read(tmp_path):
    row = {"text": "Ann won", "ents": [{"start": 0, "end": 3, "label": "PER"}]}
    row |= {"sents": [{"start": 0, "end": 7}], "tokens": [{"id": 0, "start": 0, "end": 3}]}
    plain = {"text": "so it", "ents": [], "tokens": [{"id": 0, "start": 0, "end": 2}]}
    assert get_rows(read(tmp_path, "a.jsonl", to_lines(plain, row)).splits["train"]) == [SO, ANN]


def test_texts_without_a_list_of_spans_are_counted(tmp_path):
    marked = {"text": "Ann won", "spans": [{"start": 0, "end": 3, "label": "PER"}]}
    rows = [marked, {"text": "so it"}, {"text": "so it", "spans": None}]
    corpus = read(tmp_path, "a.jsonl", to_lines(*rows))
    assert any("2 texts without a list of spans" in line for line in corpus.warnings)
    accepted = {"text": "so it", "answer": "accept"}
    assert read(tmp_path, "a.jsonl", to_lines(marked, accepted)).warnings == []


@pytest.mark.parametrize(
    ("spans", "told"),
    [
        ([["PER", 0, 3]], "its label before its ends"),
        ([{"offset": 0, "length": 3, "category": "PER"}], "no start or no end"),
        ([{"text": "Ann", "type": "PER"}], "no start or no end"),
    ],
)
def test_spans_of_another_shape_are_named(spans, told, tmp_path):
    assert told in refused(tmp_path, "a.jsonl", to_lines({"text": "Ann won", "entities": spans}))


def test_a_second_array_of_rows_is_not_passed_over(tmp_path):
    rows = [{"tokens": ["Ann", "won"], "ner_tags": ["B-PER", "O"]}]
    message = refused(tmp_path, "a.json", json.dumps({"data": rows, "validation": rows}))
    assert "'validation'" in message
    whole = {"version": "1", "data": rows, "licenses": [{"id": 1}]}
    assert get_rows(read(tmp_path, "a.json", json.dumps(whole)).splits["train"]) == [ANN]


@pytest.mark.parametrize("mark", [" T1\tPER 0 3\tAnn\n", "t1\tPER 0 3\tAnn\n"])
def test_a_mark_of_brat_that_begins_wrongly_is_refused(mark, tmp_path):
    write(tmp_path / "a.txt", "Ann won\n")
    assert "a.ann:1" in refused(tmp_path, "a.ann", mark)


# --- columns ---


def test_comments_as_wide_as_the_words_are_no_words(tmp_path):
    content = (
        "# id 7 domain=dev\nAnn _ _ B-PER\nwon _ _ O\n\n# id 8 domain=dev\nso _ _ O\nit _ _ O\n"
    )
    assert get_rows(read(tmp_path, "a.conll", content).splits["train"]) == [ANN, SO]
    assert tagged_words(content, "conll") == [ANN[0], SO[0]]
    content = "# id=1\nAnn NN\nwon VB\n\n# id=2\nEva NN\nwon VB\n\n# NN\nso VB\n"
    corpus = read(tmp_path, "b.conll", content, task_name="pos")
    assert corpus.labels == ["NN", "VB"]
    assert corpus.splits["train"]["tokens"][2] == ["#", "so"]


def test_line_ends_that_were_converted_twice(tmp_path):
    content = b"Ann\r\r\nwon\r\r\n\r\r\nso\r\r\nit\r\r\n"
    corpus = load("predict", predict_file=write(tmp_path / "a.txt", content))
    assert corpus.splits["predict"]["tokens"][:] == [ANN[0], SO[0]]


# --- tables ---


def test_words_and_tags_between_commas(tmp_path):
    content = 'tokens,ner_tags\n"Ann, won","B-PER, O"\n"so, it","O, O"\n'
    assert get_rows(read(tmp_path, "a.csv", content).splits["train"]) == [ANN, SO]
    content = 'tokens,ner_tags\n"Ann , won",B-PER O O\n'
    (row,) = get_rows(read(tmp_path, "a.csv", content).splits["train"])
    assert row == (["Ann", ",", "won"], ["B-PER", "O", "O"])


def test_a_list_that_is_none_is_no_list_of_tags(tmp_path):
    content = 'words,pos_tags\n"[Ann, won]","[NN, VB]"\n"[so, it]","[NN, VB]"\n'
    assert "no list of JSON or Python" in refused(tmp_path, "a.csv", content, task_name="pos")


def test_texts_to_tag_stand_in_the_column_called_so(tmp_path):
    for header in ("id,sentence", "Id,Text"):
        file = write(tmp_path / "a.csv", f"{header}\n1,Ann won\n2,so it\n")
        corpus = load("predict", predict_file=file)
        assert corpus.splits["predict"]["tokens"][:] == [ANN[0], SO[0]]
    file = write(tmp_path / "a.csv", "id,content\n1,Ann won\n2,so it\n3,so it\n")
    assert "looks like ids" in get_fault(predict_file=file)


def test_a_blank_line_at_the_end_parts_no_sentences(tmp_path):
    message = refused(tmp_path, "a.csv", "word,tag\nAnn,B-PER\nwon,O\n\n")
    assert "nothing tells where sentences end" in message


# --- predict.py ---


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("csv", "sentence_id,words,tag\n1,Ann,O\n1,won,O\n2,so,O\n"),
        ("csv", "tokens,tag\nAnn,O\nwon,O\n\nso,O\n"),
        ("tsv", "tokens\ttag\nAnn\tO\nwon\tO\n\nso\tO\n"),
        ("jsonl", to_lines(*({"sentence_id": n, "text": w} for n, w in [(1, "Ann"), (1, "won")]))),
    ],
)
def test_words_in_rows_of_their_own_are_not_tagged_one_by_one(kind, content):
    with pytest.raises(InputError, match="one word a row"):
        tagged_words(content, kind)


def test_texts_of_one_word_are_texts():
    assert tagged_words("id,text\n1,Ann\n2,so\n\n", "csv") == ["Ann", "so"]
    rows = to_lines({"sentence_id": 1, "text": "Ann"}, {"sentence_id": 2, "text": "so"})
    assert tagged_words(rows, "jsonl") == ["Ann", "so"]


def test_columns_in_a_file_called_tsv_are_named(tmp_path):
    from contextlib import ExitStack

    file = write(tmp_path / "a.tsv", "Ann\tB-PER\nwon\tO\n\nso\tO\n")
    with ExitStack() as stack, pytest.raises(InputError, match="--input_format conll"):
        DocumentFiles(stack, progress=False).open_input(str(file), None, None)


def test_conllu_under_another_name_is_tagged_as_conllu():
    cells = [["1", "Il"], ["2-3", "del"], ["2", "de"], ["3", "le"]]
    lines = ["\t".join(own + ["_"] * 8) for own in cells]
    assert tagged_words("# newdoc\n" + "\n".join(lines) + "\n\n", "conll") == [["Il", "de", "le"]]


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("conll", "Ann O\rwon O\r\rso O\rit O\r"),
        ("csv", 'tokens\r"Ann won"\rso it\r'),
        ("jsonl", '{"tokens":["Ann","won"]}\r{"tokens":["so","it"]}\r'),
        ("jsonl", '{"tokenized_text":["Ann","won"]}\n{"tokenized_text":["so","it"]}\n'),
    ],
)
def test_line_ends_of_old_macs_and_rows_of_gliner(kind, content):
    assert tagged_words(content, kind) == [ANN[0], SO[0]]
