"""report.py as a person uses it: the page of a run, and of several beside each other."""

import csv
import errno
import html
import html.parser
import itertools
import json
import os
import re
import shutil
import statistics
import subprocess
import sys

import numpy as np
import pytest
from launches import HANG, REPO, SMALL, read_json
from seqeval.metrics import f1_score

import report
import train_loop
from tagloop.outcome.predictions_file import read_predictions_file, write_predictions_file
from tagloop.outcome.record import read_outcome
from tagloop.pages.sentences import Sentence, confusion, errors_of
from tagloop.pages.statistics import calibration, compare, interval, resample, scores_of
from tagloop.report.build import report_run
from tagloop.report.curves import find_divergence
from tagloop.report.facts import facts_section
from tagloop.sample.corpus import build_sample_corpus
from tagloop.tasks.classification.answers import read_answers as read_classes
from tagloop.tasks.tagging.answers import read_conll, to_spans
from tagloop.tasks.tagging.scores import TokenScores

pytest.importorskip("matplotlib", reason="pip install -r requirements-report.txt")

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(html.parser.HTMLParser):
    """Checks that tags close in order; keeps text by section, rows of tables and addresses."""

    def __init__(self, path):
        super().__init__()
        self.open, self.sections, self.rows, self.fetched = [], {}, [], []
        self.text, self.pictures, self.title = "", 0, None
        self.feed(path.read_text(encoding="utf-8").replace("<wbr>", ""))  # a line may break there
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.pictures += tag == "svg"
        if tag == "tr":
            self.rows.append([])
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "srcset", "data") and value[0] != "#":
                self.fetched.append(value)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.title = data
        if "style" in self.open or not data.strip():
            return
        self.text += data + " "
        if self.title:
            self.sections[self.title] = self.sections.get(self.title, "") + data + " "
        if self.open[-1] in ("td", "th"):
            self.rows[-1].append(data)


def page_of(*arguments):
    """The page that report.py writes."""
    return Page(report.main([str(argument) for argument in arguments]))


@pytest.fixture(scope="module")
def run(trained, tmp_path_factory):
    """A run to report on, whose folder other tests do not see."""
    return shutil.copytree(trained, tmp_path_factory.mktemp("report") / "first")


@pytest.fixture(scope="module")
def page(run):
    return page_of(run)


def edit(folder, target, change):
    """A copy of a run whose predicted tags are changed, line by line: change(word, gold, tag)."""
    shutil.copytree(folder, target)
    path, lines = target / "predictions.conll", []
    for line in path.read_text(encoding="utf-8").split("\n"):
        cells = line.split(" ")
        lines.append(" ".join([*cells[:2], change(*cells)]) if line else line)
    path.write_text("\n".join(lines), encoding="utf-8")
    (target / "predictions.npz").unlink()  # which the page would believe instead
    return target


@pytest.mark.slow
def test_the_page_has_the_scores_of_the_run(run, page):
    results = read_json(run / "all_results.json")
    for name in ("test_precision", "test_recall", "test_f1"):
        assert f"{results[name]:.4f}" in page.sections["Scores"]
    names = [
        "Scores", "By type", "Errors", "Seen and unseen entities", "By length", "Calibration",
        "Sentences with most errors", "Training", "Speed and circumstances",
    ]  # fmt: skip
    assert list(page.sections) == names
    assert page.pictures >= 8
    assert f"{results['train_padding_share']:.1%}" in page.text
    types = [row for row in page.rows if row[0] in ("PER", "LOC", "ORG", "MISC") and "(" in row[3]]
    gold = sum(int(row[4]) for row in types)
    assert f"{gold} in 26 sentences" in page.sections["Scores"]


@pytest.mark.slow
def test_the_page_is_one_file_that_fetches_nothing_and_has_both_colour_schemes(run, page):
    text = (run / "report.html").read_text(encoding="utf-8")
    assert page.fetched == []
    assert not re.search(r"url\((?!#)|@import|<script\b(?!>)|<link", text)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)  # it copies tables
    assert not re.search(r"fetch|XMLHttp|WebSocket|import|http|innerHTML|eval", script)
    assert "content=\"default-src 'none'; style-src 'unsafe-inline';" in text, "browsers hold it"
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"fill: #|stroke: #", text), "a picture would not follow the scheme"


@pytest.mark.slow
def test_words_of_the_data_are_no_markup(run, tmp_path):
    evil = "<b>&amp;$x^2$"
    copy = edit(run, tmp_path / "evil", lambda word, gold, tag: f"B-{evil}")
    path = copy / "predictions.conll"
    path.write_text(f"<script> B-{evil} O\n\n" + path.read_text())
    assert page_of(copy).text.count(evil) > 3


@pytest.mark.slow
def test_a_run_writes_its_page_itself_and_no_report_leaves_it_out(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(train_loop, "report_run", report_run)
    options = [*SMALL, "--max_train_steps=2", "--logging_steps=1"]
    train_loop.main([*options, f"--output_dir={tmp_path / 'with'}"])
    assert "Calibration" in Page(tmp_path / "with" / "report.html").sections
    assert f"report      {tmp_path / 'with' / 'report.html'}" in capfd.readouterr().out
    train_loop.main([*options, "--no_report", f"--output_dir={tmp_path / 'without'}"])
    assert not (tmp_path / "without" / "report.html").exists()
    train_loop.main([*options, "--overwrite_output_dir", "--no_report",
                     f"--output_dir={tmp_path / 'with'}"])  # fmt: skip
    assert not (tmp_path / "with" / "report.html").exists(), "the page of the run that was there"


@pytest.mark.parametrize("missing", ["matplotlib", "jinja2"])
@pytest.mark.slow
def test_a_missing_package_fails_no_run(missing, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(train_loop, "report_run", report_run)
    monkeypatch.setitem(sys.modules, missing, None)
    options = [*SMALL, "--max_train_steps=1", "--no_group_by_length", f"--output_dir={tmp_path}"]
    assert train_loop.cli(options) == 0
    line = f"report      not written: {missing} is not installed, and the report is made with it: "
    assert line + "pip install matplotlib jinja2" in capfd.readouterr().out
    assert read_json(tmp_path / "run.json")["finished"]
    assert not (tmp_path / "report.html").exists()
    assert report.cli([str(tmp_path)]) == 2
    assert capfd.readouterr().err.count("\n") == 1


@pytest.mark.slow
def test_a_page_that_cannot_be_written_fails_no_run(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(train_loop, "report_run", report_run)

    def full(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tagloop.report.build.whole_file", full)
    assert train_loop.cli([*SMALL, "--max_train_steps=1", f"--output_dir={tmp_path}"]) == 0
    assert "No space left on device (--no_report leaves it out)" in capfd.readouterr().out
    assert read_json(tmp_path / "run.json")["finished"]
    assert report.cli([str(tmp_path)]) == 3
    assert capfd.readouterr().err.count("\n") == 1


@pytest.mark.slow
def test_the_page_needs_neither_the_model_nor_predictions_conll(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "predictions.conll").unlink()
    (copy / "model.safetensors").unlink()
    assert "Calibration" in page_of(copy).sections
    assert (
        f"{read_json(run / 'all_results.json')['test_f1']:.4f}" in page_of(copy).sections["Scores"]
    )


@pytest.mark.slow
def test_without_test_data_the_page_is_about_the_validation_data(no_dropout, tmp_path):
    for split, rows in build_sample_corpus().items():
        lines = [json.dumps(row) for row in rows[:60]]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    results = train_loop.main(
        [f"--train_file={tmp_path / 'train.jsonl'}", "--learning_rate=6e-3",
         f"--validation_file={tmp_path / 'validation.jsonl'}", f"--output_dir={tmp_path / 'run'}",
         f"--model_name_or_path={no_dropout}", "--num_train_epochs=6"]
    )  # fmt: skip
    assert results["eval_f1"] > 0, "else equal predictions say little"
    scores = page_of(tmp_path / "run").sections["Scores"]
    assert "Of the validation data" in scores
    assert f"{results['eval_f1']:.4f}" in scores


@pytest.mark.slow
def test_what_cannot_be_had_is_left_out_and_said(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    record = read_json(copy / "run.json")
    record["options"] |= {"train_file": str(tmp_path / "moved.conll")}
    (copy / "run.json").write_text(json.dumps(record))
    page = page_of(copy)
    assert "moved.conll: cannot be read" in page.text
    assert "Scores" in page.sections
    assert not {"Calibration", "Seen and unseen entities"} & page.sections.keys()

    (copy / "run.json").unlink()  # as --do_predict alone leaves a folder
    assert "Errors" in page_of(copy).sections
    (copy / "predictions.conll").unlink()
    assert "Scores" not in page_of(copy).sections


ODD = [None, True, -1, 1.5, "x", [1], {"x": 1}, 10**400]


@pytest.mark.medium
def test_every_place_of_the_files_of_a_run_may_hold_anything(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    damaged = 0
    for file in ("run.json", "all_results.json", "config.json"):
        values = read_json(copy / file)
        tops = [(name,) for name in values]
        inner = [
            (top, name) for top in values if isinstance(values[top], dict) for name in values[top]
        ]
        for top, *name in [*tops, *inner]:
            for odd in ODD:
                changed = {**values[top], name[0]: odd} if name else odd
                (copy / file).write_text(json.dumps(values | {top: changed}))
                outcome = read_outcome(copy)
                assert facts_section(outcome).blocks  # and nothing is raised
                assert isinstance(outcome.config.seed, int)
                assert all(isinstance(label, str) for label in outcome.labels)
                assert isinstance(outcome.fingerprints, dict)
                damaged += any("run.json is damaged (" in note for note in outcome.notes)
        (copy / file).write_text(json.dumps(values))
    assert damaged > 100


@pytest.mark.medium
@pytest.mark.parametrize("odd", ["x", True, [1], {"x": 1}, 10**400, float("nan")])
def test_a_line_of_metrics_may_hold_anything(run, tmp_path, odd):
    copy = shutil.copytree(run, tmp_path / "copy")
    lines = (copy / "metrics.jsonl").read_text().splitlines()
    spoilt = [json.dumps({"step": 1, "loss": odd, "eval_f1": odd, "epoch": odd})]
    spoilt += [json.dumps({"step": odd, "loss": 1.0})]
    (copy / "metrics.jsonl").write_text("\n".join([*spoilt, *lines]))
    assert "Training" in page_of(copy).sections


def test_a_page_is_not_written_through_a_link(run, tmp_path, capfd):
    copy = shutil.copytree(run, tmp_path / "copy")
    (tmp_path / "mine").write_text("precious")
    (copy / "report.html").unlink(missing_ok=True)
    (copy / "report.html").symlink_to(tmp_path / "mine")
    assert report.cli([str(copy)]) == 2
    assert "report.html: is a link" in capfd.readouterr().err
    assert (tmp_path / "mine").read_text() == "precious"


@pytest.mark.slow
def test_predictions_that_were_cut_short_and_a_run_without_test_data_are_said(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "predictions.npz").unlink()
    path = copy / "predictions.conll"
    path.write_text("\n\n".join(path.read_text().split("\n\n")[:20]) + "\n")
    assert "predictions.conll has 20 sentences, the test data" in page_of(copy).text
    path.unlink()
    record = read_json(copy / "run.json")
    record["fingerprints"] = {"train": record["fingerprints"]["train"]}
    (copy / "run.json").write_text(json.dumps(record))
    assert "the run had neither validation nor test data" in page_of(copy).text


@pytest.mark.slow
def test_two_runs_are_compared_on_the_same_sentences(run, tmp_path):
    better = edit(run, tmp_path / "better", lambda word, gold, tag: gold)
    page = page_of(run, better, f"--output={tmp_path / 'c.html'}")
    f1 = read_json(run / "all_results.json")["test_f1"]
    first, second = (
        next(row for row in page.rows if row[0] == name) for name in ("first", "better")
    )
    assert first[1].startswith(f"{f1:.4f}")
    assert second[1].startswith("1.0000")
    assert second[2].startswith(f"{1 - f1:+.4f}")
    assert second[3] == "< 0.001"
    wrong = len([s for s in read_conll(run / "predictions.conll") if s[1] != s[2]])
    assert f"better has fewer errors in {wrong} sentences and more in 0" in page.text


@pytest.mark.slow
def test_runs_that_differ_in_their_seed_have_a_mean_and_a_deviation(run, tmp_path):
    """Three seeds, whose models miss none, half and all of what this one found."""
    found = itertools.count()
    changes = {7: lambda w, g, tag: tag, 8: lambda w, g, tag: "O" if next(found) % 2 else tag}
    changes[9] = lambda w, g, tag: "O"
    folders, f1 = [], []
    for seed, change in changes.items():
        folders.append(edit(run, tmp_path / f"seed{seed}", change))
        record = read_json(folders[-1] / "run.json")
        record["options"]["seed"] = seed
        (folders[-1] / "run.json").write_text(json.dumps(record))
        sentences = read_conll(folders[-1] / "predictions.conll")
        gold, said = [s[1] for s in sentences], [s[2] for s in sentences]
        f1.append(f1_score(gold, said, zero_division=0))
    page = page_of(*folders, f"--output={tmp_path / 'c.html'}")
    row = next(row for row in page.rows if row[0] == "seed7, 8, 9")
    assert row[1] == "7, 8, 9"
    assert row[-1] == f"{statistics.mean(f1):.4f} ± {statistics.stdev(f1):.4f}"


@pytest.mark.slow
def test_runs_that_differ_in_more_than_their_seed_have_no_mean(run, tmp_path):
    first = read_json(run / "run.json")
    options, identity = first["options"], first["identity"]
    fraction = options | {"validation_fraction": 0.2}
    for seed, (name, changed) in enumerate({
        "same": {},
        "batch": {"global_batch_size": 2 * first["global_batch_size"]},
        "precision": {"identity": identity | {"precision": "bf16"}},
        "data": {"identity": identity | {"data": {"train": "other"}}},
        "weighted": {"identity": identity | {"class_weights": {"O": 0.5}}},
        # The seed chooses what is held out.
        "held1": {"options": fraction, "identity": identity | {"data": {"train": "1"}}},
        "held2": {"options": fraction, "identity": identity | {"data": {"train": "2"}}},
        "file": {"options": fraction | {"train_file": "other.conll"}},
    }.items()):  # fmt: skip
        shutil.copytree(run, tmp_path / name)
        record = first | changed
        record["options"] = record["options"] | {"seed": seed}
        (tmp_path / name / "run.json").write_text(json.dumps(record))
    folders = [path for path in tmp_path.iterdir() if path.is_dir()]
    page = page_of(*sorted(folders), f"--output={tmp_path / 'c.html'}")
    (row,) = (row for row in page.rows if "±" in row[-1])
    assert row[0] == "held1, 2"


def numbered(page):
    """{number of a sentence: its words} of the sentences with most errors."""
    parts = re.split(r"sentence (\d+): \d+ errors?", page.sections["Sentences with most errors"])
    shown = dict(zip(map(int, parts[1::2]), parts[2::2], strict=True))
    assert len(shown) > 2
    return {number: set(text.split()) for number, text in shown.items()}


@pytest.mark.slow
def test_sentences_have_the_numbers_of_the_data_and_other_data_is_not_scored(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "predictions.conll").unlink()
    splits = build_sample_corpus()
    for number, words in numbered(page_of(copy)).items():
        assert {*splits["test"][number - 1]["tokens"]} <= words
    # A row without tags, which predictions.conll leaves out.
    splits["test"].insert(0, {"tokens": ["a"], "ner_tags": [None]})
    copy = shutil.copytree(run, tmp_path / "other")
    record = read_json(copy / "run.json")
    for split, rows in splits.items():
        path = tmp_path / f"{split}.jsonl"
        path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
        record["options"][f"{split}_file"] = str(path)
    (copy / "run.json").write_text(json.dumps(record))
    page = page_of(copy)
    assert "the test data has changed since the prediction" in page.text
    assert "Scores" in page.sections, "they are of the run's own predictions"
    assert "Calibration" not in page.sections
    record["fingerprints"].pop("test")
    record["options"]["max_predict_samples"] += 1
    (copy / "run.json").write_text(json.dumps(record))
    for number, words in numbered(page_of(copy)).items():
        assert {*splits["test"][number - 1]["tokens"]} <= words


@pytest.mark.slow
def test_sentences_link_to_their_line_in_the_data(run, page, tmp_path):
    assert page.fetched == [], "the built-in sample is in no file"
    copy = shutil.copytree(run, tmp_path / "copy")
    record = read_json(copy / "run.json")
    for split, rows in build_sample_corpus().items():
        path = tmp_path / f"{split} #1.conll"
        sentences = [zip(row["tokens"], row["ner_tags"], strict=True) for row in rows]
        blocks = ["".join(f"{word} {tag}\n" for word, tag in pairs) for pairs in sentences]
        path.write_text("\n".join(blocks), encoding="utf-8")
        record["options"][f"{split}_file"] = str(path)
    (copy / "run.json").write_text(json.dumps(record))
    linked = page_of(copy)
    found = re.findall(r"sentence (\d+): \d+ errors?\s+test #1\.conll:(\d+)", linked.text)
    assert len(found) == len(linked.fetched) > 2
    lines = (tmp_path / "test #1.conll").read_text(encoding="utf-8").split("\n")
    splits = build_sample_corpus()["test"]
    address = (tmp_path / "test #1.conll").as_uri()
    assert linked.fetched == [f"{address}#L{line}" for _, line in found]
    for number, line in found:
        words = splits[int(number) - 1]["tokens"]
        shown = [text.split(" ")[0] for text in lines[int(line) - 1 :][: len(words)]]
        assert shown == words


COPYING = """<script>
const texts = [];
const value = { writeText: text => { texts.push(text); } };
Object.defineProperty(navigator, "clipboard", { value });
for (const button of document.querySelectorAll("#s2 .copy button")) button.click();
const bars = document.querySelectorAll(".copy").length - document.querySelectorAll("table").length;
document.title = JSON.stringify({ texts, bars });
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
def test_a_table_is_copied_in_three_formats_by_a_page_that_is_a_file(run, page, tmp_path):
    text = (run / "report.html").read_text(encoding="utf-8")
    frame = tmp_path / "frame.html"
    frame.write_text(text.replace("</body>", COPYING + "</body>"), encoding="utf-8")
    done = subprocess.run(
        [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
            "--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}",
            frame.as_uri(),
        ],
        capture_output=True, text=True, check=True, timeout=HANG,
    )  # fmt: skip
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)[1]
    found = json.loads(html.unescape(title))
    assert found["bars"] == 0, "each table has its buttons"
    header, rows = section_rows(page, ["type", "precision"])
    table = [[cell.replace("\u2060", "") for cell in row] for row in (header, *rows)]
    markdown, latex, comma = found["texts"]
    lines = markdown.splitlines()
    assert lines.pop(1) == "|:---|---:|---:|---:|---:|---:|"
    assert [[cell.strip() for cell in line.strip("|").split("|")] for line in lines] == table
    assert [*csv.reader(comma.splitlines())] == table
    assert latex.startswith(
        "\\begin{tabular}{lrrrrr}\n\\hline\n" + " & ".join(table[0]) + r" \\ \hline"
    )
    assert [cell.strip() for cell in latex.splitlines()[3].removesuffix(r" \\").split("&")] == [
        cell.replace("–", "--") for cell in table[1]
    ]
    assert re.search(r"@media print \{ \.copy \{ display: none", text)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
def test_the_picture_of_the_readme_is_made_by_its_command(run, tmp_path):
    command = "python docs/picture.py"
    assert command in (REPO / "docs" / "report.md").read_text(encoding="utf-8")
    picture = tmp_path / "report.png"
    subprocess.run(
        [sys.executable, *command.split()[1:], "--run", run, "--output", picture],
        cwd=REPO, check=True, timeout=HANG,
    )  # fmt: skip
    made, shown = (path.read_bytes()[:24] for path in (picture, REPO / "docs" / "report.png"))
    assert made == shown, "a PNG of the same width and height"
    assert picture.stat().st_size > 20_000, "it is no empty page"


def test_mistakes_are_one_line(run, tmp_path, capfd):
    other = shutil.copytree(run, tmp_path / "other")
    path = other / "predictions.conll"
    path.write_text(path.read_text().replace(" O ", " B-LOC ", 1))
    (other / "predictions.npz").unlink()
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        ([tmp_path / "none"], "none: no such folder"),
        ([tmp_path / "empty"], "empty: holds no run"),
        ([run, run], "given twice"),
        ([run, other], "sentence 1 is another one, or has other gold tags"),
        ([run, "--sample=5"], "--sample"),
        ([run, f"--output={tmp_path}"], "is a folder; name a file"),
        ([run, f"--output={other / 'config.json'}"], "config.json: is no page"),
        ([run, f"--output={tmp_path / 'no' / 'a.html'}"], "no is no folder; name a file"),
        ([], "RUN_DIR"),
    ):
        assert report.cli([str(argument) for argument in arguments]) == 2
        error = capfd.readouterr().err
        assert message in error
        assert error.count("\n") == 1


@pytest.mark.slow
def test_a_classification_has_its_classes_and_surest_errors(tmp_path):
    train_loop.main(
        [*SMALL, "--task_name=classification", "--max_train_steps=3", f"--output_dir={tmp_path}"]
    )
    page = page_of(tmp_path)
    results = read_json(tmp_path / "all_results.json")
    assert f"{results['test_accuracy']:.4f}" in page.sections["Scores"]
    assert {"By class", "Errors", "By length", "Calibration", "Wrong, and surest of it"} <= set(
        page.sections
    )
    wrong = round(26 * (1 - results["test_accuracy"]))
    assert f"{wrong} of 26 rows are wrong" in page.text

    right = shutil.copytree(tmp_path, tmp_path / "right")
    found, _ = read_predictions_file(right)
    outcome = read_outcome(right)
    gold = [one.gold[0][2] for one in read_classes(outcome).sentences]
    classes = np.array([outcome.labels.index(name) for name in gold], dtype=np.int16)
    outputs = found.outputs | {"class": classes}
    write_predictions_file(right, found.split, found.fingerprint, outputs)
    page = page_of(tmp_path, right, f"--output={tmp_path / 'c.html'}")
    _, rows = section_rows(page, ["run", "accuracy"])
    assert rows[1][1].startswith("1.0000")
    assert rows[1][2].startswith(f"{1 - results['test_accuracy']:+.4f}")
    assert f"right has fewer errors in {wrong} rows and more in 0" in page.text


def relabel(folder, target, change):
    """A copy of a run that predicted otherwise: change(label names of all words) -> names."""
    shutil.copytree(folder, target)
    names = [*read_json(target / "config.json")["id2label"].values()]
    found, _ = read_predictions_file(target)
    predicted = change([names[label] for label in found.outputs["label"]])
    labels = np.array([names.index(name) for name in predicted], dtype=np.int16)
    outputs = found.outputs | {"label": labels}
    write_predictions_file(target, found.split, found.fingerprint, outputs)
    return target


def section_rows(page, header):
    """The rows below the table header that begins so, up to the next header."""
    start = next(at for at, row in enumerate(page.rows) if row[: len(header)] == header)
    width = len(page.rows[start])
    rows = itertools.takewhile(lambda row: len(row) == width, page.rows[start + 1 :])
    return page.rows[start], [*rows]


@pytest.mark.slow
def test_the_page_shows_what_the_run_predicted_whatever_a_model_says(run, tmp_path):
    """As a CRF predicts labels that are not the most probable ones."""
    gold = [tag for s in read_conll(run / "predictions.conll") for tag in s[1]]
    found, _ = read_predictions_file(run)
    copy = relabel(run, tmp_path / "crf", lambda _: gold)
    page = page_of(copy)
    assert page.sections["Scores"].count("1.0000") == 4
    assert "1.000–1.000" not in page.text, "so few spans prove nothing"
    row = next(row for row in page.rows if row[0] == "all words")
    assert row[1] == f"{found.outputs['probability'].mean(dtype=float):.4f}"
    assert row[2] == "1.0000"


@pytest.mark.slow
def test_no_torch_model_is_built(run, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("torch.nn.Module.__init__", refuse)
    assert "Calibration" in page_of(run).sections


@pytest.mark.slow
def test_a_page_goes_without_predictions_that_are_damaged_or_of_others(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    path = copy / "predictions.npz"
    found, _ = read_predictions_file(copy)
    few = {name: values[:-1] for name, values in found.outputs.items()}
    many = found.outputs | {"label": found.outputs["label"] + 1000}
    real = found.outputs | {"label": found.outputs["label"] * 1.0}
    nan = found.outputs | {"probability": found.outputs["probability"] * np.nan}

    def damage():
        path.write_bytes(path.read_bytes()[:100])

    for change, note in (
        (lambda: write_predictions_file(copy, "test", found.fingerprint, few), "does not fit"),
        (lambda: write_predictions_file(copy, "test", found.fingerprint, many), "does not fit"),
        (lambda: write_predictions_file(copy, "test", found.fingerprint, real), "does not fit"),
        (lambda: write_predictions_file(copy, "test", found.fingerprint, nan), "does not fit"),
        (lambda: write_predictions_file(copy, "test", found.fingerprint, {}), "does not fit"),
        (
            lambda: write_predictions_file(copy, "test", "x", found.outputs),
            "has changed since the prediction",
        ),
        (
            lambda: write_predictions_file(copy, "no", "x", found.outputs),
            "has changed since the prediction",
        ),
        (damage, "predictions.npz cannot be read"),
        (path.unlink, "predictions.npz is missing"),
    ):
        change()
        page = page_of(copy)
        assert note in page.text
        assert "Scores" in page.sections, "predictions.conll has words and tags"
        assert "Calibration" not in page.sections


@pytest.mark.slow
def test_both_tables_of_errors_count_the_same(run, tmp_path):
    def shift(names):  # a third of the entities end a word earlier, a third are of another type
        for at in [at for at, name in enumerate(names) if name == "B-PER"][::3]:
            names[at] = "B-LOC"
        for at in [at for at, name in enumerate(names) if name[:2] == "I-"][::2]:
            names[at] = "O"
        return names

    page = page_of(relabel(run, tmp_path / "shifted", shift))
    _, kinds = section_rows(page, ["error", "number"])
    kinds = {row[0].split(":")[0]: int(row[1]) for row in kinds}
    assert kinds["boundary"] > 3
    (_, *columns), rows = section_rows(page, ["gold ↓ predicted →"])
    cells = {row[0]: dict(zip(columns, map(int, row[1:]), strict=True)) for row in rows}
    types = [name for name in columns if name not in ("other words", "–")]
    _, scores = section_rows(page, ["type", "precision"])
    for name, precision, _, _, gold, predicted in scores:
        assert sum(cells[name].values()) == int(gold)
        right = cells[name][name]
        precise = f"{right / max(int(predicted), 1):.4f}"
        assert precise == precision, "the diagonal is what is scored"
    assert sum(cells[name]["other words"] for name in types) == kinds["boundary"]
    assert sum(cells[name].get("–", 0) for name in types) == kinds["missed"]
    assert sum(cells.get("–", {}).values()) == kinds["spurious"]
    mixed = sum(cells[one][other] for one in types for other in types if one != other)
    assert mixed == kinds["type"] + kinds["both"]


@pytest.mark.slow
def test_strict_scores_stand_beside_the_lenient_ones(run, tmp_path):
    gold = [tag for s in read_conll(run / "predictions.conll") for tag in s[1]]
    said = ["I-PER" if tag == "B-PER" else tag for tag in gold]
    copy = relabel(run, tmp_path / "strict", lambda _: said)
    found, _ = read_predictions_file(copy)
    names = [*read_json(copy / "config.json")["id2label"].values()]
    sentences, at, predicted = read_conll(run / "predictions.conll"), 0, []
    for words, *_ in sentences:
        labels = found.outputs["label"][at : at + len(words)]
        predicted.append([names[label] for label in labels])
        at += len(words)
    scores = TokenScores().compute(
        predictions=predicted, references=[gold for _, gold, _ in sentences]
    )
    assert scores["strict_f1"] < scores["f1"]
    text = page_of(copy).sections["Scores"]
    assert f"strict F1 {scores['strict_f1']:.4f}" in text
    assert f"{scores['f1']:.4f}" in text


@pytest.mark.slow
def test_a_run_that_learned_nothing_is_said_first(run, page, tmp_path):
    copy = relabel(run, tmp_path / "nothing", lambda names: ["O"] * len(names))
    text = page_of(copy).text
    warning = "The model predicted no entity at all in the test data, where"
    assert text.index(warning) < text.index("Scores")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for number, line in enumerate(line for line in lines if "loss" in line):
        line["loss"] = 0.3 * 10.0 ** (3 * number)
    (copy / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    text = page_of(copy).text
    assert "The training diverged: its loss rose from 0.3 " in text
    assert "diverged" not in page.text
    assert "predicted no entity" not in page.text


def test_divergence_is_told_from_noise_and_from_a_start_that_was_lucky():
    def lines(*losses):
        return [{"step": 10 * at, "loss": loss} for at, loss in enumerate(losses, start=1)]

    guessing = np.log(9)
    for fine in ([], [2.3], [2.3, 2.4], [2.0, 0.5, 1.2], [0.1, 0.02, 0.3, 0.01, 0.12],
                 [1e-4, 5e-5, 3e-4]):  # fmt: skip
        assert find_divergence(lines(*fine), guessing) == []
    for bad in ([2.3, 0.1, 307_700], [5.0e4], [1e6, 1e5, 1e4], [0.1, 0.2, 0.5, 0.9]):
        assert len(find_divergence(lines(*bad), guessing)) == 1
    assert find_divergence(lines(1e6, 1e5, 1e4), None) == [], "numbers may be large"


@pytest.mark.slow
def test_a_task_without_a_report_of_its_own_has_curves_and_scores(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    record = read_json(copy / "run.json")
    record["options"]["task_name"] = "pretraining"
    (copy / "run.json").write_text(json.dumps(record))
    page = page_of(copy)
    assert [*page.sections] == ["Results", "Training", "Speed and circumstances"]
    assert f"test_f1 {read_json(run / 'all_results.json')['test_f1']:.4f}" in page.text
    assert page.pictures == 4


@pytest.mark.slow
def test_runs_that_differ_in_their_seed_are_tested_as_a_group(run, tmp_path):
    """One learning rate misses every second entity, in another place for every seed."""
    folders, f1 = [], {"slow": [], "fast": []}
    for rate, seed in itertools.product(f1, (1, 2, 3)):
        found = itertools.count(seed)

        def change(word, gold, tag, found=found, rate=rate):
            return "O" if rate == "slow" and gold[0] == "B" and next(found) % 2 else gold

        folders.append(edit(run, tmp_path / f"{rate}{seed}", change))
        record = read_json(folders[-1] / "run.json")
        record["options"] |= {"seed": seed, "learning_rate": {"slow": 1e-5, "fast": 1e-3}[rate]}
        (folders[-1] / "run.json").write_text(json.dumps(record))
        sentences = read_conll(folders[-1] / "predictions.conll")
        sides = [s[1] for s in sentences], [s[2] for s in sentences]
        f1[rate].append(f1_score(*sides, zero_division=0))
    page = page_of(*folders, f"--output={tmp_path / 'c.html'}")
    means = {rate: statistics.mean(scores) for rate, scores in f1.items()}
    header, rows = section_rows(page, ["run", "F1"])
    assert header[2] == "difference to slow1, 2, 3"
    assert [row[0] for row in rows] == ["slow1, 2, 3", "fast1, 2, 3"]
    assert rows[0][1].startswith(f"{means['slow']:.4f}")
    assert rows[0][2:] == ["–", "–"]
    assert rows[1][2].startswith(f"{means['fast'] - means['slow']:+.4f}")
    assert rows[1][3] == "< 0.001"
    assert "Runs that differ only in their seed are one group" in page.text
    header, tests = section_rows(page, ["type", "slow1, 2, 3", "fast1, 2, 3"])
    assert header[3:] == ["difference", "p, sentences", "p, seeds"]
    tests = tests[:5]  # the next table on the page has as many columns
    assert tests[0][0] == "all"
    assert {row[0] for row in tests[1:]} == {"PER", "ORG", "LOC", "MISC"}
    spread = statistics.stdev(f1["slow"])
    assert tests[0][1:3] == [f"{means['slow']:.4f} ±\xa0{spread:.4f}", "1.0000 ±\xa00.0000"]
    assert tests[0][3].startswith(f"{means['fast'] - means['slow']:+.4f}")
    assert tests[0][4:] == ["< 0.001", "0.100"], "three seeds against three"
    assert all(float(row[5]) >= 0.1 for row in tests)
    assert "With 3 and 3 seeds no p of the seeds is below 0.1." in page.text


@pytest.mark.slow
def test_runs_of_one_seed_are_no_group_and_no_difference_is_no_certainty(run, tmp_path):
    same = shutil.copytree(run, tmp_path / "same")
    page = page_of(run, same, f"--output={tmp_path / 'c.html'}")
    _, rows = section_rows(page, ["run", "F1"])
    assert rows[1][2:] == ["none: the same counts in every sentence", "–"]
    right = edit(run, tmp_path / "right", lambda word, gold, tag: gold)
    nothing = edit(run, tmp_path / "nothing", lambda word, gold, tag: "O")
    page = page_of(right, nothing, f"--output={tmp_path / 'c.html'}")
    _, rows = section_rows(page, ["run", "F1"])
    assert rows[1][2:] == ["-1.0000", "< 0.001"], "an interval without width is not shown"


@pytest.mark.slow
def test_names_that_begin_with_an_underscore_stand_in_the_legends(run, tmp_path):
    folders = [shutil.copytree(run, tmp_path / name) for name in ("_a", "_b")]
    page = page_of(*folders, f"--output={tmp_path / 'c.html'}")
    assert {"_a", "_b"} <= {row[0] for row in page.rows}


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
@pytest.mark.parametrize("width", [1100, 400])
def test_no_table_is_cut_off(run, page, width, tmp_path):
    """Measured by a browser: a table is no wider than what is seen of it."""
    text = (run / "report.html").read_text(encoding="utf-8")
    measure = """<script>document.title = [...document.querySelectorAll(".scroll")].filter(
    box => box.scrollWidth > box.clientWidth + 1).map(box => box.innerText).join("|") || "all fit";
    if (document.documentElement.scrollWidth > innerWidth) document.title = "the page";</script>"""
    frame = tmp_path / "frame.html"
    frame.write_text(text.replace("</body>", measure + "</body>"), encoding="utf-8")
    done = subprocess.run(
        [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
            "--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}",
            f"--window-size={width},900", frame.as_uri(),
        ],
        capture_output=True, text=True, check=True, timeout=HANG,
    )  # fmt: skip
    assert "<title>all fit</title>" in done.stdout


@pytest.mark.slow
def test_a_regression_has_its_scores_without_rows_that_have_no_number(no_dropout, tmp_path):
    rng = np.random.default_rng(0)
    for split, number in (("train", 24), ("validation", 12)):
        lines = [
            json.dumps({"text": "good " * at + "film", "label": at + rng.random()})
            for at in rng.integers(0, 9, number).tolist()
        ]
        lines.insert(3, json.dumps({"text": "unknown", "label": None}))
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    results = train_loop.main(
        ["--task_name=classification", "--num_train_epochs=2", f"--output_dir={tmp_path / 'run'}",
         f"--model_name_or_path={no_dropout}", "--ignore_mismatched_sizes",
         *(f"--{split}_file={tmp_path / split}.jsonl" for split in ("train", "validation"))]
    )  # fmt: skip
    text = page_of(tmp_path / "run").sections["Scores"]
    assert "Of the validation data" in text
    assert f"Pearson's r {results['eval_pearson']:.4f}" in text
    assert f"mean squared error {results['eval_mse']:.4g}" in text
    assert "rows 12" in text
    other = shutil.copytree(tmp_path / "run", tmp_path / "other")
    found, _ = read_predictions_file(other)
    outputs = {"number": found.outputs["number"] * np.float32(2)}
    write_predictions_file(other, found.split, found.fingerprint, outputs)
    page = page_of(tmp_path / "run", other, f"--output={tmp_path / 'c.html'}")
    _, rows = section_rows(page, ["run", "mean squared error (lower is better)"])
    gold, predicted = read_classes(read_outcome(other)).numbers.T
    constant = {"number": np.full_like(outputs["number"], 2.71)}
    write_predictions_file(other, found.split, found.fingerprint, constant)
    flat = page_of(other).sections["Scores"]
    assert "Pearson's r 0.0000" in flat, "numbers that are all equal have no correlation"
    write_predictions_file(other, found.split, found.fingerprint, outputs)
    assert rows[1][1].startswith(f"{np.square(gold - predicted).mean():.4g} (")
    _, rows = section_rows(page, ["run", "Pearson's r"])
    assert rows[0][1] == rows[1][1], "a factor changes no correlation"
    assert report.cli([str(tmp_path / "run"), str(tmp_path)]) == 2


def test_errors_are_sorted_into_kinds():
    words = list("abcdefgh")
    gold = ["B-PER", "I-PER", "O", "B-LOC", "B-ORG", "O", "B-PER", "O"]
    said = ["O", "B-PER", "O", "B-ORG", "B-ORG", "O", "O", "B-LOC"]
    sentence = Sentence(words, to_spans(gold, "ner"), to_spans(said, "ner"))
    types, kinds = confusion([sentence])
    assert kinds == {"boundary": 1, "type": 1, "missed": 1, "spurious": 1}
    assert types["LOC", "ORG"] == types["ORG", "ORG"] == types["PER", "–"] == 1
    assert errors_of(sentence) == 4
    # Of two that overlap, the one of its own type was meant.
    split = Sentence(words, [(0, 3, "PER")], [(0, 1, "ORG"), (1, 3, "PER")])
    assert confusion([split])[1] == {"boundary": 1, "spurious": 1}


def test_an_interval_holds_the_true_score_about_as_often_as_it_says():
    rng, hits = np.random.default_rng(0), 0
    for _ in range(100):
        right = rng.random(200) < 0.7
        counts = np.stack([right, np.ones(200), np.ones(200)], axis=1).astype(int)
        low, high = interval(scores_of(resample(counts))[:, 2])
        hits += low <= 0.7 <= high
    assert 88 <= hits <= 100


@pytest.mark.medium
def test_chance_is_rarely_taken_for_a_difference():
    """Two systems of the same quality: p is about uniform. A real difference: p is small."""
    rng, small = np.random.default_rng(1), 0
    for seed in range(60):
        sides = [
            np.stack([rng.random(150) < 0.8, np.ones(150), np.ones(150)], axis=1).astype(int)
            for _ in range(2)
        ]
        small += compare(*sides, seed=seed).p_value < 0.1
    assert small <= 13
    worse = sides[0].copy()
    worse[:40, 0] = 0
    assert compare(sides[0], worse).p_value < 0.01
    assert compare(sides[0], sides[0]).p_value == 1


def test_calibration_of_a_model_that_is_too_sure():
    bins, error = calibration(np.array([0.95] * 10 + [0.55] * 10), np.array([True, False] * 10))
    assert [(round(one.confidence, 2), one.accuracy, one.number) for one in bins] == [
        (0.55, 0.5, 10), (0.95, 0.5, 10),
    ]  # fmt: skip
    assert error == pytest.approx(0.25)
