"""tagloop/tasks/tagging/scores.py: what is counted, and that it needs neither network nor files."""

import json
import math
import os
import random
import subprocess
import sys
import warnings
from collections import Counter
from itertools import chain

import pytest
from launches import HANG, REPO
from sklearn.metrics import f1_score

from tagloop.tasks.tagging.scores import TokenScores

IOB2_TAGS = ["O", "O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG"]


@pytest.fixture(scope="module")
def scorer() -> TokenScores:
    return TokenScores()


def random_tags(rng, shapes, choices=IOB2_TAGS):
    """Any tag anywhere: most sequences are not valid IOB2."""
    return [[rng.choice(choices) for _ in range(length)] for length in shapes]


def count_spans(tags: list[str], *, strict: bool) -> set[tuple[int, int, str]]:
    """The spans of a sentence by conlleval's start-of-chunk and end-of-chunk rules.

    Written after conlleval.pl, apart from the project's code. `strict` drops what opens with I-.
    """
    found = set()
    start, opened_by = None, None
    before, before_type = "O", ""
    for index, tag in enumerate([*tags, "O"]):
        mark, _, kind = tag.partition("-")
        ends = before in ("B", "I") and (mark in ("B", "O") or kind != before_type)
        starts = mark == "B" or (mark == "I" and (before == "O" or kind != before_type))
        if ends and (opened_by == "B" or not strict):
            found.add((start, index, before_type))
        if starts:
            start, opened_by = index, mark
        before, before_type = mark, kind
    return found


def conlleval(predictions, references, *, strict=False):
    """{type: (precision, recall, f1, gold spans)}, with None for all types together."""
    correct, predicted, gold = Counter(), Counter(), Counter()
    for predicted_tags, gold_tags in zip(predictions, references, strict=True):
        predicted_spans = count_spans(predicted_tags, strict=strict)
        gold_spans = count_spans(gold_tags, strict=strict)
        for counter, span_set in [
            (correct, predicted_spans & gold_spans),
            (predicted, predicted_spans),
            (gold, gold_spans),
        ]:
            counter.update(kind for _, _, kind in span_set)
            counter[None] += len(span_set)
    scores = {}
    for kind in {None, *predicted, *gold}:
        precision = correct[kind] / predicted[kind] if predicted[kind] else 0.0
        recall = correct[kind] / gold[kind] if gold[kind] else 0.0
        both = precision + recall
        f1 = 2 * precision * recall / both if both else 0.0
        scores[kind] = (precision, recall, f1, gold[kind])
    return scores


@pytest.mark.parametrize("seed", range(20))
def test_agrees_with_conlleval_on_any_tags(scorer, seed):
    rng = random.Random(seed)
    shapes = [rng.randint(0, 9) for _ in range(rng.randint(1, 30))]
    references = random_tags(rng, shapes)
    predictions = [
        [tag if rng.random() < 0.7 else rng.choice(IOB2_TAGS) for tag in tags]
        for tags in references
    ]
    scores = scorer.compute(predictions=predictions, references=references, entity_level=True)
    expected = {}
    for kind, values in conlleval(predictions, references).items():
        names = ("precision", "recall", "f1", "number")
        prefix = "" if kind is None else f"{kind}_"
        expected |= {prefix + name: value for name, value in zip(names, values, strict=True)}
    del expected["number"]
    strict = conlleval(predictions, references, strict=True)[None]
    expected |= dict(zip(["strict_precision", "strict_recall", "strict_f1"], strict, strict=False))
    pairs = [
        pair
        for tags in zip(predictions, references, strict=True)
        for pair in zip(*tags, strict=True)
    ]
    expected["accuracy"] = sum(tag == gold for tag, gold in pairs) / max(1, len(pairs))
    assert scores == pytest.approx(expected, abs=1e-12)


def test_scores_by_hand(scorer):
    scores = scorer.compute(
        predictions=[["B-PER", "I-PER", "O", "B-LOC"], ["B-LOC", "O"]],
        references=[["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-ORG"]],
        task="chunk",
        entity_level=True,
    )
    assert scores == pytest.approx(
        {
            "precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "accuracy": 4 / 6,
            "strict_precision": 2 / 3, "strict_recall": 2 / 3, "strict_f1": 2 / 3,
            "PER_precision": 1, "PER_recall": 1, "PER_f1": 1, "PER_number": 1,
            "LOC_precision": 1 / 2, "LOC_recall": 1, "LOC_f1": 2 / 3, "LOC_number": 1,
            "ORG_precision": 0, "ORG_recall": 0, "ORG_f1": 0, "ORG_number": 1,
        }
    )  # fmt: skip
    assert {type(value) for name, value in scores.items() if name.endswith("_number")} == {int}
    assert {type(value) for name, value in scores.items() if not name.endswith("_number")} == {
        float
    }
    assert json.loads(json.dumps(scores)) == scores


def test_precision_and_recall_are_not_swapped(scorer):
    scores = scorer.compute(
        predictions=[["B-PER", "O", "O"]], references=[["B-PER", "B-LOC", "B-LOC"]]
    )
    assert scores["precision"] == 1.0
    assert scores["recall"] == pytest.approx(1 / 3)
    with pytest.raises(TypeError):
        scorer.compute([["O"]], [["O"]])


def test_lenient_and_strict_differ_on_a_stray_inside_tag(scorer):
    scores = scorer.compute(predictions=[["I-PER", "I-PER"]], references=[["B-PER", "I-PER"]])
    assert scores["f1"] == 1.0
    assert scores["strict_f1"] == 0.0
    assert scores["accuracy"] == 0.5


def test_a_type_named_strict_does_not_replace_the_strict_scores(scorer):
    scores = scorer.compute(
        predictions=[["I-strict", "O"]], references=[["B-strict", "O"]], entity_level=True
    )
    assert scores["strict_f1"] == 0.0
    assert scores["strict_number"] == 1


def test_first_letters_of_pos_tags_are_not_eaten(scorer):
    scores = scorer.compute(
        predictions=[["NN", "VB", "DT"]],
        references=[["NN", "NN", "DT"]],
        task="pos",
        entity_level=True,
    )
    assert scores == pytest.approx(
        {
            "accuracy": 2 / 3,
            "macro_f1": (2 / 3 + 0 + 1) / 3,
            "NN_f1": 2 / 3, "NN_number": 2,
            "VB_f1": 0, "VB_number": 0,
            "DT_f1": 1, "DT_number": 1,
        }
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_macro_f1_is_scikit_learns(scorer, seed):
    rng = random.Random(seed)
    choices = ["NN", "NNP", "VB", ".", "B-X", "O", "-LRB-"]
    shapes = [rng.randint(1, 6) for _ in range(20)]
    references = random_tags(rng, shapes, choices[:5])
    predictions = random_tags(rng, shapes, choices[1:])
    scores = scorer.compute(predictions=predictions, references=references, task="pos")
    flat_predictions, flat_references = list(chain(*predictions)), list(chain(*references))
    assert scores["macro_f1"] == pytest.approx(
        f1_score(flat_references, flat_predictions, average="macro", zero_division=0)
    )
    assert set(scores) == {"accuracy", "macro_f1"}


@pytest.mark.parametrize("task", ["ner", "pos"])
def test_words_without_a_gold_tag_do_not_count(scorer, task):
    predictions = [["B-PER", "O", "B-LOC"], ["B-LOC", "B-LOC"], ["O", "B-PER"]]
    references = [[None, "O", "B-LOC"], [None, None], ["O", None]]
    scores = scorer.compute(
        predictions=predictions, references=references, task=task, entity_level=True
    )
    assert scores == scorer.compute(
        predictions=[["O", "B-LOC"], [], ["O"]],
        references=[["O", "B-LOC"], [], ["O"]],
        task=task,
        entity_level=True,
    )
    assert scores["accuracy"] == 1.0
    assert not any(name.startswith("PER") or name.startswith("B-PER") for name in scores)


@pytest.mark.parametrize("first", [[None], []])
def test_a_first_sentence_without_any_gold_tag(scorer, first):
    """evaluate looks for strings in the first sentence alone."""
    scores = scorer.compute(predictions=[["O"] * len(first), ["B-A"]], references=[first, ["B-A"]])
    assert scores["f1"] == 1.0


@pytest.mark.parametrize("task", ["ner", "chunk", "pos"])
@pytest.mark.parametrize("entity_level", [False, True])
@pytest.mark.parametrize(
    ("predictions", "references"), [([], []), ([[]], [[]]), ([["O"], ["O"]], [[None], [None]])]
)
def test_nothing_to_score_is_zero(scorer, task, entity_level, predictions, references):
    scores = scorer.compute(
        predictions=predictions, references=references, task=task, entity_level=entity_level
    )
    names = {"accuracy", "macro_f1"}
    if task != "pos":
        names = {"accuracy"} | {
            prefix + name for prefix in ("", "strict_") for name in ("precision", "recall", "f1")
        }
    assert scores == dict.fromkeys(names, 0.0)


@pytest.mark.parametrize(
    ("predicted", "gold"),
    [("O", "O"), ("O", "B-PER"), ("B-PER", "O"), ("B-PER", "B-LOC"), ("I-PER", "I-PER")],
)
@pytest.mark.parametrize("task", ["ner", "pos"])
def test_undefined_scores_are_zero_and_silent(scorer, predicted, gold, task):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = scorer.compute(
            predictions=[[predicted]], references=[[gold]], task=task, entity_level=True
        )
    assert scores["accuracy"] == (predicted == gold)
    assert all(math.isfinite(value) for value in scores.values())
    if task == "ner" and predicted != gold:
        assert scores["f1"] == scores["strict_f1"] == 0.0


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ([["O"]], [["O"], ["O"]], "1 sentences of predictions, 2 of references"),
        ([["O"], ["O"]], [["O"], ["O", "O"]], "sentence 1 has 1 predictions and 2 references"),
        ([["O"], ["O"]], [["O"], []], "sentence 1 has 1 predictions and 0 references"),
        ([["O", None]], [["O", "O"]], "sentence 0 has a word with a gold tag but no prediction"),
        ([["NN"]], [["O"]], "'NN' is not IOB2"),
        ([["O"]], [["S-PER"]], "'S-PER' is not IOB2"),
    ],
)
def test_our_own_mistakes_are_errors(scorer, predictions, references, message):
    with pytest.raises(ValueError, match=message):
        scorer.compute(predictions=predictions, references=references)
    after = scorer.compute(predictions=[["B-A"]], references=[["B-A"]])  # nothing is left behind
    assert after["f1"] == 1.0


def test_an_unknown_task_is_an_error(scorer):
    with pytest.raises(ValueError, match="task='NER'"):
        scorer.compute(predictions=[["O"]], references=[["O"]], task="NER")


@pytest.mark.medium
def test_a_corpus_scored_twice_gives_the_same(scorer):
    rng = random.Random(3)
    shapes = [rng.randint(1, 20) for _ in range(1200)]  # more than evaluate's writer batch
    predictions, references = random_tags(rng, shapes), random_tags(rng, shapes)
    once = scorer.compute(predictions=predictions, references=references)
    assert once == scorer.compute(predictions=predictions, references=references)
    assert once["f1"] == pytest.approx(conlleval(predictions, references)[None][2])


CHILD = """
import json, os, socket, sys
from pathlib import Path

def refuse(*arguments, **options):
    raise SystemExit("the network was used")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse

def files():
    return [str(path) for path in Path(os.environ["HF_HOME"]).rglob("*")]

import evaluate
from tagloop.tasks.tagging.scores import TokenScores

data = {"predictions": [["B-PER", "O"]], "references": [["B-PER", "B-LOC"]]}
direct = TokenScores(keep_in_memory=False).compute(**data)
after_direct = files()
loaded = evaluate.load("./tagloop/tasks/tagging/scores.py").compute(**data)
data_files = [path for path in files() if not path.startswith(os.environ["HF_HOME"] + "/modules")]
print(json.dumps([direct, after_direct, loaded, data_files]))
"""


@pytest.mark.slow
def test_offline_and_without_files_in_two_processes_at_once(tmp_path):
    cache = tmp_path / "hf"
    cache.mkdir()
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("HF_", "XDG_"))
    } | {"HF_HOME": str(cache), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(REPO)}
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD],
            cwd=REPO,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for child, (output, errors) in [(child, child.communicate(timeout=HANG)) for child in children]:
        assert child.returncode == 0, errors
        direct, after_direct, loaded, data_files = json.loads(output.splitlines()[-1])
        assert direct == loaded
        assert direct["precision"] == 1.0
        assert direct["recall"] == 0.5
        assert [path for path in after_direct if "/modules" not in path] == []
        assert data_files == []
