"""--check_data: what is wrong with the data, by file and line, before anything is trained on it."""

import json
import re
import shutil
import sys

import pytest

import train_loop

TRAIN = """EU B-ORG
rejects O
calls O

Ann I-PER
Lee I-PER
won O

Bonn B-LOC
\u200b O

EU B-LOC
rejects O
calls O
"""
DEV = """Bonn B-LOC
\u200b O

Oslo B-CITY
"""


def write(folder, **texts):
    files = {}
    for name, text in texts.items():
        files[name] = folder / f"{name}.conll"
        files[name].write_text(text, encoding="utf-8")
    return files


def check(capfd, *arguments, code):
    """What the check prints; it must end with this code."""
    found = train_loop.cli(["--check_data", *map(str, arguments)])
    captured = capfd.readouterr()
    assert found == code, captured
    assert "Traceback" not in captured.err
    return captured.out + captured.err


def test_every_problem_is_named_with_its_line(trained, tmp_path, capfd):
    """The folder has a tokenizer, and nothing else of a model."""
    tokenizer = tmp_path / "tokenizer"
    tokenizer.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(trained / name, tokenizer)
    files = write(tmp_path, train=TRAIN, dev=DEV)
    train, dev = files["train"], files["dev"]
    text = check(
        capfd, "--label_scheme=IOB2", f"--train_file={train}", f"--validation_file={dev}",
        f"--model_name_or_path={tokenizer}", f"--output_dir={tmp_path / 'out'}",
        "--show_examples=0", code=1,
    )  # fmt: skip
    for line in (
        f"{train}:5: I-PER after the beginning continues nothing",
        f"{train}:12: EU is B-LOC, but B-ORG in the same sentence at {train}:1",
        f"{dev}:1 (validation): as {train}:9 (train)",
        f"{dev}:4: B-CITY, 1 times in validation",
        f"{train}:10: '\\u200b'",
        f"{dev}:2: '\\u200b'",
    ):
        assert line in text
    assert len(re.findall(rf"^  {re.escape(str(tmp_path))}", text, re.MULTILINE)) == 6
    assert re.search(r"^train +4 sentences, 11 words", text, re.MULTILINE)
    assert re.search(r"^ +B-LOC +2 +1$", text, re.MULTILINE)
    assert not (tmp_path / "out").exists()


def test_good_data_needs_no_model_and_ends_with_0(tmp_path, capfd):
    files = write(tmp_path, train="Ann B-PER\nwon O\n\nBonn B-LOC\n", dev="Bob B-PER\n")
    given = [f"--train_file={files['train']}", f"--validation_file={files['dev']}"]
    text = check(capfd, *given, "--show_examples=1", code=0)
    assert "no problems found" in text
    assert "scheme      IOB2" in text
    assert "sub-tokens  not counted" in text
    assert len(re.findall(r"\[(?:Ann PER|Bonn LOC|Bob PER)\]", text)) == 1


def test_examples_show_the_context_that_a_window_sees(tmp_path, capfd):
    mark = "-DOCSTART- O\n\n"
    train = f"{mark}Ann O\nwon O\n\n{mark}in O\n\nit O\n\nBob B-PER\n\nhas O\nit O\n\nnow O\n"
    file = write(tmp_path, train=f"{train}\n{mark}Cleo O\n")["train"]
    text = check(capfd, f"--train_file={file}", "--context_tokens=2", "--show_examples=1", code=0)
    assert "\n    in it | [Bob PER] | has it\n" in text
    assert "documents by lines -DOCSTART-; up to 2 sub-tokens of the same document" in text
    bare = write(tmp_path, bare=train.replace(mark, ""))["bare"]
    text = check(capfd, f"--train_file={bare}", "--context_tokens=2", code=1)
    assert "no documents for --context_tokens: 1" in text
    assert "--unmarked_split document" in text


def test_training_data_without_an_entity_is_a_problem(tmp_path, capfd):
    files = write(tmp_path, train="Ann O\nwon O\n", dev="Bob B-PER\n")
    given = [f"--train_file={files['train']}", f"--validation_file={files['dev']}"]
    assert "train: every gold tag is O" in check(capfd, *given, code=1)


@pytest.mark.parametrize(
    ("scheme", "tags", "faults"),
    [
        ("IOB1", "I-PER B-PER O B-LOC", {4: "B-LOC after O"}),
        ("IOBES", "B-PER O S-PER E-PER", {2: "B-PER before O", 4: "E-PER after S-PER"}),
        ("IOBES", "S-PER O B-LOC", {3: "B-LOC before the end"}),
        ("BILOU", "B-A L-A U-A I-B L-B", {4: "I-B after U-A"}),
        ("BMES", "B-A M-A E-A W-B X-A", {5: "X-A is no tag of BMES"}),
        ("IO", "PER PER O LOC", {}),
    ],
)
def test_illegal_transitions_of_every_scheme(scheme, tags, faults, tmp_path, capfd):
    lines = [f"word{number} {tag}\n" for number, tag in enumerate(tags.split())]
    file = write(tmp_path, train="".join(lines))["train"]
    text = check(capfd, f"--label_scheme={scheme}", f"--train_file={file}", code=1 if faults else 0)
    assert len(re.findall(rf"^  {re.escape(str(file))}:\d+: ", text, re.MULTILINE)) == len(faults)
    for line, fault in faults.items():
        assert f"{file}:{line}: {fault}" in text


def test_a_split_that_cannot_be_read_does_not_hide_the_others(tmp_path, capfd):
    files = write(tmp_path, train="Ann B-PER\nLee I-LOC\n", dev="Bob B-PER\nwon\n")
    given = [f"--train_file={files['train']}", f"--validation_file={files['dev']}"]
    text = check(capfd, *given, "--label_scheme=IOB2", code=1)
    assert f"{files['dev']}:2: 1 column" in text
    assert f"{files['train']}:2: I-LOC after B-PER" in text
    assert "nowhere.conll" in check(capfd, "--train_file=nowhere.conll", code=2)


def test_rows_of_a_table_and_a_fraction_held_out(tmp_path, capfd):
    """The same sentence twice is in two splits once a part of the data is held out."""
    rows = [{"tokens": ["Bonn"], "ner_tags": ["B-LOC"]} for _ in range(4)]
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "no problems" in check(capfd, f"--train_file={file}", code=0)
    text = check(capfd, f"--train_file={file}", "--validation_fraction=0.25", code=1)
    assert re.search(rf"{re.escape(str(file))}:\d \(\w+\): as {re.escape(str(file))}:\d", text)
    assert re.search(r"^validation +1 sentences", text, re.MULTILINE)


def test_colour_is_for_terminals_that_want_it(tmp_path, capfd, monkeypatch):
    file = write(tmp_path, train="Ann\x1b[5m B-PER\nwon O\n")["train"]
    plain = check(capfd, f"--train_file={file}", code=1)
    assert "\x1b" not in plain
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = check(capfd, f"--train_file={file}", code=1)
    assert re.sub(r"\x1b\[[0-9]*m", "", coloured) == plain
    assert coloured.count("\x1b") == 2, "the corpus steers no terminal"
    monkeypatch.setenv("NO_COLOR", "1")
    assert check(capfd, f"--train_file={file}", code=1) == plain


def test_a_terminal_gets_the_first_problems_and_a_file_all(tmp_path, capfd, monkeypatch):
    lines = "".join(f"word{number} I-PER\n\n" for number in range(30))
    file = write(tmp_path, train=lines)["train"]
    given = ["--label_scheme=IOB2", f"--train_file={file}"]
    assert check(capfd, *given, code=1).count("continues nothing") == 30
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert "... and 20 more" in check(capfd, *given, code=1)


def test_characters_that_are_no_text_and_texts_that_were_decoded_twice_are_named(tmp_path, capfd):
    words = ["Ann", "\ufeffBo", "J\ufffdrgen", "J\u00c3\u00bcrg", "J\u00fcrg"]
    lines = "".join(f"{word} B-PER\n\n" for word in words)
    file = write(tmp_path, train=lines)["train"]
    said = check(capfd, f"--train_file={file}", code=1)
    assert "characters that are no text: 2" in said
    assert f"{file}:7: 'J\u00c3\u00bcrg' is most likely 'J\u00fcrg'" in said
    assert f"{file}:3: '\\ufeff' in '\\ufeffBo'" in said
    assert "UTF-8 that was read as another encoding: 1" in said
    assert "is most likely 'J\u00fcrg'" in said


def test_words_that_begin_with_the_code_of_a_language_are_named(tmp_path, capfd):
    """As in the files of WikiANN."""
    file = write(tmp_path, train="en:Ann B-PER\nen:won O\n\n" * 10)["train"]
    assert "20 of 20 words begin with 'en:'" in check(capfd, f"--train_file={file}", code=1)
    file = write(tmp_path, train="en:Ann B-PER\nwon O\n\n" * 10)["train"]
    assert "begin with" not in check(capfd, f"--train_file={file}", code=0)


def test_texts_and_their_classes(trained, tmp_path, capfd):
    train, dev = tmp_path / "train.csv", tmp_path / "dev.csv"
    train.write_text("text,label\nIt rained,weather\nIt snowed,news\nIt rained,news\n")
    dev.write_text("text,label\nIt snowed,news\n ,news\nGoal,sport\n")
    given = ["--task_name=classification", f"--train_file={train}", f"--validation_file={dev}"]
    text = check(capfd, *given, f"--model_name_or_path={trained}", code=1)
    for line in (
        f"{train}:4: news, but weather for the same text at {train}:2",
        f"{dev}:2 (validation): as {train}:3 (train): It snowed",
        f"{dev}:3: no text",
        f"{dev}:4: sport, 1 times in validation",
    ):
        assert line in text
    assert re.search(r"^ +news +2 +2$", text, re.MULTILINE)
    train.write_text("text,label\nIt rained,0.5\nIt snowed,1.25\n")
    text = check(capfd, *given[:2], "--show_examples=0", code=0)
    assert "numbers from 0.5 to 1.25, mean 0.875" in text


def test_numbers_and_words_as_labels_are_classes(tmp_path, capfd):
    train, dev = tmp_path / "train.csv", tmp_path / "dev.csv"
    train.write_text("text,label\nIt rained,0.5\nIt snowed,1.25\n")
    dev.write_text("text,label\nGoal,sport\nIt hailed,0.5\n")
    given = ["--task_name=classification", f"--train_file={train}", f"--validation_file={dev}"]
    assert f"{dev}:2: sport, 1 times in validation" in check(capfd, *given, code=1)


def test_words_to_tag_are_read_as_training_is(tmp_path, capfd):
    """Where a training file has its tags, even if it cannot be read to its end."""
    train, words = tmp_path / "train.conll", tmp_path / "words.conll"
    train.write_text("Ann NN B-NP B-PER\nwon VB B-VP O\n")
    words.write_text("Bob NN B-NP B-PER\n")
    given = [f"--train_file={train}", f"--predict_file={words}"]
    line = "predict: words from column 0, tags from column 3"
    assert line in check(capfd, *given, code=0)
    train.write_text("Ann O\nwon O\nUlm\n")
    assert "predict: words from column 0\n" in check(capfd, *given, code=1)


def sentences(count, words=8, first=0):
    """So many different sentences of so many words."""
    return "".join(
        "".join(f"w{number}x{word} O\n" for word in range(words - 1)) + "Ann B-PER\n\n"
        for number in range(first, first + count)
    )


@pytest.mark.medium
def test_short_sentences_that_are_alike_are_no_leak_and_long_ones_are(tmp_path, capfd):
    short = ": O\n\n6-2 O\n6-2 O\n\n"
    files = write(
        tmp_path, train=short + sentences(90), short=short + sentences(90, first=100),
        many=sentences(87, first=100) + sentences(3), few=sentences(89, first=100) + sentences(1),
        long=sentences(1, words=21) + sentences(800, first=100),
        other=sentences(1, words=21),
    )  # fmt: skip

    def given(train, dev):
        return [f"--train_file={files[train]}", f"--validation_file={files[dev]}"]

    text = check(capfd, *given("train", "short"), code=0)
    assert "the same sentence in two splits (no leak: at most 2 words long, 0.4% of a split" in text
    assert f"{files['short']}:1 (validation): as {files['train']}:1" in text
    assert "no problems found" in text
    assert "in two splits: 3\n" in check(capfd, *given("train", "many"), code=1)
    assert "(no leak: at most 8 words" in check(capfd, *given("train", "few"), code=0)
    assert "in two splits: 1\n" in check(capfd, *given("other", "long"), code=1)


def test_what_is_lost_is_a_problem(tmp_path, capfd):
    """A type all of whose spans lie in longer ones, and spans that --misaligned drop leaves out."""
    file = tmp_path / "a.jsonl"
    spans = [[0, 7, "PER"], [0, 3, "FIRST"]]
    file.write_text(json.dumps({"text": "Ann Lee won", "label": spans}) + "\n")
    text = check(capfd, f"--train_file={file}", code=1)
    assert "annotated, and left out: 2\n" in text
    assert "1 span left out, overlapping a longer one" in text
    assert "no span of the type 'FIRST' is left, of 1" in text
    file.write_text(json.dumps({"text": "Ann Lee won", "label": [[0, 3, "PER"], [4, 6, "X"]]}))
    text = check(capfd, f"--train_file={file}", "--misaligned=drop", code=1)
    assert "does not mark whole words, left out" in text


def test_the_share_of_unknown_words_is_told(trained, tmp_path, capfd):
    file = write(tmp_path, train="Ann B-PER\n" + "\u4eac O\n" * 30)["train"]
    text = check(capfd, f"--train_file={file}", f"--model_name_or_path={trained}", code=1)
    assert "30 words (96.8%) hold something unknown to the tokenizer" in text
    assert "nearly all words are unknown to the tokenizer: 1\n" in text


@pytest.mark.slow
def test_real_data(corpora, capfd):
    """As in the papers on it: CoNLL-2003's two slips, and sentences that are in several splits."""
    folder = corpora / "conll2003"
    text = check(
        capfd, f"--train_file={folder / 'eng.train'}", f"--validation_file={folder / 'eng.testa'}",
        f"--test_file={folder / 'eng.testb'}", code=0,
    )  # fmt: skip
    assert "scheme      IOB1" in text
    assert "illegal transitions (in less than 1% of 20,744): 2\n" in text
    assert "no leak: at most 18 words long, 1.7% of a split's words): 326\n" in text
    wnut = [f"--{split}_file={corpora}/wnut17/wnut17{name}.conll" for split, name in (
        ("train", "train"), ("validation", "dev"), ("test", "test"))]  # fmt: skip
    check(capfd, *wnut, code=0)
    partut = [f"--{split}_file={corpora}/ud_partut/en_partut-ud-{name}.conllu" for split, name in (
        ("train", "train"), ("validation", "dev"), ("test", "test"))]  # fmt: skip
    check(capfd, "--task_name=pos", *partut, code=0)
    assert re.search(r"^train +14,041 sentences, 203,621 words, 946 documents", text, re.MULTILINE)
