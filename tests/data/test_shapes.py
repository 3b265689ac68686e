"""Files of the shapes that people have: read rightly, or named in one line with the remedy."""

import csv
import gzip
import io
import json

import pytest
from loading import get_fault, get_rows, load, write

# GermEval 2014 as published: a source line, word numbers, outer and inner names.
GERMEVAL = (
    "#\thttp://de.wikipedia.org/wiki/Ulm\t[2009-10-17]\n"
    "1\tAnn\tB-PER\tO\n2\tlebt\tO\tO\n3\tin\tO\tO\n4\tUlm\tB-LOC\tO\n\n"
    "#\thttp://de.wikipedia.org/wiki/Uni\t[2009-10-18]\n"
    "1\tUni\tB-ORG\tO\n2\tUlm\tI-ORG\tB-LOC\n3\t#\tO\tO\n\n"
)
GERMEVAL_ROWS = [
    (["Ann", "lebt", "in", "Ulm"], ["B-PER", "O", "O", "B-LOC"]),
    (["Uni", "Ulm", "#"], ["B-ORG", "I-ORG", "O"]),
]
ROWS = [(["Ann", "won"], ["B-PER", "O"]), (["in", "Ulm", "today"], ["O", "B-LOC", "O"])]


def read(tmp_path, name, content, **given):
    return load("train", train_file=write(tmp_path / name, content), **given)


def refused(tmp_path, name, content, **given) -> str:
    return get_fault(train_file=write(tmp_path / name, content), **given)


# --- columns ---


def test_word_numbers_are_no_words(tmp_path):
    numbered = "1\tAnn\tB-PER\n2\twon\tO\n\n1\tin\tO\n2\tUlm\tB-LOC\n3\ttoday\tO\n"
    spaced = numbered.replace("\t", " ")
    from_zero = "0 Ann B-PER\n1 won O\n\n0 in O\n1 Ulm B-LOC\n2 today O\n"
    through_all = "1 Ann B-PER\n2 won O\n\n3 in O\n4 Ulm B-LOC\n5 today O\n"
    for content in (numbered, spaced, from_zero, through_all):
        corpus = read(tmp_path, "a.conll", content)
        assert get_rows(corpus.splits["train"]) == ROWS
        assert "column 0 counts the words" in corpus.warnings[0]
        assert corpus.columns == {"train": "words from column 1, tags from column 2"}
    asked = read(tmp_path, "a.conll", numbered, text_column_name="0")
    assert asked.splits["train"][0]["tokens"] == ["1", "2"]
    message = refused(tmp_path, "b.conll", "1\tAnn\n2\twon\n")
    assert "word numbers and words only, no tags" in message


def test_numbers_that_are_words_stay_words(tmp_path):
    rows = "7 B-PER\n8 O\n\n1 O\n1 O\n"
    assert read(tmp_path, "a.conll", rows).splits["train"]["tokens"][:] == [["7", "8"], ["1", "1"]]
    pos = read(tmp_path, "a.conll", "1 CD O\n. . O\n\n2 CD O\n", task_name="pos")
    assert pos.splits["train"]["tokens"][:] == [["1", "."], ["2"]]


@pytest.mark.parametrize("name", ["NER-de-train.tsv", "a.conll", "a.txt"])
def test_germeval_as_published(name, tmp_path):
    corpus = read(tmp_path, name, GERMEVAL)
    assert get_rows(corpus.splits["train"]) == GERMEVAL_ROWS
    assert any("layers of tags; the outer one is taken, column 2" in w for w in corpus.warnings)
    inner = read(tmp_path, name, GERMEVAL, label_column_name="3")
    assert inner.splits["train"][1]["tags"] == ["O", "B-LOC", "O"]


def test_comments_as_wide_as_the_words(tmp_path):
    wide = GERMEVAL.replace("\t[2009", "\tfrom\t[2009")
    assert get_rows(read(tmp_path, "a.tsv", wide).splits["train"]) == GERMEVAL_ROWS


def test_a_tab_too_many_at_the_end_of_a_line(tmp_path):
    lines = GERMEVAL.replace("3\tin\tO\tO\n", "3\tin\tO\tO\t\n")
    assert get_rows(read(tmp_path, "a.tsv", lines).splits["train"]) == GERMEVAL_ROWS
    everywhere = "Ann\tB-PER\t\nwon\tO\t\n\nin\tO\t\nUlm\tB-LOC\t\ntoday\tO\t\n"
    assert get_rows(read(tmp_path, "a.conll", everywhere).splits["train"]) == ROWS


def test_chunks_beside_names_are_no_layers(tmp_path):
    content = "Ann NNP B-NP B-PER\nwon VBD B-VP O\n"
    corpus = read(tmp_path, "a.conll", content)
    assert corpus.splits["train"][0]["tags"] == ["B-PER", "O"]
    assert corpus.columns["train"].endswith("tags from column 3")
    assert corpus.warnings == []


def test_one_tab_in_a_file_of_spaces(tmp_path):
    content = "Ann B-PER\nwon\tO\n\nin O\nUlm B-LOC\ntoday O\n"
    assert get_rows(read(tmp_path, "a.txt", content).splits["train"]) == ROWS


@pytest.mark.slow
def test_line_ends_of_old_macs(tmp_path):
    content = "Ann B-PER\nwon O\n\nin O\nUlm B-LOC\ntoday O\n".replace("\n", "\r")
    assert get_rows(read(tmp_path, "a.conll", content).splits["train"]) == ROWS
    message = refused(tmp_path, "b.conll", content + "so\r")
    assert "b.conll:7: 1 column" in message
    table = "tokens,ner_tags\rAnn won,B-PER O\rin Ulm today,O B-LOC O\r"
    assert get_rows(read(tmp_path, "a.csv", table).splits["train"]) == ROWS


def test_an_empty_cell_is_a_value_where_words_may_have_none(tmp_path):
    line = "{}\t{}\t_\t{}\t_\t{}\t0\troot\t_\t_\n"
    content = line.format(1, "in", "ADP", "_") + line.format(2, "Ulm", "_", "Case=Nom")
    upos = read(tmp_path, "a.conllu", content, task_name="pos")
    assert upos.splits["train"][0]["tags"] == ["ADP", None]
    feats = read(tmp_path, "a.conllu", content, task_name="pos", label_column_name="feats")
    assert feats.splits["train"][0]["tags"] == ["_", "Case=Nom"]
    assert feats.columns["train"] == "words from column form, tags from column feats"


# --- schemes ---


def test_bmes_and_io_are_found_trained_and_named(tmp_path):
    bmes = "南 B-LOC\n京 M-LOC\n市 E-LOC\n长 S-PER\n在 O\n"
    corpus = read(tmp_path, "a.char.bmes", bmes)
    assert corpus.scheme == "BMES"
    assert corpus.splits["train"][0]["tags"] == ["B-LOC", "I-LOC", "I-LOC", "B-PER", "O"]
    io_tags = "Ann PER\nLee PER\nwon O\nin O\nUlm LOC\ntoday O\n. O\n"
    corpus = read(tmp_path, "a.conll", io_tags)
    assert corpus.scheme == "IO"
    assert corpus.labels == ["B-LOC", "B-PER", "I-PER", "O"]
    assert any("no prefixes; read as IO" in warning for warning in corpus.warnings)
    few = "Ann PER\nwon O\n"
    assert "--label_scheme IO" in refused(tmp_path, "b.conll", few)
    given = read(tmp_path, "b.conll", few, label_scheme="IO")
    assert given.splits["train"][0]["tags"] == ["B-PER", "O"]


def test_partly_annotated_data_keeps_its_gold(tmp_path):
    tags = [["B-PER", None, "I-PER"], [None, "I-LOC", None], ["O", "B-LOC", "I-LOC"]]
    rows = "".join(json.dumps({"tokens": list("abc"), "ner_tags": row}) + "\n" for row in tags)
    corpus = read(tmp_path, "a.jsonl", rows)
    assert corpus.scheme == "IOB2"
    assert corpus.splits["train"]["tags"][:] == tags


def test_an_error_about_a_tag_names_its_line_and_the_columns(tmp_path):
    content = "# id = 1\nAnn NNP B-PER\nwon VBD O\n# some remark here\nin IN X\n"
    message = refused(tmp_path, "a.conll", content)
    assert "a.conll:5: tag 'X'" in message
    assert "train: words from column 0, tags from column 2" in message
    message = refused(tmp_path, "a.conll", content, label_scheme="IOB2")
    assert "a.conll:5: tag 'X'" in message
    rows = json.dumps({"tokens": ["a", "b"], "ner_tags": ["O", "X"]})
    message = refused(tmp_path, "a.jsonl", rows)
    assert "a.jsonl:1 (word 2): tag 'X'" in message
    assert "tags from 'ner_tags'" in message


@pytest.mark.parametrize("tag", ["B PER", "B-PER\n", "B-P\u2028R", "B-PER\xa0"])
def test_a_tag_with_a_space_is_refused(tag, tmp_path):
    rows = json.dumps({"tokens": ["a"], "ner_tags": [tag]})
    assert "a space or a line break" in refused(tmp_path, "a.jsonl", rows)
    row = json.dumps({"tokens": ["a"], "pos_tags": [1]})
    names = write(tmp_path / "names.txt", f"O\n{tag.strip()}_ x\n")
    if "\n" not in tag:
        message = refused(tmp_path, "b.jsonl", row, labels_file=names, task_name="pos")
        assert "a space or a line break" in message


# --- one word a row ---


def kaggle(number, delimiter=","):
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(["Sentence #", "Word", "POS", "Tag"])
    for sentence, (words, tags) in enumerate(ROWS, start=1):
        for index, (word, tag) in enumerate(zip(words, tags, strict=True)):
            writer.writerow([number(sentence, index), word, "NN", tag])
    return text.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize(
    "number",
    [
        lambda sentence, index: f"Sentence: {sentence}" if index == 0 else "",
        lambda sentence, index: f"Sentence: {sentence}",
    ],
    ids=["first row", "every row"],
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_one_word_a_row_with_sentence_numbers(number, delimiter, tmp_path):
    content = kaggle(number, delimiter)
    corpus = read(tmp_path, "ner_dataset.csv", content)
    assert get_rows(corpus.splits["train"]) == ROWS
    assert corpus.columns["train"] == "words from 'Word', tags from 'Tag'"
    pos = read(tmp_path, "ner_dataset.csv", content, task_name="pos")
    assert pos.splits["train"][0] == {"tokens": ["Ann", "won"], "tags": ["NN"] * 2, "document": 0}
    wrong = content.replace("B-LOC", "LOC")
    message = refused(tmp_path, "ner_dataset.csv", wrong, label_scheme="IOB2")
    assert "ner_dataset.csv:5: tag 'LOC'" in message
    message = refused(tmp_path, "b.csv", content.replace("Ulm", "Z\xfcrich").encode("latin-1"))
    assert "b.csv:5: not UTF-8" in message
    assert "iconv -f latin1" in message


@pytest.mark.slow
def test_one_word_a_row_in_other_ways(tmp_path):
    blank = "word,ner\nAnn,B-PER\nwon,O\n\nin,O\nUlm,B-LOC\ntoday,O\n"
    empty_cells = blank.replace("\n\n", "\n,\n")
    for content in (blank, empty_cells):
        assert get_rows(read(tmp_path, "a.csv", content).splits["train"]) == ROWS
    lines = [
        json.dumps({"sentence_id": sentence, "word": word, "ner": tag}) + "\n"
        for sentence, (words, tags) in enumerate(ROWS)
        for word, tag in zip(words, tags, strict=True)
    ]
    assert get_rows(read(tmp_path, "a.jsonl", "".join(lines)).splits["train"]) == ROWS
    for task in ("ner", "pos"):
        message = refused(
            tmp_path, "b.csv", blank.replace("\n\n", "\n"), task_name=task, label_column_name="ner"
        )
        assert "one word a row" in message
        assert "sentence_id" in message


@pytest.mark.slow
def test_lists_as_python_and_pandas_write_them(tmp_path):
    content = "".join(f'{number},"{words}","{tags}"\n' for number, (words, tags) in enumerate(ROWS))
    corpus = read(tmp_path, "a.csv", ",tokens,ner_tags\n" + content)
    assert get_rows(corpus.splits["train"]) == ROWS
    numpy = "tokens,ner_tags\n\"['Ann' 'won']\",\"['B-PER' 'O']\"\n"
    assert "json.dumps" in refused(tmp_path, "b.csv", numpy)
    by_order = read(tmp_path, "c.csv", ",sentence_words,gold\n" + content)
    assert get_rows(by_order.splits["train"]) == ROWS


@pytest.mark.slow
def test_other_delimiters_and_headers(tmp_path):
    content = "tokens;ner_tags\nAnn won;B-PER O\nin Ulm today;O B-LOC O\n"
    assert get_rows(read(tmp_path, "a.csv", content).splits["train"]) == ROWS
    message = refused(tmp_path, "b.csv", "Ann,B-PER\nwon,O\nin,O\n")
    assert "a tag in place of a column's name" in message
    assert "'a'" in refused(tmp_path, "c.csv", "a,a\nx,O\n")


@pytest.mark.slow
def test_every_row_of_a_table_keeps_its_place(tmp_path):
    """predictions.txt has a line for each row: marks of documents and empty rows, too."""
    rows = [["-DOCSTART-"], ["Ann", "won"], [], ["Ulm"]]
    for name, content in {
        "a.jsonl": "".join(json.dumps({"tokens": words}) + "\n" for words in rows),
        "a.csv": "tokens,x\n" + "".join(f"{' '.join(words)},\n" for words in rows),
    }.items():
        corpus = load("predict", predict_file=write(tmp_path / name, content))
        assert corpus.splits["predict"]["tokens"][:] == rows
        assert corpus.splits["predict"]["document"][:] == [0] * 4


# --- words to tag ---


@pytest.mark.slow
def test_words_to_tag_in_any_file(tmp_path):
    train = {"train_file": write(tmp_path / "train.conll", "Ann B-PER\nwon O\n")}
    for name, content in {
        "words.test": "Ann\nwon\n",
        "words": "Ann\nwon\n",
        "numbered.txt": "1 Ann\n2 won\n",
        "numbered.tsv": "1\tAnn\n2\twon\n\n",
        "numbered.conll": "0\tAnn\tNN\n1\twon\tVB\n",
        "pos.conll": "Ann\tNN\nwon\tVB\n",
    }.items():
        given = train if name != "pos.conll" else {}
        corpus = load("predict", predict_file=write(tmp_path / name, content), **given)
        assert get_rows(corpus.splits["predict"]) == [(["Ann", "won"], [None] * 2)], name
    gold = load("predict", predict_file=write(tmp_path / "g.txt", "Ann B-PER\nwon O\n"), **train)
    assert get_rows(gold.splits["predict"]) == [(["Ann", "won"], ["B-PER", "O"])]


@pytest.mark.parametrize(
    "text",
    [
        "Ann won in Ulm today.\n",
        "Ann won in Ulm.\nShe was glad.\nSo was everybody else there.\n",
        "Ann won today\nShe left Ulm\n",
        "安在乌尔姆赢了。\n她很高兴。\n",
    ],
)
def test_running_text_is_refused_with_the_remedy(text, tmp_path):
    message = get_fault(predict_file=write(tmp_path / "a.txt", text))
    assert "running text" in message
    assert "one word a line" in message


def test_a_line_without_a_tag_is_named_in_a_short_file_to_tag(tmp_path):
    message = get_fault(predict_file=write(tmp_path / "a.conll", "Ann B-PER\nwon O\nin\n\nBob O\n"))
    assert "a.conll:3: 1 column, but the lines before have 2" in message


def test_tags_before_words_are_told_from_the_columns_taken(tmp_path):
    message = get_fault(train_file=write(tmp_path / "a.txt", "O 1996\nB-PER Ann\nO won\n"))
    assert "a.txt:1: the integer tag 1996 has no name" in message
    assert "words from column 0, tags from column 1" in message


# --- what a file is ---

SPAN = {"start": 0, "end": 3, "label": "PER"}


@pytest.mark.slow
@pytest.mark.parametrize("is_array", [True, False])
def test_the_json_of_spacy_2_is_named(is_array, tmp_path):
    row = {"id": 0, "paragraphs": [{"sentences": [{"tokens": [{"orth": "Ann"}]}]}]}
    content = json.dumps([row] if is_array else row)
    for option in ("train_file", "predict_file"):
        message = get_fault(**{option: write(tmp_path / "a.json", content)})
        assert "this is the JSON of spaCy 2; convert it" in message


def test_words_beside_offsets_are_read(tmp_path):
    row = {"text": "Ann won", "spans": [SPAN], "tokens": ["Ann", "won"], "ner_tags": ["B-PER", "O"]}
    corpus = read(tmp_path, "a.jsonl", json.dumps(row))
    assert get_rows(corpus.splits["train"]) == ROWS[:1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.conll", "a.json", "a.csv", "a.conll.gz", "a.test", "a.conllu"])
def test_what_is_no_text_is_named(name, tmp_path):
    for content, words in {
        gzip.compress(b"Ann B-PER\n"): "gunzip",
        b"PK\x03\x04...": "zip archive",
        "Ann B-PER\n".encode("utf-16"): "iconv -f utf-16 -t utf-8",
        "Ann B-PER\n".encode("utf-16-le"): "iconv -f utf16-le -t utf-8",
        "Zo\xeb B-PER\n".encode("utf-16-be"): "iconv -f utf16-be -t utf-8",
        b"version https://git-lfs.github.com/spec/v1\n": "git lfs pull",
    }.items():
        assert words in refused(tmp_path, name, content)


def test_rows_of_json_may_have_their_words_in_one_text(tmp_path):
    rows = [{"text": " ".join(words), "ner_tags": tags} for words, tags in ROWS]
    content = "".join(json.dumps(row) + "\n" for row in rows)
    assert get_rows(read(tmp_path, "a.jsonl", content).splits["train"]) == ROWS
    rows[0]["text"] = "Ann Lee won"
    content = "".join(json.dumps(row) + "\n" for row in rows)
    assert "3 tokens but 2 tags" in refused(tmp_path, "b.jsonl", content)
