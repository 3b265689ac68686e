"""Annotation tools: spans of characters become tags of words; what does not fit is named."""

import json
import random

import pytest
from loading import get_fault, get_rows, load, write

from tagloop.data.documents.reading import Document, Entity, Tagged
from tagloop.data.documents.writing import Writer
from tagloop.data.splitting import split_text
from tagloop.data.words import schemes
from tagloop.tasks.tagging.kinds import KINDS

ROWS = [
    (["Ann", "Lee", "won", "."], ["B-PER", "I-PER", "O", "O"]),
    (["👍🏽", "Ulm", "it", "!"], ["O", "B-LOC", "O", "O"]),
    (["nobody"], ["O"]),
]
TEXTS = ["Ann Lee won.", "👍🏽 Ulm\u00a0it!", "nobody"]
SPANS = [[(0, 7, "PER")], [(3, 6, "LOC")], []]


def regions(text, spans):
    return [
        {
            "from_name": "label", "to_name": "text", "type": "labels", "id": "x",
            "value": {"start": s, "end": e, "text": text[s:e], "labels": [label]},
        }
        for s, e, label in spans
    ]  # fmt: skip


def tasks(key="annotations", name="text"):
    return [
        {"id": n, "data": {name: text}, key: [{"result": regions(text, spans)}]}
        for n, (text, spans) in enumerate(zip(TEXTS, SPANS, strict=True))
    ]


def rows(column, shape):
    return [
        {"id": 7, "text": text, column: [shape(s, e, label) for s, e, label in spans]}
        for text, spans in zip(TEXTS, SPANS, strict=True)
    ]


SHAPES = {
    "doccano": rows("label", lambda *span: list(span)),
    "doccano, later": rows("labels", lambda *span: list(span)),
    "doccano, relations": [
        row | {"relations": [], "Comments": []}
        for row in rows(
            "entities", lambda s, e, label: {"label": label, "start_offset": s, "end_offset": e}
        )
    ],
    "prodigy": [
        row | {"tokens": [{"text": "Ann", "id": 0}], "answer": "accept", "_input_hash": 1}
        for row in rows("spans", lambda s, e, label: {"start": s, "end": e, "label": label})
    ],
    "spacy": [[t, {"entities": [list(s) for s in ss]}] for t, ss in zip(TEXTS, SPANS, strict=True)],
    "label studio": tasks(),
    "label studio, completions": tasks("completions"),
    "label studio, to import": tasks("predictions"),
    "label studio, $body": tasks(name="body"),
    "label studio, min": [
        {k: v for k, v in row.items() if v != []}  # nothing marked: no column
        for row in rows("ner", lambda s, e, label: {"start": s, "end": e, "labels": [label]})
    ][:1] + rows("label", lambda s, e, label: {"start": s, "end": e, "labels": [label]})[1:],
}  # fmt: skip


def lines_of(rows) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def read(tmp_path, rows, name="a.jsonl", **given):
    return load("train", train_file=write(tmp_path / name, lines_of(rows)), **given)


def refused(tmp_path, rows, **given) -> str:
    return get_fault(train_file=write(tmp_path / "a.jsonl", lines_of(rows)), **given)


@pytest.mark.parametrize("tool", SHAPES)
def test_exports_become_words_and_tags(tool, tmp_path):
    for name, content in {
        "a.jsonl": lines_of(SHAPES[tool]), "a.json": json.dumps(SHAPES[tool], indent=1),
    }.items():  # fmt: skip
        path = write(tmp_path / name, content)
        corpus = load("train", "predict", train_file=path, predict_file=path)
        assert get_rows(corpus.splits["train"]) == ROWS
        assert corpus.splits["predict"][0] == {
            "tokens": ROWS[0][0],
            "tags": [None] * 4,
            "document": 0,
        }
        assert corpus.warnings == []
        assert "spans" in corpus.columns["train"]


BRAT = ("Ann Lee\r\nwon in Ulm.\n\nBob\nsings to Bo", [
    "T1\tPER 0 3;4 7\tAnn Lee", "R1\tlives Arg1:T1 Arg2:T2", "T2\tLOC 16 19\tUlm",
    "#1\tAnnotatorNotes T1\tsure?", "T3\tORG 22 31\tBob sings", "T4\tPER 35 37\tBo",
])  # fmt: skip


def test_brat_is_read_line_by_line_from_every_document(tmp_path):
    text, marks = BRAT
    folder = tmp_path / "corpus" / "a"
    folder.mkdir(parents=True)
    write(folder / "1.txt", text)
    one = write(folder / "1.ann", "\n".join(marks) + "\n")
    write(folder.parent / "2.txt", "Nobody here\n")
    write(folder.parent / "2.ann", "")
    write(folder.parent / "3.txt", "not annotated")
    first = [
        (["Ann", "Lee"], ["B-PER", "I-PER"]),
        (["won", "in", "Ulm", "."], ["O", "O", "B-LOC", "O"]),
        (["Bob", "sings", "to", "Bo"], ["B-ORG", "I-ORG", "O", "B-PER"]),
    ]
    for path in (one, one.with_suffix(".txt")):
        assert get_rows(load("train", train_file=path).splits["train"]) == first
    whole = load("train", train_file=folder.parent)
    assert sorted(get_rows(whole.splits["train"])) == sorted(
        [*first, (["Nobody", "here"], ["O"] * 2)]
    )
    assert sorted(whole.splits["train"]["document"]) == [0, 1, 1, 1]
    assert whole.warnings == ["train: 1 text left out: no .ann beside it"]
    write(folder / "1.ann", "T1\tPER 0 3\tAnn\n")  # what was prepared before is not taken for it
    changed = load("train", train_file=folder.parent)
    assert (["Ann", "Lee"], ["B-PER", "O"]) in get_rows(changed.splits["train"])


CUT = [
    {"text": "Ann won", "label": [[0, 3, "PER"]]},
    {"text": "In Leeds  today", "label": [[3, 6, "ORG"], [3, 9, "LOC"], [10, 15, "DAY"]]},
    {"text": "a b", "label": [[1, 2, "X"]]},
]


def test_spans_that_cut_a_word_are_named_with_the_word(tmp_path):
    message = refused(tmp_path, CUT)
    assert f"{tmp_path / 'a.jsonl'}:2: 'Lee' (ORG, 3-6) cuts the word 'Leeds'" in message
    assert f"{tmp_path / 'a.jsonl'}:3: ' ' (X, 1-2) marks no word" in message
    assert "2 spans of characters do not mark whole words" in message
    assert "--misaligned widen" in message
    assert "\n" not in message
    write(tmp_path / "b.txt", "In Leeds\nAnn")
    marks = write(tmp_path / "b.ann", "T1\tLOC 3 8\tLeeds\nT2\tPER 9 11\tAn\n")
    assert f"{marks}:2: 'An' (PER, 9-11) cuts the word 'Ann'" in get_fault(train_file=marks)
    task = {
        "id": 17,
        "data": {"text": "Ann"},
        "predictions": [{"result": regions("Ann", [(0, 2, "X")])}],
    }
    row = json.dumps([SHAPES["label studio"][0], task])  # all on one line, as it is exported
    assert "c.json[1] (task 17): 'An' (X" in get_fault(train_file=write(tmp_path / "c.json", row))
    many = refused(tmp_path, [CUT[0] | {"label": [[0, 2, "PER"]]}] * 9)
    assert "a.jsonl:3: 'An'" in many
    assert "a.jsonl:4: 'An'" not in many
    assert "and 6 more. 9 spans" in many
    array = get_fault(train_file=write(tmp_path / "c.json", json.dumps(CUT, indent=1)))
    assert f"{tmp_path / 'c.json'}:12: 'Lee' (ORG, 3-6) cuts the word 'Leeds'" in array


GONE = {
    "drop": [
        f"train: no span of the type {label!r} is left, of {number}: it cannot be learned"
        for label, number in (("ORG", 2), ("X", 1))
    ],
    "widen": ["train: no span of the type 'X' is left, of 1: it cannot be learned"],
}


@pytest.mark.parametrize(
    ("misaligned", "tags"), [("drop", ["O", "B-LOC", "B-DAY"]), ("widen", ["O", "B-LOC", "B-DAY"])]
)
def test_spans_that_cut_a_word_are_left_out_or_widened(misaligned, tags, tmp_path):
    cut = [{"text": "In Leeds", "label": [[3, 6, "ORG"]]}, *CUT]
    corpus = read(tmp_path, cut, misaligned=misaligned)
    tag = {"drop": None, "widen": "B-ORG"}[misaligned]
    assert corpus.splits["train"]["tags"][:] == [["O", tag], ["B-PER", "O"], tags, ["O", "O"]]
    word = {"drop": "left out, without gold tags", "widen": "widened"}[misaligned]
    gone = [text for text in corpus.warnings if "no span of the type" in text]
    assert gone == GONE[misaligned]
    [warning] = [w for w in corpus.warnings if "overlapping" not in w and w not in gone]
    assert warning.startswith("train: 3 spans of characters do not mark whole words, ")
    assert word in warning
    assert "a.jsonl:1: 'Lee' (ORG, 3-6) cuts the word 'Leeds'" in warning


def test_of_overlapping_spans_the_longest_is_kept_and_the_others_named(tmp_path):
    text = "Ann Lee Ltd in New Leeds won"
    spans = [(0, 7, "PER"), (0, 11, "ORG"), (4, 11, "ORG"), (15, 24, "LOC"), (15, 24, "LOC")]
    spans += [(15, 24, "GPE"), (19, 28, "X"), (12, 14, "Y")]
    corpus = read(tmp_path, [{"text": text, "label": [list(span) for span in spans]}])
    expected = ["B-ORG", "I-ORG", "I-ORG", "B-Y", "B-LOC", "I-LOC", "O"]
    assert corpus.splits["train"]["tags"][0] == expected
    [warning, *gone] = corpus.warnings
    assert [text.split(",")[0] for text in gone] == [
        f"train: no span of the type {label!r} is left" for label in ("GPE", "PER", "X")
    ]
    assert warning.startswith("train: 4 spans left out, overlapping a longer one: ")
    assert "a.jsonl:1: 'Ann Lee' (PER, 0-7) and the longer 'Ann Lee Ltd' (ORG, 0-11)" in warning
    assert warning.endswith("; and 1 more")


def test_what_nobody_annotated_is_no_example(tmp_path):
    prodigy = [row | {"answer": "reject"} for row in SHAPES["prodigy"][:1]]
    corpus = read(tmp_path, prodigy + SHAPES["prodigy"])
    assert get_rows(corpus.splits["train"]) == ROWS
    assert corpus.warnings == ["train: 1 text left out: rejected, skipped or not annotated yet"]
    first, second, third = tasks()
    wrong = {"result": regions(TEXTS[0], [(8, 11, "X")])}
    first["annotations"] = [wrong, first["annotations"][0] | {"ground_truth": True}]
    second["annotations"] = [wrong | {"was_cancelled": True}, *second["annotations"]]
    unfinished = {"data": {"text": "Ann"}, "annotations": [], "predictions": [wrong]}
    corpus = read(tmp_path, [first, unfinished, second, third])
    assert get_rows(corpus.splits["train"]) == ROWS
    assert "1 text left out" in corpus.warnings[0]
    assert "1 text annotated several times: the ground truth was read" in corpus.warnings[1]
    words = load("predict", predict_file=write(tmp_path / "a.jsonl", lines_of([unfinished])))
    assert words.splits["predict"]["tokens"][:] == [["Ann"]]


def test_offsets_counted_like_javascript_are_found_out(tmp_path):
    """Label Studio did so before 1.5: where its words stand tells."""
    row = {"data": {"text": "💩 Ann in Ulm"}, "annotations": [{"result": []}]}
    row["annotations"][0]["result"] = [
        {"type": "labels", "value": {"start": 3, "end": 6, "text": "Ann", "labels": ["PER"]}},
        {"type": "choices", "value": {"choices": ["good"]}},
        {"type": "choices", "value": {"start": 3, "end": 6, "choices": ["sure"]}},
        {"type": "labels", "value": {"start": 10, "end": 13, "labels": ["LOC"]}},
        {"type": "relation", "from_id": "a", "to_id": "b"},
    ]
    corpus = read(tmp_path, [row])
    assert get_rows(corpus.splits["train"]) == [
        (["💩", "Ann", "in", "Ulm"], ["O", "B-PER", "O", "B-LOC"])
    ]


OTHER = {
    "IOBES": "Ann B-PER\nLee E-PER\nwon O\n\nUlm S-LOC\n",
    "IOB1": "Ann I-PER\nLee I-PER\nwon O\n\nUlm I-LOC\nBern B-LOC\n",
    "IO": "Ann PER\nLee PER\nwon O\n",
}


@pytest.mark.parametrize(("scheme", "given"), [("IOBES", None), ("IOB1", None), ("IO", "IO")])
def test_spans_are_in_no_scheme_of_the_other_files(scheme, given, tmp_path):
    train = write(tmp_path / "a.jsonl", lines_of(SHAPES["doccano"]))
    other = write(tmp_path / "b.conll", OTHER[scheme])
    corpus = load("train", "test", train_file=train, test_file=other, label_scheme=given)
    assert get_rows(corpus.splits["train"]) == ROWS
    assert corpus.splits["test"]["tags"][0] == ["B-PER", "I-PER", "O"]
    assert corpus.scheme == scheme


def test_labels_with_blanks_are_written_without(tmp_path):
    corpus = read(tmp_path, [{"text": "Ann won", "label": [[0, 3, "Job Title"]]}])
    assert corpus.labels == ["B-Job_Title", "O"]
    assert corpus.warnings == ["train: labels are written without blanks: 'Job Title' is Job_Title"]


HTML = {"value": {"start": "/p[1]", "end": "/p[1]", "hypertextlabels": ["X"]}}
SHORT = {"value": {"start": 0, "end": 2, "text": "Ann", "labels": ["X"]}}
MISTAKES = {
    "is outside of the text of 3 characters": {"text": "Ann", "label": [[0, 4, "PER"]]},
    "is 'An' of the text": {"data": {"text": "Ann"}, "predictions": [{"result": [SHORT]}]},
    "marks no span": {"text": "Ann", "label": [[0, 3, "PER"], [0, 3]]},
    "a span from 0 to None": {"text": "Ann", "entities": [{"label": "PER", "start_offset": 0}]},
    "only spans of characters": {"data": {"text": "Ann"}, "annotations": [{"result": [HTML]}]},
    "has the label ' '": {"text": "Ann", "label": [[0, 3, " "]]},
    "has no label": {"text": "Ann", "label": [{"start": 0, "end": 3, "labels": []}]},
    "--text_column_name": {"data": {"a": "x", "b": "y"}, "annotations": [{"result": []}]},
    "half a character": {"text": "\ud800", "label": [[0, 1, "PER"]]},
}  # fmt: skip


@pytest.mark.parametrize("message", MISTAKES)
def test_what_no_tool_writes_is_named_by_its_place(message, tmp_path):
    found = refused(tmp_path, [SHAPES["doccano"][0], MISTAKES[message]])
    assert found.startswith(f"{tmp_path / 'a.jsonl'}:2: ")
    assert message in found


def test_mistakes_of_brat_are_named_by_file_and_line(tmp_path):
    write(tmp_path / "a.txt", "Ann won")
    for line, message in {
        "T1 PER 0 3 Ann": "a.ann:1: 'T1 PER 0 3 Ann', but brat writes",
        "E1\tx\nT1\tPER 0 3\tBob": "a.ann:2: the span 0-3 (PER) is 'Ann' of the text",
        "T1\tPER 0 99\tAnn": "a.ann:1: the span 0-99 (PER) is outside of the text",
        "T1\tPER 0 1;5 7\tA on": "a.ann:1: 'Ann won' (PER, 0-7) leaves out words between",
    }.items():
        assert message in get_fault(train_file=write(tmp_path / "a.ann", line))
    alone = write(tmp_path / "b.ann", "T1\tPER 0 3\tAnn")
    assert "b.ann: no b.txt beside it" in get_fault(train_file=alone)
    assert "a tag for every word" in refused(tmp_path, SHAPES["doccano"], task_name="pos")


PIECES = [
    "Ann", "Lee's", "U.S.", "O'Neil", "99,5", "Zoë", "Ünal-Öz", "北京", "กรุงเทพ", "دبي", "नई",
    "👍🏽", "💩", "é", "e\u0301", "\u200b", "\ufeff", "\u2028", "\x85", "\r", "\n", "\t", "  ",
    "\u00a0", "(", ")", '"', "\\n", "\\", ",", ".", "...", "@ann", "#x", "http://a.b/c", "[", "{",
    "-", "T1", "\x00", "\x1f",
]  # fmt: skip


def random_records(number: int) -> list[Tagged]:
    """Texts of any script with spans on whole words, some of them neighbours."""
    chance, records = random.Random(7), []
    while len(records) < number:
        text = "" if records else "\ufeff"  # which opens a file, too
        text += "".join(
            chance.choice(PIECES) + chance.choice(["", " ", " "])
            for _ in range(chance.randrange(1, 12))
        )
        offsets = split_text(text, "punctuation")
        if not offsets:  # a blank line is no sentence of brat's
            continue
        tags, at = ["O"] * len(offsets), 0
        while at < len(tags):
            end = min(at + chance.randrange(1, 4), len(tags))
            if chance.random() < 0.4:
                label = chance.choice(["PER", "LOC", "B-X", "Ort_Ö", "地点"])
                tags[at:end] = [f"B-{label}", *[f"I-{label}"] * (end - at - 1)]
            at = end
        entities = [
            Entity(start=(s := offsets[first][0]), end=(e := offsets[end - 1][1]), label=label,
                   text=text[s:e], score=0.5)
            for first, end, label in schemes.spans(tags)
        ]  # fmt: skip
        tokens = [text[start:end] for start, end in offsets]
        records.append(Tagged(text, tokens, tags, [0.5] * len(tags), entities))
    return records


@pytest.fixture(scope="module")
def records() -> list[Tagged]:
    return random_records(1_000)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["doccano", "label_studio", "prodigy", "brat"])
def test_a_thousand_records_come_back_as_they_were(target, records, tmp_path):
    name = {"label_studio": "a.json", "brat": "a.txt"}.get(target, "a.jsonl")
    files = [(tmp_path / n).open("w", encoding="utf-8", newline="") for n in (name, "a.ann")]
    writer = Writer(files[0], target, files[1])
    for record in records:
        document = Document("txt", record.text, {"text": record.text})
        writer.write(document, record, kind=KINDS["ner"])
    writer.close()
    for file in files:
        file.close()
    if target != "brat":
        (tmp_path / "a.ann").unlink()
    corpus = load("train", train_file=tmp_path / name)
    assert corpus.warnings == []
    assert get_rows(corpus.splits["train"]) == [(r.tokens, r.tags) for r in records]


@pytest.mark.parametrize("target", ["jsonl", "doccano", "prodigy"])
@pytest.mark.parametrize("old", ["tokenized_text", "ents"])
def test_rows_that_are_tagged_again_hold_the_new_spans_alone(target, old, tmp_path):
    if old == "ents":
        source, content = {"text": "Ann won", "ents": [[4, 7, "X"]]}, "Ann won"
    else:
        source = {"tokenized_text": ["Ann", "won"], "ner": [[1, 1, "X"]]}
        content = source["tokenized_text"]
    entity = Entity(start=0, end=3, label="PER", text="Ann", score=0.5)
    tagged = Tagged("Ann won", ["Ann", "won"], ["B-PER", "O"], [0.5, 0.5], [entity])
    with (tmp_path / "a.jsonl").open("w", encoding="utf-8") as file:
        writer = Writer(file, target)
        writer.write(Document("jsonl", content, source | {"id": 7}), tagged, kind=KINDS["ner"])
        writer.close()
    assert json.loads((tmp_path / "a.jsonl").read_text())["id"] == 7
    corpus = load("train", train_file=tmp_path / "a.jsonl")
    assert get_rows(corpus.splits["train"]) == [(["Ann", "won"], ["B-PER", "O"])]
