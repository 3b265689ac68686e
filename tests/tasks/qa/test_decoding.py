"""Answers from logits: what is masked, merged, ordered, and what happens without any candidate."""

import numpy as np
import pytest
from squad import build_windows, gold, pair_tokenizer

from tagloop.tasks.qa.decoding import NO_CANDIDATE, Choice, decode_questions

BERT = pair_tokenizer()
CONTEXT = "john lives in berlin and mary works in new york"


def decode(windows, contexts, starts, ends, **options):
    options = {
        "n_best_size": 20, "max_answer_length": 30, "version_2_with_negative": True,
        "null_score_diff_threshold": 0.0, **options,
    }  # fmt: skip
    logits = np.array(starts, np.float32), np.array(ends, np.float32)
    return list(decode_questions(windows, contexts, *logits, Choice(**options)))


def logits_for(windows, context, spans, low=-5.0):
    """Start and end logits: the number of every (text, number) where the text stands."""
    starts, ends = np.full((2, windows.offsets[-1]), low)
    for text, number in spans:
        begin = context.index(text)
        starts[windows.begins == begin] = number
        ends[windows.ends == begin + len(text)] = number
    return starts, ends


def test_logits_of_the_question_do_not_hide_the_context():
    """As many large logits outside of the context as the best answers that are kept."""
    windows = build_windows(BERT, (" ".join(["who"] * 9), CONTEXT, gold()))
    starts, ends = logits_for(windows, CONTEXT, [("berlin", 3.0)])
    starts[windows.begins < 0] = ends[windows.begins < 0] = 100.0
    for options in ({}, {"n_best_size": 1}):
        [found] = decode(windows, [CONTEXT], starts, ends, version_2_with_negative=False, **options)
        assert found.answer.text == "berlin"
        assert CONTEXT[found.answer.start : found.answer.end] == "berlin"


def test_equal_texts_of_several_windows_are_one_answer():
    windows = build_windows(BERT, ("who", CONTEXT, gold()), max_length=18, doc_stride=9)
    assert len(windows) > 2
    starts, ends = logits_for(windows, CONTEXT, [("berlin", 3.0), ("mary", 1.0)])
    [found] = decode(windows, [CONTEXT], starts, ends, version_2_with_negative=False)
    texts = [one.text for one, _ in found.n_best()]
    assert texts[0] == "berlin"
    assert len(set(texts)) == len(texts) == 20
    assert sum(share for _, share in found.n_best()) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("level", [0.0, -200.0, 1e4])
def test_constant_logits_give_the_first_word(level):
    """The earlier start, then the shorter answer; logits below -100 are logits like any other."""
    windows = build_windows(BERT, ("who", CONTEXT, gold()), max_length=16, doc_stride=4)
    logits = np.full(windows.offsets[-1], level)
    [found] = decode(windows, [CONTEXT], logits, logits, version_2_with_negative=False)
    first = CONTEXT[: windows.ends[windows.begins == 0][0]]
    assert found.answer.text == first
    lengths = [one.end for one in found.candidates[:3]]
    assert [one.start for one in found.candidates[:3]] == [0, 0, 0]
    assert lengths == sorted(lengths)


def test_rounding_makes_ties_of_what_padding_changes():
    windows = build_windows(BERT, ("who", CONTEXT, gold()))
    starts, ends = logits_for(windows, CONTEXT, [("mary", 2.0), ("john", 2.0)])
    for noise in (1e-6, -1e-6):
        moved = np.where(windows.begins == 0, starts + noise, starts)
        [found] = decode(windows, [CONTEXT], moved, ends)
        assert found.best.text == "john"


def test_no_answer_is_longer_than_allowed():
    windows = build_windows(BERT, ("who", CONTEXT, gold()))
    starts, ends = logits_for(windows, CONTEXT, [])
    starts[windows.begins == 0] = 5
    ends[windows.ends == len(CONTEXT)] = 5
    for longest in (1, 2, 5, 30):
        [found] = decode(
            windows, [CONTEXT], starts, ends, max_answer_length=longest, n_best_size=500
        )
        for one in found.candidates:
            inside = (windows.begins >= one.start) & (windows.ends <= one.end)
            assert inside.sum() <= longest
    assert found.best.text == CONTEXT


def test_the_null_score_is_the_least_of_all_windows():
    windows = build_windows(BERT, ("who", CONTEXT, gold()), max_length=16, doc_stride=4)
    starts, ends = logits_for(windows, CONTEXT, [("berlin", 2.0)])
    at = windows.offsets[:-1] + windows.null_indices
    starts[at] = ends[at] = 9.0
    starts[at[1]] = ends[at[1]] = 2.5
    [found] = decode(windows, [CONTEXT], starts, ends)
    assert found.null_odds == pytest.approx(1.0)
    assert found.answer.text == ""
    assert found.n_best()[0][0].text == "", "no answer takes the place of its score"
    assert found.best.text == "berlin"
    for threshold, text in ((0.999, ""), (1.0, "berlin")):  # only odds above it are no answer
        [found] = decode(windows, [CONTEXT], starts, ends, null_score_diff_threshold=threshold)
        assert found.answer.text == text
    [first_version] = decode(windows, [CONTEXT], starts, ends, version_2_with_negative=False)
    assert first_version.answer.text == "berlin"
    assert "" not in [one.text for one, _ in first_version.n_best()]


def test_no_answer_is_listed_even_if_it_is_the_worst():
    windows = build_windows(BERT, ("who", CONTEXT, gold()))
    starts, ends = logits_for(windows, CONTEXT, [("berlin", 2.0)], low=0.0)
    starts[windows.null_indices[0]] = -50
    [found] = decode(windows, [CONTEXT], starts, ends, n_best_size=3)
    assert len(found.n_best()) == 4
    assert found.n_best()[-1][0].text == ""


@pytest.mark.parametrize("context", [" ", "", None, "\u200b"])
def test_a_context_without_text_has_no_answer(context):
    windows = build_windows(BERT, ("who", context, gold()))
    logits = np.zeros(windows.offsets[-1])
    [found] = decode(windows, [context], logits, logits)
    assert (found.answer.text, found.null_odds) == ("", NO_CANDIDATE)
    assert [one.text for one, _ in found.n_best()] == [""]
    [found] = decode(windows, [context], logits, logits, version_2_with_negative=False)
    assert found.answer.text == ""
    assert [(one.text, share) for one, share in found.n_best()] == [("", 1.0)]


def test_questions_are_told_apart_by_their_place():
    """Each question is answered from its own windows and its own context."""
    contexts = [CONTEXT, "mary works", CONTEXT[5:]]
    rows = [("who", context, gold()) for context in contexts]
    windows = build_windows(BERT, *rows, max_length=16, doc_stride=4)
    logits = np.zeros(windows.offsets[-1])
    found = decode(windows, contexts, logits, logits, version_2_with_negative=False)
    assert len(found) == 3
    assert [one.answer.text[:1] for one in found] == ["j", "m", "l"]
