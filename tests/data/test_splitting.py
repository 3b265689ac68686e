"""Running text -> words with offsets: nothing lost, nothing cut, and as the corpora write it."""

import random

import pytest
import regex

from tagloop.data.splitting import WAYS, detect_way, find_words, split_text

BLANK = regex.compile(r"[\s\p{Cc}\u200b\ufeff]")
PIECES = [
    *"abzÄßñéжщΩאבعपा한국上海浦京カなกา", *"0123456789٣", *".,;:!?-–—…'’\"`()[]{}@#$€%&*/\\_+=~|<>",
    *" \t\n\r\u00a0\u3000\u2028\u0085\u200b\ufeff\x00", "\u0301", "\ufe0f", "\u200d", "\u00ad",
    "👍🏽", "👨‍👩‍👧", "🇩🇪", "1️⃣", "❤️", "𝒳", "𠮷", "n't", "'s", "U.S.", "https://", "www.", "e\u0301",
]  # fmt: skip


def words_of(text: str, way: str = "punctuation") -> list[str]:
    return [text[start:end] for start, end in split_text(text, way)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Mr. O'Neil (aged 63) left!", "Mr. O'Neil ( aged 63 ) left !"),
        ("They didn't, it's Ann's.", "They did n't , it 's Ann 's ."),
        ("McDonald’s won’t", "McDonald ’s wo n’t"),
        ("The U.S. and J. Smith's S&P 500", "The U.S. and J. Smith 's S&P 500"),
        ("It costs $4.99, or 1,000.", "It costs $ 4.99 , or 1,000 ."),
        ("1996-08-22, 10:30, 3-1, -1.5, 1/2", "1996-08-22 , 10:30 , 3-1 , -1.5 , 1/2"),
        ("well-known -- so...", "well-known -- so ..."),
        ("See www.x.org/a?b=1, me@x.co.uk.", "See www.x.org/a?b=1 , me@x.co.uk ."),
        ("#MeToo by @ann_b", "#MeToo by @ann_b"),
        ("«Größe», sagte Müller.", "« Größe » , sagte Müller ."),
        ("नरेंद्र मोदी।", "नरेंद्र मोदी ।"),
        ("上海A股,iPhone 12", "上 海 A 股 , iPhone 12"),
        ("Ann👨‍👩‍👧🇩🇪1️⃣ ❤️‍🔥!", "Ann 👨‍👩‍👧 🇩🇪 1️⃣ ❤️‍🔥 !"),
        ("a\u200bb\ufeffc\u00a0d\u2028e", "a b c d e"),
        ("می\u200cخواهم", "می\u200cخواهم"),
    ],
)
def test_marks_stand_apart_as_in_the_corpora(text, words):
    assert words_of(text) == words.split(" ")


def test_other_ways():
    assert words_of("end. 上海 e\u0301!", "characters") == [*"end.上海", "e\u0301", "!"]
    assert words_of("end.\u3000上海\u200bé!", "blanks") == ["end.", "上海", "é!"]


@pytest.mark.parametrize("way", WAYS)
def test_every_visible_character_is_in_one_word_and_none_is_cut(way):
    rng = random.Random(0)
    for _ in range(3000):
        text = "".join(rng.choices(PIECES, k=rng.randint(0, 25)))
        offsets = split_text(text, way)
        ends = [0] + [end for _, end in offsets]
        assert all(a <= start < end for a, (start, end) in zip(ends, offsets, strict=False)), text
        assert "".join(text[a:b] for a, b in offsets) == BLANK.sub("", text)
        visible = {at for found in regex.finditer(r"\X", text) for at in found.span()}
        visible |= {found.end() for found in BLANK.finditer(text)}  # an accent on a blank
        assert {at for offset in offsets for at in offset} <= visible, text


@pytest.mark.medium
def test_words_of_conll2003_come_back_from_their_text(corpora):
    """Words that the rules write differently are few: mostly lists of scores and cut-off names."""
    total = same = 0
    for block in (corpora / "conll2003" / "eng.testa").read_text(encoding="utf-8").split("\n\n"):
        lines = block.strip().splitlines()
        words = [line.split(" ")[0] for line in lines if line[:1] != "-"]
        found = words_of(" ".join(words))
        total += len(words)
        same += len(set(enumerate_offsets(words)) & set(enumerate_offsets(found)))
    assert same / total > 0.99


def enumerate_offsets(words: list[str]) -> list[tuple[int, str]]:
    """Every word with the number of visible characters before it."""
    ends = [0]
    for word in words:
        ends.append(ends[-1] + len(word))
    return list(zip(ends, words, strict=False))


@pytest.mark.parametrize(
    ("sentences", "way"),
    [
        (["It won .", "Ann , Bob"], "punctuation"),
        (["It won.", "Ann, Bob left"], "blanks"),
        (["上 海 2 0 0 8 A 股"], "characters"),
        (["上 海 2008 iPhone 股 市 。"], "punctuation"),
        (["上海 股市 发展 。"], "blanks"),
        (["नरेंद्र मोदी ।"], "punctuation"),
        ([], "punctuation"),
    ],
)
def test_the_way_is_told_from_training_words(sentences, way):
    assert detect_way([sentence.split(" ") for sentence in sentences]) == way


def test_words_are_found_in_their_text():
    assert find_words("a  a\tb", ["a", "a", "b"]) == [(0, 1), (3, 4), (5, 6)]
    assert find_words("a b", ["b", "a"]) is None
