"""SQuAD's scores: rows computed by hand and with the official scripts, and fair thresholds."""

import pytest

from tagloop.tasks.qa.scores import exact_of, f1_of, find_best_threshold, scores_v1, scores_v2

# gold answers, predicted answer, null odds; the official script of SQuAD 2.0 gave the results below
ROWS = [
    (["France", "in France"], "france.", -3.0),
    (["10th and 11th centuries"], "the 10th", -1.0),
    (["Norman's"], "The Normans", -2.0),
    ([], "", 4.0),
    ([], "Rollo", 1.0),
    (["1066"], "", 2.0),
    (["the", "a"], "", 0.5),  # every gold answer normalizes to nothing, yet it is one
    (["in 1066"], "1066 AD", -0.5),
    (["a b c"], "b c d", -4.0),
    (["北京"], "北京市", 3.0),
]

OFFICIAL = {
    "exact": 40.0,
    "f1": 57.0,
    "total": 10,
    "HasAns_exact": 37.5,
    "HasAns_f1": 58.75,
    "HasAns_total": 8,
    "NoAns_exact": 50.0,
    "NoAns_f1": 50.0,
    "NoAns_total": 2,
    "best_exact": 50.0,
    "best_exact_thresh": 0.5,
    "best_f1": 67.0,
    "best_f1_thresh": 0.5,
}


def scores_of_rows():
    golds, found, odds = (list(column) for column in zip(*ROWS, strict=True))
    return scores_v2(golds, found, found, odds)


def test_scores_are_those_of_the_official_script():
    assert scores_of_rows() == pytest.approx(OFFICIAL)


@pytest.mark.parametrize(
    ("gold", "found", "exact", "f1"),
    [
        ("The  Norman's", "normans", 1, 1),
        ("in 1066", "1066 AD", 0, 0.5),
        ("an apple, a day", "apple day", 1, 1),  # lower case, punctuation, articles, blanks
        ("theatre", "atre", 0, 0),  # an article is a word, not a part of one
        ("-the-", "", 1, 1),  # "-the-" is the article once the punctuation is gone
        ("", "", 1, 1),
        ("x", "", 0, 0),
        ("", "x", 0, 0),
        ("a a b b", "b b b", 0, pytest.approx(2 * (2 / 3) * 1 / (2 / 3 + 1))),
        ("unanswerable", "", 0, 0),  # only the empty text says that there is no answer
    ],
)
def test_two_answers(gold, found, exact, f1):
    assert (exact_of(gold, found), f1_of(gold, found, none_is_right=True)) == (exact, f1)


def test_answers_without_words_have_the_f1_of_the_script_of_their_version():
    """evaluate-v1.1.py gives two answers without a word in common 0, evaluate-v2.0.py gives 1."""
    assert scores_v1([["A"]], ["A"]) == {"exact_match": 100.0, "f1": 0.0}
    assert scores_v2([[]], [""], ["x"], [1.0])["f1"] == 100.0


def test_exact_and_f1_are_each_the_best_over_the_gold_answers():
    found = scores_v1([["a long answer here", "answer"], ["x"]], ["answer", ""])
    assert found == {"exact_match": 50.0, "f1": 50.0}


def test_a_group_without_questions_has_no_scores():
    answered = scores_v2([["x"]], ["x"], ["x"], [-1.0])
    assert not [name for name in answered if name.startswith("NoAns")]
    assert answered["HasAns_total"] == answered["total"] == 1
    assert not [n for n in scores_v2([[]], [""], ["x"], [1.0]) if n.startswith("HasAns")]


def test_scores_that_separate_perfectly_have_a_threshold_of_100():
    """The given threshold answers nothing; the search looks at the best texts behind it."""
    golds, best = [["a b"], ["c"], [], []], ["b", "c", "wrong", "wrong"]
    found = scores_v2(golds, ["", "", "", ""], best, [6.0, 7.0, 8.0, 9.0])
    assert found["exact"] == 50
    assert (found["best_exact"], found["best_exact_thresh"]) == (100, 7)
    assert found["best_f1"] == 100


def test_questions_with_equal_odds_are_answered_together():
    """No threshold answers the first question alone, so no score may pretend so."""
    golds, best, scores = [["x"], [], []], ["x", "y", "z"], [1.0, 0.0, 0.0]
    assert find_best_threshold(golds, best, scores, [1.0, 1.0, 2.0]) == (2.0, 0.0)
    assert find_best_threshold(golds, best, scores, [0.5, 1.0, 2.0]) == (3.0, 0.5)
