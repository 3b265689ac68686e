"""alignment.py: windows own every word once, and sub-tokens are the tokenizer's own."""

import itertools
import random

import pytest
import tiny

from tagloop.models.tokenizers import glues_words, tokenize_words
from tagloop.tasks.tagging.alignment import cut_windows

KINDS = ["word_piece", "byte_level", "metaspace"]


def random_sentence(rng: random.Random) -> tuple[list[int], int, int]:
    budget = rng.randint(1, 30)
    counts = [
        rng.randint(1, min(budget, rng.choice([1, 3, 30]))) for _ in range(rng.randint(1, 60))
    ]
    return counts, budget, rng.randint(0, budget // 2)


def context(window, word: int, begins: list[int]) -> int:
    """Sub-tokens on the poorer side of a word; no word is missing beyond an end of the sentence."""
    left = begins[word] - begins[window.start]
    right = begins[window.end] - begins[word + 1]
    return min(left, right)


@pytest.mark.medium
def test_every_word_is_owned_once_within_budget_and_with_most_context():
    rng = random.Random(7)
    num_cut = num_shared = 0
    for _ in range(2000):
        counts, budget, stride = random_sentence(rng)
        begins = [sum(counts[:word]) for word in range(len(counts) + 1)]
        windows = cut_windows(counts, budget=budget, stride=stride)
        num_cut += len(windows) > 1

        owners = [w for w in windows for _ in range(w.own_start, w.own_end)]
        owned = [word for w in windows for word in range(w.own_start, w.own_end)]
        assert owned == list(range(len(counts)))
        for window in windows:
            assert window.start <= window.own_start <= window.own_end <= window.end
            assert sum(counts[window.start : window.end]) <= budget
        for earlier, later in itertools.pairwise(windows):
            assert later.start > earlier.start
            assert later.end > earlier.end
            assert sum(counts[later.start : earlier.end]) <= stride
        for word, owner in zip(owned, owners, strict=True):
            showing = [w for w in windows if w.start <= word < w.end]
            num_shared += len(showing) > 1
            best = max(context(w, word, begins) for w in showing)
            assert context(owner, word, begins) == best
    assert num_cut > 500
    assert num_shared > 2000


def test_stride_shows_the_words_before_the_cut_again():
    windows = cut_windows([1] * 10, budget=6, stride=2)
    assert [(w.start, w.end) for w in windows] == [(0, 6), (4, 10)]
    assert [(w.start, w.end) for w in cut_windows([1] * 10, budget=6, stride=0)] == [
        (0, 6),
        (6, 10),
    ]


def test_one_word_fills_a_window():
    windows = cut_windows([4, 4, 4], budget=4, stride=2)
    assert [(w.start, w.end) for w in windows] == [(0, 1), (1, 2), (2, 3)]


@pytest.mark.parametrize("kind", KINDS)
def test_words_in_a_row_have_the_ids_of_the_whole_sentence(kind):
    tokenizer = tiny.tokenizer_like(kind)
    tokens = tiny.sentences(3, 200)
    for words, pieces in zip(tokens, tokenize_words(tokenizer, tokens), strict=True):
        whole = tokenizer(" ".join(words), add_special_tokens=False).input_ids
        assert [token_id for word in pieces for token_id in word] == whole
        assert len(pieces) == len(words)
        assert all(pieces)


@pytest.mark.parametrize("kind", KINDS)
def test_a_word_has_the_same_sub_tokens_wherever_it_stands(kind):
    tokenizer = tiny.tokenizer_like(kind)
    (together,) = tokenize_words(tokenizer, [tiny.WORDS])
    alone = [tokenize_words(tokenizer, [[word]])[0][0] for word in tiny.WORDS]
    assert together == alone


def test_words_of_no_sub_tokens_stay_words():
    words = [part for empty in tiny.NO_TOKENS for part in ("john", empty)] + ["lives"]
    (pieces,) = tokenize_words(tiny.tokenizer_like("word_piece"), [words])
    assert len(pieces) == len(words)
    assert [not piece for piece in pieces] == [word in tiny.NO_TOKENS for word in words]


@pytest.mark.parametrize("kind", KINDS)
def test_sentences_without_words_and_without_sub_tokens_keep_their_place(kind):
    tokenizer = tiny.tokenizer_like(kind)
    pieces = tokenize_words(tokenizer, [[], ["john"], [""], ["", "john"], []])
    assert [len(sentence) for sentence in pieces] == [0, 1, 1, 2, 0]
    assert pieces[3] == [[], pieces[1][0]]


def test_truncation_and_padding_stored_with_a_tokenizer_do_not_count():
    tokenizer = tiny.tokenizer_like("word_piece")
    expected = tokenize_words(tokenizer, [tiny.WORDS, ["john"]])
    tokenizer.backend_tokenizer.enable_truncation(3)
    tokenizer.backend_tokenizer.enable_padding(length=50)
    assert tokenize_words(tokenizer, [tiny.WORDS, ["john"]]) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_tokenizers_that_keep_words_apart_are_accepted(kind):
    assert not glues_words(tiny.tokenizer_like(kind))


@pytest.mark.parametrize("name", ["generic", "roberta", "gpt2"])
def test_byte_level_tokenizers_without_prefix_space_are_found(name):
    assert glues_words(tiny.byte_level_of_class(name, add_prefix_space=False))
    assert not glues_words(tiny.byte_level_of_class(name, add_prefix_space=True))
