"""predict.py: every format in and out, order and bytes kept, one clear line for each mistake."""

import html
import io
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys

import pytest
from launches import HANG, REPO, launch, wait_until

import predict
from tagloop.data.documents import files
from tagloop.data.row import Choices
from tagloop.data.words.readers import read_source
from tagloop.tasks.tagging.kinds import KINDS
from tagloop.tasks.tagging.tagger import load_tagger

TEXTS = [
    "Ann Lee lives in Oslo.",
    "",
    "👍🏽 Siemens AG\u2028won\u00a0it!",
    "In Alderedstan, Bob left.",
]
CONLL = (
    "-DOCSTART- -X- O\n\n# a comment of its own\nAnn NNP B-PER\r\nlives VB O\n\n\n"
    "# and\nin IN O\nOslo NNP B-LOC\n# NN O\n"
)
CONLLU = (
    "# sent_id = 1\n# text = Ann's in Oslo\n1-2\tAnn's\t_\t_\t_\t_\t_\t_\t_\t_\n"
    "1\tAnn\tAnn\tPROPN\t_\t_\t0\troot\t_\t_\n2\t's\tbe\tAUX\t_\t_\t1\tcop\t_\tSpaceAfter=No\n"
    "2.1\tin\t_\t_\t_\t_\t_\t_\t_\t_\n3\tOslo\tOslo\tPROPN\t_\t_\t1\tobl\t_\tNER=x|A=b\n\n"
)


@pytest.fixture
def tag(trained, tmp_path):
    """Write a file, tag it, return what came out."""

    def tag(name, content, output, *options):
        source = tmp_path / name
        source.write_text(content, encoding="utf-8", newline="")
        target = tmp_path / output
        assert run(trained, "--file", source, "--output", target, *options) == 0
        assert not list(tmp_path.glob("tmp-*"))
        return target.read_bytes().decode()

    return tag


@pytest.fixture(scope="module")
def tagger(trained):
    return load_tagger(trained)


def run(*arguments) -> int:
    return predict.cli([str(argument) for argument in arguments])


def test_a_line_of_text_becomes_a_line_of_json(tag, tagger):
    rows = [json.loads(line) for line in tag("a.txt", "\n".join(TEXTS), "a.jsonl").split("\n")[:-1]]
    assert [row["text"] for row in rows] == TEXTS
    for row, result in zip(rows, tagger(TEXTS), strict=True):
        assert list(row) == ["text", "tokens", "tags", "entities"]
        assert (row["tokens"], row["tags"]) == (result.tokens, result.tags)
        assert row["entities"] == result.entities
    assert any(row["entities"] for row in rows)


@pytest.mark.slow
def test_text_and_standard_streams(trained, tagger, monkeypatch, capsys):
    assert run(trained, "--text", *TEXTS) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.split("\n")[:-1]]
    assert [row["tags"] for row in rows] == [result.tags for result in tagger(TEXTS)]
    done = subprocess.run(
        [sys.executable, "predict.py", trained, "--scores"], cwd=REPO, capture_output=True,
        input="\n".join(TEXTS).encode(), check=True, env=os.environ | {"LC_ALL": "C"},
    )  # fmt: skip
    piped = [json.loads(line) for line in done.stdout.decode().split("\n")[:-1]]
    assert [row.pop("scores") for row in piped] == [result.scores for result in tagger(TEXTS)]
    assert piped == rows
    assert done.stderr == b""


def test_column_files_keep_their_lines_and_gain_a_column(tag, tagger):
    first, second = tagger([["Ann", "lives"], ["in", "Oslo", "#"]])
    tags = iter([*first.tags, *second.tags])
    expected = [
        "-DOCSTART- -X- O O\n", "\n", "# a comment of its own\n", f"Ann NNP B-PER {next(tags)}\r\n",
        f"lives VB O {next(tags)}\n", "\n", "\n", "# and\n", f"in IN O {next(tags)}\n",
        f"Oslo NNP B-LOC {next(tags)}\n", f"# NN O {next(tags)}\n",
    ]  # fmt: skip
    assert tag("a.conll", CONLL, "b.conll") == "".join(expected)
    assert tag("a.conll", CONLL.replace(" ", "\t"), "b.conll") == "".join(expected).replace(
        " ", "\t"
    )
    assert tag("a.conll", CONLL, "b.txt") == f"{' '.join(first.tags)}\n{' '.join(second.tags)}\n"
    rows = [json.loads(line) for line in tag("a.conll", CONLL, "b.jsonl").splitlines()]
    assert rows == [{"tokens": r.tokens, "tags": r.tags} for r in (first, second)]


@pytest.mark.slow
def test_conllu_gains_a_key_of_misc(tag, tagger):
    a, b, c = tagger([["Ann", "'s", "Oslo"]])[0].tags
    expected = CONLLU.replace("root\t_\t_", f"root\t_\tNER={a}").replace("x|A=b", f"A=b|NER={c}")
    expected = expected.replace("NER=A=b", "A=b").replace("Ann's\t_\t_\tNER", "Ann's\t_\t_\t_")
    expected = expected.replace("SpaceAfter=No", f"SpaceAfter=No|NER={b}")
    once = tag("a.conllu", CONLLU, "b.conllu")
    assert once == expected
    assert tag("c.conllu", once, "d.conllu") == once


def test_rows_keep_their_other_keys(tag, tagger):
    rows = [
        {"id": 7, "tokens": ["Ann", "Oslo"], "ner_tags": ["B-PER", "O"]},
        {"text": TEXTS[2], "meta": {"a": [1, None]}},
        {"tokens": ["Ann", "Oslo"], "text": "Ann  Oslo", "tags": ["old", "old"]},
    ]
    lines = "\n".join(json.dumps(row) for row in rows) + "\n\n"
    one, two, three = [
        json.loads(line) for line in tag("a.jsonl", lines, "b.jsonl").split("\n")[:-1]
    ]
    words, text, both = tagger([rows[0]["tokens"], TEXTS[2], ("Ann  Oslo", ["Ann", "Oslo"])])
    assert one == rows[0] | {"tags": words.tags}
    assert two == rows[1] | {"tokens": text.tokens, "tags": text.tags, "entities": text.entities}
    assert three == rows[2] | {"tags": both.tags, "entities": both.entities}


@pytest.mark.slow
def test_csv_rows_gain_columns(tag, tagger):
    content = 'id,text\n1,"Ann, of\nOslo"\n2,Bob\n'
    lines = tag("a.csv", content, "b.csv")
    assert lines.startswith('id,text,tokens,tags,entities\n1,"Ann, of\nOslo","[""Ann"", "",""')
    rows = [json.loads(line) for line in tag("a.csv", content, "b.jsonl").splitlines()]
    assert [row["tags"] for row in rows] == [r.tags for r in tagger(["Ann, of\nOslo", "Bob"])]
    words = tag("a.tsv", 'tokens\tid\nAnn Lee\t1\n["Ann", "a b"]\t2\n', "b.jsonl")
    assert [json.loads(line)["tokens"] for line in words.splitlines()] == [
        ["Ann", "Lee"], ["Ann", "a b"],
    ]  # fmt: skip


LONG = "Ann Lee of Siemens AG left Oslo, and Bob won the Alder Cup in Berlin."


def test_entities_with_a_low_score_are_left_out_with_their_tags(tag, tagger):
    (result,) = tagger([LONG])
    scores = sorted(entity["score"] for entity in result.entities)
    least = scores[len(scores) // 2]
    assert scores[0] < least, "some stay, and some go"
    row = json.loads(tag("a.txt", LONG, "b.jsonl", "--scores", "--min_score", least))
    assert row["entities"] == [one for one in result.entities if one["score"] >= least]
    kept = {at for one in row["entities"] for at in range(one["start"], one["end"])}
    position = 0
    for word, before, after in zip(result.tokens, result.tags, row["tags"], strict=True):
        position = LONG.index(word, position)
        assert after == (before if position in kept else "O"), word
    assert row["scores"] == result.scores
    columns = tag(
        "a.conll", "".join(f"{w}\n" for w in result.tokens), "b.conll", "--min_score", 1.0
    )
    assert [line.split()[1] for line in columns.splitlines()] == ["O"] * len(result.tokens)


@pytest.mark.slow
def test_the_most_uncertain_sentences_come_first_and_stay_apart(tag, tagger, tmp_path):
    texts = [*TEXTS, LONG, "Ann", "in", LONG]
    doubt = [round(1 - min(result.scores, default=1), 4) for result in tagger(texts)]
    order = sorted(range(len(texts)), key=lambda at: -doubt[at])
    assert order != sorted(order)
    options = ("--sort_by", "uncertainty")
    whole = tag("a.txt", "\n".join(texts), "b.jsonl", *options)
    rows = [json.loads(line) for line in whole.split("\n")[:-1]]
    assert [row["text"] for row in rows] == [texts[at] for at in order]
    assert [row["uncertainty"] for row in rows] == [doubt[at] for at in order]
    assert tag("a.txt", "\n".join(texts), "b.jsonl", *options, "--top", 3) == "".join(
        f"{line}\n" for line in whole.split("\n")[:3]
    )
    for name in ("doccano", "label_studio", "prodigy"):
        tag("a.txt", "\n".join(texts), "c.json", *options, "--output_format", name)
        found, _ = read_back(tmp_path / "c.json")
        words = [result.tokens for result in tagger([texts[at] for at in order])]
        assert [tokens for tokens, _ in found] == words
    # The last sentence of the file has no blank line behind it, and not even the end of its line.
    sentences = [["Ann", "left"], ["in", "Oslo"], ["Bob", "won", "Berlin"]]
    columns = "\n\n".join("\n".join(f"{word} O" for word in words) for words in sentences)
    doubt = [1 - min(result.scores) for result in tagger(sentences)]
    blocks = tag("a.conll", f"# first\n{columns}", "b.conll", *options).split("\n\n")
    found = [[line.split()[0] for line in block.splitlines() if line[0] != "#"] for block in blocks]
    order = sorted(range(3), key=lambda at: -doubt[at])
    assert order[-1] != 2, "the last sentence of the input has to move"
    assert found == [*(sentences[at] for at in order), []]


def test_a_page_shows_the_entities_in_their_text(trained, tagger, tmp_path, capsys):
    texts = [LONG, "<b>&amp; Ann  Lee", "a\tb"]
    page, output = tmp_path / "a.html", tmp_path / "a.jsonl"
    assert run(trained, "--text", *texts, "--html", page) == 0
    assert capsys.readouterr().out == "", "the page alone is asked for"
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"<script|<link|<img|@import|url\(|https?:", text), "it fetches nothing"
    shown = re.findall(r'<div class="coloured" dir="auto">(.*?)</div>', text, re.DOTALL)
    bare = [html.unescape(re.sub(r"<small>.*?</small>|<[^>]*>", "", each)) for each in shown]
    assert bare == texts, "to the character"
    found = re.findall(r"<mark[^>]*>([^<]*)<small>(\S+)\s([\d.]+)</small>", "".join(shown))
    expected = [entity for result in tagger(texts) for entity in result.entities]
    assert [(html.unescape(a), b, float(c)) for a, b, c in found] == [
        (one["text"], one["label"], pytest.approx(one["score"], abs=0.006)) for one in expected
    ]
    colours = dict(re.findall(r"--shade:var\((--type-\d)\)\">[^<]*<small>(\S+)", text))
    assert len({*colours.values()}) == len({one["label"] for one in expected}) > 1
    assert run(trained, "--text", *texts, "--html", page, "--output", output) == 0
    assert [json.loads(line)["text"] for line in output.read_text().splitlines()] == texts


@pytest.mark.slow
def test_the_device_and_the_threads_are_the_users(trained, capsys):
    import torch

    before = torch.get_num_threads()
    try:
        assert run(trained, "--text", LONG, "--device", "cpu", "--threads", before + 1) == 0
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
    computed = capsys.readouterr().out
    assert run(trained, "--text", LONG) == 0
    assert capsys.readouterr().out == computed


def test_other_input_becomes_conll_columns(tag, tagger):
    results = tagger(TEXTS[:2])
    expected = "".join(
        "".join(f"{w} {t}\n" for w, t in zip(r.tokens, r.tags, strict=True)) + "\n" for r in results
    )
    assert tag("a.txt", "\n".join(TEXTS[:2]) + "\n", "b.conll") == expected


def test_the_runs_own_predictions_come_back(trained, tmp_path):
    target = tmp_path / "a.txt"
    assert run(trained, "--file", trained / "predictions.conll", "--output", target) == 0
    assert target.read_bytes() == (trained / "predictions.txt").read_bytes()


@pytest.mark.slow
def test_pieces_change_nothing(tag, monkeypatch):
    content = "\n".join(TEXTS * 5)
    whole = tag("a.txt", content, "a.jsonl")
    monkeypatch.setattr(files, "UNIT_DOCUMENTS", 3)
    assert tag("a.txt", content, "b.jsonl") == whole
    monkeypatch.setattr(files, "UNIT_CHARACTERS", 1)
    assert tag("a.txt", content, "c.jsonl") == whole


@pytest.mark.slow
def test_several_processes_write_the_same_file_in_order(trained, tmp_path):
    """More than two units, so that each process has some and the last one none."""
    source = tmp_path / "a.txt"
    source.write_text("\n".join(f"{TEXTS[n % 4]} {n}" for n in range(2500)), encoding="utf-8")
    for processes in (1, 2):
        target = tmp_path / f"{processes}.jsonl"
        launch(
            str(trained), f"--file={source}", f"--output={target}",
            script="predict.py", processes=processes,
        )  # fmt: skip
    assert (tmp_path / "1.jsonl").read_bytes() == (tmp_path / "2.jsonl").read_bytes()
    assert len((tmp_path / "1.jsonl").read_text(encoding="utf-8").split("\n")) == 2501


@pytest.mark.slow
def test_one_error_line_from_several_processes(trained, tmp_path):
    done = launch(
        str(trained),
        f"--file={tmp_path / 'none.txt'}",
        script="predict.py",
        processes=2,
        check=False,
    )
    assert done.returncode != 0
    assert done.stdout.count("error: --file") == 1


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(trained, tmp_path):
    """Six times the file may not cost more than some MiB: only a unit is held at once."""
    code = (
        "import sys, predict\n"
        "assert predict.cli(sys.argv[1:]) == 0\n"
        "print(*[line for line in open('/proc/self/status') if line.startswith('VmHWM')])"
    )
    peaks = []
    for lines in (2_000, 12_000):
        source = tmp_path / f"{lines}.jsonl"
        row = json.dumps({"tokens": ["Ann"], "note": "x" * 10_000})
        source.write_text((row + "\n") * lines, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-c", code, trained, "--file", source, "--output", tmp_path / "o.txt"],
            cwd=REPO, capture_output=True, text=True, check=True,
        )  # fmt: skip
        peaks.append(int(done.stdout.split()[1]) / 1024)
    assert peaks[1] - peaks[0] < 50  # MiB; the larger file has 120


@pytest.mark.slow
def test_help_comes_before_slow_imports():
    code = (
        "import sys, predict\n"
        "try:\n    predict.cli(['--help'])\n"
        "finally:\n    print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True
    )
    assert "--words" in done.stdout
    assert done.stdout.endswith("[]\n")


def test_columns_are_known_by_their_lines_where_the_ending_says_nothing(tag):
    assert tag("eng.testb", CONLL, "out.conll") == tag("eng.conll", CONLL, "other.conll")


def test_a_python_without_the_packages_is_told_so():
    """-S leaves the packages of the environment out."""
    for script in ("train_loop.py", "predict.py", "report.py", "export.py"):
        arguments = [sys.executable, "-S", script, "--help"]
        found = subprocess.run(arguments, cwd=REPO, capture_output=True, text=True, timeout=100)
        assert found.returncode == 2
        assert "has no torch, accelerate" in found.stderr
        assert found.stderr.count("\n") == 1


def test_tables_are_read_as_in_training(tag, tagger):
    """The delimiter that the header has most of, lists as Python writes them, rows under "data"."""
    words = ["Ann", "in", "Oslo"]
    tags = json.dumps(tagger([words])[0].tags)
    quoted = tags.replace('"', '""')
    assert tag("a.csv", "id;tokens\n1;Ann in Oslo\n", "b.csv").splitlines() == [
        "id;tokens;tags",
        f'1;"[""Ann"", ""in"", ""Oslo""]";"{quoted}"',
    ]
    lists = f'tokens,id\n"{words}",1\n'
    assert json.loads(tag("c.csv", lists, "d.jsonl")) == {
        "tokens": words,
        "id": "1",
        "tags": json.loads(tags),
    }
    whole = json.dumps({"version": "1", "data": [{"tokens": words}, {"tokens": ["x"]}]}, indent=1)
    rows = [json.loads(line) for line in tag("e.json", whole, "f.jsonl").splitlines()]
    assert [row["tokens"] for row in rows] == [words, ["x"]]


MISTAKES = [
    ("a.jsonl", '{"text": "a"}\n{"text": \n', "a.jsonl:2: not valid JSON"),
    ("a.jsonl", '{"text": "a"}\n["a"]\n', "a.jsonl:2: holds ['a'], not a row"),
    ("a.jsonl", '{"txt": "a"}\n', "a.jsonl:1: no tokens or words or text or sentence"),
    ("a.jsonl", '{"tokens": ["a", 1]}\n', "a.jsonl:1: tokens holds ['a', 1]"),
    ("a.jsonl", '{"text": "\\ud800"}\n', "a.jsonl:1: half a character"),
    ("a.conll", "won O\n" * 20 + "it\n", "a.conll:21: 1 column, but the lines before have 2"),
    ("a.conllu", "1\tAnn\n", "a.conllu:1: 2 columns, but CoNLL-U has 10"),
    ("a.csv", "id,text\n1,a,b\n", "a.csv:2: 3 cells, but the header has 2"),
    ("a.csv", 'id,text\n1,"a\n', "a.csv:2: not readable as CSV"),
    ("a.csv", "text,text\na,b\n", "a.csv:1: two columns are named 'text'"),
    ("a.csv", "text,,\na,b,c\n", "a.csv:1: two columns are named ''"),
    ("a.json", '[{"text": "a"},\n{"text"}]', "a.json:2: not valid JSON"),
    ("a.csv", "Sentence #,Word\n1,Ann\n,won\n", "a.csv: one word a row (column 'Word'"),
    ("a.csv", "sentence,word\n1,Ann\n1,won\n", "a.csv: one word a row (column 'word'"),
    ("a.docx", "x", "unknown format '.docx'"),
]


@pytest.mark.parametrize(("name", "content", "message"), MISTAKES)
def test_a_mistake_in_the_file_is_one_line_and_leaves_the_output(
    trained, tmp_path, capsys, name, content, message
):
    source, target = tmp_path / name, tmp_path / "out.jsonl"
    source.write_text(content, encoding="utf-8")
    target.write_text("old")
    assert run(trained, "--file", source, "--output", target) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    assert target.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "out.jsonl"])


def test_mistakes_on_the_command_line(trained, tmp_path, capsys):
    source = tmp_path / "a.txt"
    source.write_text("a")
    (tmp_path / "latin.txt").write_bytes(b"M\xfcller")
    (tmp_path / "wide.txt").write_text("Ann", encoding="utf-16")
    for arguments, message in [
        ([tmp_path, "--text", "a"], "holds no config.json"),
        ([trained, "--text", "a", "--file", source], "not allowed with"),
        ([trained, "--file", tmp_path / "b.txt"], "--file"),
        ([trained, "--file", tmp_path, "--input_format", "txt"], "Is a directory"),
        ([trained, "--file", tmp_path / "latin.txt"], "latin.txt:1: not UTF-8"),
        ([trained, "--file", tmp_path / "wide.txt"], "this is UTF-16; convert it: iconv"),
        ([trained, "--file", source, "--output", tmp_path / "no" / "b.jsonl"], "no/b.jsonl: No"),
        ([trained, "--file", source, "--output", tmp_path / "b.conllu"], "only for input of"),
        ([trained, "--file", source, "--output", tmp_path / "b.doc"], "unknown format"),
        ([trained, "--text", "a", "--batch_size", "0"], "--batch_size 0"),
        ([trained, "--text", "a", "--words", "syllables"], "--words"),
        ([trained, "--text", "a", "--threads", "0"], "--threads 0"),
        ([trained, "--text", "a", "--device", "abacus"], "--device abacus: torch cannot use it"),
        ([trained, "--text", "a", "--min_score", "nan"], "--min_score nan: must be between 0 and"),
        ([trained, "--text", "a", "--top", "3"], "Give --sort_by uncertainty, too"),
        ([trained, "--text", "a", "--top", "0", "--sort_by", "uncertainty"], "--top 0"),
        ([trained, "--file", source, "--html", source], "give the name of a new file"),
        ([trained, "--text", "a", "--html", tmp_path], "Is a directory"),
        ([trained, "--text", "a", "--html", "b.jsonl", "--output", "./b.jsonl"], "same file"),
        ([trained, "--file", source, "--output", tmp_path / "a.ann", "--sort_by", "uncertainty"],
         "another order"),
        ([], "MODEL_DIR"),
    ]:  # fmt: skip
        assert run(*arguments) == 2, arguments
        error = capsys.readouterr().err
        assert message in error
        assert "Traceback" not in error
        assert error.startswith("error: ")
    assert not (tmp_path / "b.jsonl").exists()


@pytest.mark.slow
def test_a_closed_pipe_is_no_traceback(trained, tmp_path):
    source = tmp_path / "a.txt"
    source.write_text("Ann\n" * 5000)
    process = subprocess.Popen(
        [sys.executable, "predict.py", trained, "--file", source],
        cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    process.stdout.readline()
    process.stdout.close()
    error = process.stderr.read().decode()
    assert process.wait() == 3
    assert error == "error: standard output was closed before everything was written\n"


ANNOTATED = ["doccano", "label_studio", "prodigy", "brat"]
MANY = [text for text in TEXTS if text] + ["Ann\r", "x", "Bob in Oslo"]


def read_back(path):
    """What train_loop.py would learn from it: words and tags."""
    found, sentences = read_source(path, "train", Choices(KINDS["ner"]))
    rows = [(row.tokens, row.tags) for row in sentences]
    return rows, found.notes


@pytest.mark.parametrize("target", ANNOTATED)
def test_annotation_tools_get_the_entities_and_training_reads_them(target, tag, tagger, tmp_path):
    name = {"label_studio": "b.json", "brat": "b.ann"}.get(target, "b.jsonl")
    options = () if target == "brat" else ("--output_format", target)
    written = tag("a.txt", "\n".join(MANY), name, *options)
    results = tagger(MANY)
    assert read_back(tmp_path / name) == ([(r.tokens, r.tags) for r in results], [])
    ann = results[0].entities[0]
    if target == "brat":
        assert written.startswith(
            f"T1\t{ann['label']} {ann['start']} {ann['end']}\t{ann['text']}\n"
        )
        assert (tmp_path / "b.txt").read_bytes() == (tmp_path / "a.txt").read_bytes()
        return
    whole = written if target == "label_studio" else f"[{written.replace(chr(10), ',')[:-1]}]"
    rows = json.loads(whole)
    spans = [{key: e[key] for key in ("start", "end", "label")} for e in results[0].entities]
    if target == "doccano":
        assert rows[0] == {"text": MANY[0], "label": [list(span.values()) for span in spans]}
    elif target == "prodigy":
        assert rows[0] == {"text": MANY[0], "spans": spans}
    else:
        assert rows[0]["data"] == {"text": MANY[0]}
        [prediction] = rows[0]["predictions"]
        value = {key: ann[key] for key in ("start", "end", "text")} | {"labels": [ann["label"]]}
        assert prediction["result"][0]["value"] == value
        scores = [entity["score"] for entity in results[0].entities]
        assert prediction["score"] == round(sum(scores) / len(scores), 4)


def test_tasks_of_annotation_tools_are_tagged_and_keep_what_is_theirs(tag, tagger):
    ann, bob = tagger([TEXTS[0], TEXTS[3]])
    gold = {"result": [{"value": {"start": 0, "end": 3, "text": "Ann", "labels": ["X"]}}]}
    tasks = [
        {"id": 5, "data": {"body": TEXTS[0], "url": 7}, "annotations": [gold], "predictions": []},
        {"id": 6, "data": {"body": TEXTS[3]}, "annotations": []},
    ]
    for indent in (None, 1):
        content = json.dumps(tasks, indent=indent)
        found = json.loads(tag("a.json", content, "b.json", "--output_format", "label_studio"))
        for task, one, result in zip(tasks, found, (ann, bob), strict=True):
            spans = [region["value"]["text"] for region in one["predictions"][0]["result"]]
            assert spans == [entity["text"] for entity in result.entities]
            assert {**one, "predictions": 0} == {**task, "predictions": 0}
    row = {"text": TEXTS[0], "meta": {"a": 1}, "tokens": [{"text": "Ann", "id": 0}]}
    row |= {"relations": [{"from_id": 1, "to_id": 2}]}  # of entities that are replaced
    row |= {"answer": "accept", "spans": [{"start": 0, "end": 1, "label": "X"}], "_task_hash": 3}
    [found] = tag("a.jsonl", json.dumps(row), "b.jsonl", "--output_format", "prodigy").splitlines()
    spans = [{key: e[key] for key in ("start", "end", "label")} for e in ann.entities]
    assert json.loads(found) == {"meta": {"a": 1}, "text": TEXTS[0], "spans": spans}
    [found] = tag("a.jsonl", json.dumps(row), "b.jsonl").splitlines()
    assert json.loads(found)["tokens"] == ann.tokens


def test_annotations_by_hand_are_not_replaced_unasked(trained, tmp_path, capsys):
    source, by_hand = tmp_path / "a.txt", tmp_path / "a.ann"
    source.write_text("Ann won.", encoding="utf-8")
    by_hand.write_text("T1\tPER 0 3\tAnn\n", encoding="utf-8")
    assert run(trained, "--file", source, "--output", source, "--output_format", "brat") == 2
    assert "would replace" in capsys.readouterr().err
    assert by_hand.read_text(encoding="utf-8") == "T1\tPER 0 3\tAnn\n"


def test_a_text_is_not_replaced(trained, tmp_path, capsys):
    """Neither by its tags, nor by the text that brat wants beside its annotations."""
    source, notes = tmp_path / "a.txt", tmp_path / "notes.txt"
    source.write_text("Ann won.", encoding="utf-8")
    notes.write_text("precious", encoding="utf-8")
    for output in (source, tmp_path / "notes.ann"):
        assert run(trained, "--file", source, "--output", output) == 2
        assert "would replace" in capsys.readouterr().err
    assert (source.read_text(), notes.read_text()) == ("Ann won.", "precious")
    assert sorted(tmp_path.iterdir()) == [source, notes]


def test_no_other_file_of_the_user_is_touched(trained, tmp_path):
    """The input is named as a temporary file might be; the output is a link, then a pipe."""
    source, target = tmp_path / "tmp-out.jsonl", tmp_path / "target.jsonl"
    link, pipe = tmp_path / "out.jsonl", tmp_path / "pipe"
    source.write_text('{"text": "Ann"}\n', encoding="utf-8")
    target.write_text("old", encoding="utf-8")
    link.symlink_to(target)
    assert run(trained, "--file", source, "--output", link) == 0
    assert source.read_text(encoding="utf-8") == '{"text": "Ann"}\n'
    assert link.is_symlink()
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
        assert run(trained, "--file", source, "--output", pipe, "--output_format=jsonl") == 0
        assert reader.communicate(timeout=HANG)[0].decode() == target.read_text(encoding="utf-8")
    assert pipe.is_fifo()


def test_brat_offsets_count_a_byte_order_mark_as_the_text_does(trained, tmp_path):
    source = tmp_path / "a.txt"
    source.write_bytes(b"\xef\xbb\xbf" + TEXTS[0].encode())
    assert run(trained, "--file", source, "--output", tmp_path / "a.ann") == 0
    text = source.read_bytes().decode()
    for line in (tmp_path / "a.ann").read_text(encoding="utf-8").splitlines():
        _, where, surface = line.split("\t")
        _, start, end = where.split()
        assert text[int(start) : int(end)] == surface


@pytest.mark.slow
def test_standard_input_that_is_not_utf_8(trained):
    done = subprocess.run(
        [sys.executable, "predict.py", trained], cwd=REPO, capture_output=True,
        input="Zoë\n".encode("latin-1"), check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert b"standard input:1" in done.stderr
    assert b"UTF-8" in done.stderr


def test_brat_beside_the_text_leaves_the_text(trained, tagger, tmp_path):
    source = tmp_path / "a.txt"
    source.write_bytes("Ann won.\r\n\nBob 👍🏽 in Oslo".encode())
    before = source.stat().st_ino
    assert run(trained, "--file", source, "--output", tmp_path / "a.ann") == 0
    assert source.stat().st_ino == before
    text = source.read_bytes().decode()
    lines = (tmp_path / "a.ann").read_text(encoding="utf-8").splitlines()
    assert lines
    for line in lines:
        _, bound, words = line.split("\t")
        assert text[int(bound.split()[1]) : int(bound.split()[2])] == words
    assert read_back(source)[0] == [
        (r.tokens, r.tags) for r in tagger(["Ann won.", "Bob 👍🏽 in Oslo"])
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ann", "a.txt"]


def test_annotation_formats_without_texts_or_spans(trained, tmp_path, capsys):
    source, target = tmp_path / "a.txt", tmp_path / "b.json"
    source.write_text("")
    options = ("--output", target, "--output_format", "label_studio")
    assert run(trained, "--file", source, *options) == 0
    assert json.loads(target.read_text()) == []
    capsys.readouterr()
    assert run(trained, "--text", "Ann", "--output_format", "brat") == 2
    assert "two files, .txt and .ann" in capsys.readouterr().err
    pos = tmp_path / "pos"
    shutil.copytree(trained, pos)
    config = json.loads((pos / "config.json").read_text(encoding="utf-8"))
    config["tagloop"]["task"] = "pos"
    (pos / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert run(pos, "--text", "Ann", "--output_format", "doccano") == 2
    assert "--output_format doccano: for spans, but" in capsys.readouterr().err


def test_an_output_that_is_replaced_keeps_its_mode(trained, tmp_path):
    output = tmp_path / "out.jsonl"
    output.write_text("old")
    output.chmod(0o600)
    predict.main([str(trained), "--text", "Ann Lee .", "--output", str(output)])
    assert "Ann Lee ." in output.read_text()
    assert output.stat().st_mode & 0o777 == 0o600


def test_a_terminal_is_told_that_it_is_read(trained, tmp_path, monkeypatch, capsys):
    keyboard, terminal = pty.openpty()
    os.write(keyboard, b"Ann Lee .\n\x04")
    output = tmp_path / "out.jsonl"
    with open(terminal) as stdin, monkeypatch.context() as patch, open(keyboard, "wb"):
        patch.setattr("sys.stdin", stdin)
        assert run(trained, "--output", output) == 0
    assert "until Ctrl-D" in capsys.readouterr().err
    assert json.loads(output.read_text())["text"] == "Ann Lee ."


def test_closed_standard_input_is_named(trained, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", None)
    assert run(trained) == 2
    assert "standard input is closed" in capsys.readouterr().err


@pytest.mark.slow
def test_a_signal_leaves_the_output_as_it_was_and_nothing_beside_it(trained, tmp_path):
    output = tmp_path / "out.jsonl"
    output.write_text("old")
    command = [sys.executable, "predict.py", trained, "--output", output]
    process = subprocess.Popen(
        command, cwd=REPO, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    wait_until(
        lambda: any(tmp_path.glob("tmp-*")) or process.poll() is not None,
        "the output is being written",
    )
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=HANG)
    assert process.returncode == 128 + signal.SIGTERM
    assert b"Traceback" not in error
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"out.jsonl": "old"}


def test_a_quote_in_a_table_that_never_quotes_is_a_character(trained, tmp_path):
    source, target = tmp_path / "a.tsv", tmp_path / "out.jsonl"
    source.write_text('id\ttext\n1\t"Ann won\n2\tBob lost\n3\tIt was 5" long"\n')
    assert run(trained, "--file", source, "--output", target) == 0
    texts = [json.loads(line)["text"] for line in target.read_text().splitlines()]
    assert texts == ['"Ann won', "Bob lost", 'It was 5" long"']


def test_a_line_that_names_the_columns_is_not_tagged(trained, tmp_path):
    source, target = tmp_path / "a.conll", tmp_path / "out.conll"
    source.write_text("word pos\nAnn NNP\nwon VBD\n")
    assert run(trained, "--file", source, "--output", target) == 0
    first, *words = target.read_text().splitlines()
    assert first == "word pos"
    assert [line.split()[:2] for line in words] == [["Ann", "NNP"], ["won", "VBD"]]


def test_names_that_are_too_long_end_with_one_line(trained, tmp_path, capfd):
    source = tmp_path / "a.txt"
    source.write_text("Ann won\n")
    for name in ("x" * 300 + ".jsonl", "x" * 252 + ".ann"):
        assert run(trained, "--file", source, "--output", tmp_path / name) == 2
        assert "at most 255" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("config.json", lambda values: values | {"architectures": True}, "no list of names"),
        ("config.json", lambda values: [values], "is no JSON object"),
        ("tokenizer.json", lambda values: with_ids(values, 1000), "they belong to two models"),
        (
            "tokenizer.json",
            lambda values: with_ids(values, 2 * 10**6),
            "more than any model has rows",
        ),
    ],
)
def test_files_of_a_model_that_do_not_fit_are_named(trained, tmp_path, name, change, says, capfd):
    copy = shutil.copytree(trained, tmp_path / "copy")
    values = json.loads((copy / name).read_text(encoding="utf-8"))
    (copy / name).write_text(json.dumps(change(values)), encoding="utf-8")
    assert run(copy, "--text", "Ann Lee lives in Oslo.") == 2
    error = capfd.readouterr().err
    assert says in error
    assert "Traceback" not in error


def test_no_text_lets_code_of_a_model_run(trained, tmp_path, monkeypatch, capfd):
    copy, marker = shutil.copytree(trained, tmp_path / "copy"), tmp_path / "executed"
    (copy / "its_code.py").write_text(
        f"open({str(marker)!r}, 'w').close()\n"
        "from transformers import BertConfig as Own, BertForTokenClassification as Model\n"
    )
    names = {"AutoConfig": "its_code.Own", "AutoModelForTokenClassification": "its_code.Model"}
    values = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    changed = values | {"model_type": "own", "auto_map": names}
    (copy / "config.json").write_text(json.dumps(changed))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"y\n" * 9)))
    assert run(copy) == 2
    shown = capfd.readouterr()
    assert "custom code" in shown.err
    assert "[y/N]" not in shown.out + shown.err
    assert not marker.exists()


def with_ids(values, factor):
    """A tokenizer.json in which every id of the vocabulary is larger by a factor."""
    vocabulary = {token: number * factor for token, number in values["model"]["vocab"].items()}
    return values | {"model": values["model"] | {"vocab": vocabulary}}


def test_a_model_that_is_said_to_give_tuples_tags(trained, tmp_path, capfd):
    copy = shutil.copytree(trained, tmp_path / "copy")
    values = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    (copy / "config.json").write_text(json.dumps(values | {"return_dict": False}))
    tagged = []
    for folder in (trained, copy):
        assert run(folder, "--text", "Ann Lee lives in Oslo.") == 0
        tagged.append(capfd.readouterr().out)
    assert tagged[0] == tagged[1]
