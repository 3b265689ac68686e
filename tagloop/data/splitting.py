"""Running text -> words with character offsets, the way the words of a training set look. Pure.

    [text[start:end] for start, end in split_text("Ann won.", "punctuation")]   # Ann won .

Offsets count Unicode characters, as Python's strings do. Whatever the way, every character that is
no blank belongs to exactly one word, and no word cuts what a reader sees as one character.
"""

import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Literal, get_args

import regex

WordsWay = Literal["punctuation", "characters", "blanks"]
WAYS: tuple[str, ...] = get_args(WordsWay)
LOOKED_AT = 10_000  # sentences of a training set

_BLANK = r"[\s\p{Cc}\u200b\ufeff]"  # control characters and zero-width spaces part words, too
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
# Letters, marks, digits, and what joins them unseen (Persian has a non-joiner inside words).
_LETTER = rf"[[\p{{L}}\p{{M}}\p{{N}}_\u00ad\u200c\u200d]--[[{_UNSPACED}]--[\p{{M}}\p{{Nd}}]]]"
_WHOLE = r"(?![\p{M}\u200c\u200d])"  # no accent or joiner follows
_TITLES = "Mr|Mrs|Ms|Dr|Prof|St|Sr|Jr|Gen|Sen|Rep|Gov|Lt|Col|Sgt|Capt|Rev|Inc|Corp|Ltd|Co|vs"
_ENDING = r"(?:['’](?i:s|ll|re|ve|d|m)|(?i:n)['’](?i:t))"  # what English writes on to a word

_PUNCTUATION = rf"""
    (?i:https?://|www\.)(?:(?!{_BLANK}).)+(?<![.,;:!?'"’”»)\]}}]){_WHOLE}  # an address
  | [A-Za-z0-9_.+-]{{1,64}}+@(?>\w[\w-]*(?:\.\w[\w-]*)+){_WHOLE}  # of e-mail
  | [@\#](?:{_LETTER})+                                # @name, #topic
  | (?:\p{{L}}\.){{2,}}{_WHOLE}                       # U.S.
  | (?:\p{{Lu}}|{_TITLES})\.(?={_BLANK}+[\p{{L}}\p{{N}}])   # J. Smith, Mr. Smith
  | (?<![^\s(])[+-]?\.?(?>\d+(?:[.,:/-]\d+)*)(?!{_LETTER})  # -1.5, .5, 10:30, 1996-08-22
  | (?<={_LETTER}|{_BLANK}){_ENDING}(?!{_LETTER})      # 's, n't
  | {_LETTER}(?:
        (?!{_ENDING}(?!{_LETTER})){_LETTER}
      | (?!{_ENDING}(?!{_LETTER}))['’]{_LETTER}        # O'Neil
      | [-‐‑·]{_LETTER}                                # well-known
      | (?<=\d)[.,:/]\d                                # 1/2
      | (?<=\p{{Lu}})&\p{{Lu}}                         # S&P
      | (?<=\p{{Ll}})\.\p{{Ll}}                        # example.org
    )*
  | ([.\-`'*_=~])\1+{_WHOLE}                         # ... -- ``
  | (?!{_BLANK})\X                                     # a mark, a picture, a Chinese character
"""
_PATTERNS = {
    "punctuation": _PUNCTUATION,
    "characters": rf"(?!{_BLANK})\X",
    "blanks": rf"(?!{_BLANK})(?:(?!{_BLANK}).)+",
}


@functools.cache
def _pattern(way: str) -> regex.Pattern:
    return regex.compile(_PATTERNS[way], regex.VERBOSE | regex.VERSION1 | regex.DOTALL)


def split_text(text: str, way: WordsWay) -> list[tuple[int, int]]:
    """Start and end (exclusive) of every word in characters, in order.

    Args:
        way: "punctuation": at blanks, and marks apart, as in CoNLL-2003 and the Penn Treebank;
            scripts without blanks (Chinese, Thai, ...) character by character.
            "characters": every visible character alone. "blanks": at blanks alone.

    >>> split_text("Ann won.", "punctuation")
    [(0, 3), (4, 7), (7, 8)]
    """
    return [word.span() for word in _pattern(way).finditer(text)]


def find_words(text: str, words: Sequence[str]) -> list[tuple[int, int]] | None:
    """Where these words stand in their text, in order; None if one of them does not.

    >>> find_words("Ann won.", ["Ann", "won", "."])
    [(0, 3), (4, 7), (7, 8)]
    """
    offsets, end = [], 0
    for word in words:
        start = text.find(word, end)
        if start < 0:
            return None
        end = start + len(word)
        offsets.append((start, end))
    return offsets


def detect_way(sentences: Iterable[Sequence[str]]) -> WordsWay:
    """How text has to be split so that its words look like these.

    "characters" where scripts without blanks and all else are single characters, "blanks" where
    marks still hang on the words ("end.") or such scripts are in words of several characters,
    which no rule here finds; else "punctuation".

    >>> detect_way([["It", "won", "."]]), detect_way([["It", "won."]]), detect_way([["京", "A"]])
    ('punctuation', 'blanks', 'characters')
    """
    unspaced, letter = regex.compile(rf"[{_UNSPACED}]"), regex.compile(_LETTER, regex.VERSION1)
    counts: Counter[str] = Counter()
    for words in islice(sentences, LOOKED_AT):
        for word in words:
            is_single = len(split_text(word, "characters")) == 1
            if unspaced.search(word):
                counts["unspaced"] += 1
                counts["single unspaced"] += is_single
            elif letter.search(word):
                counts["other"] += 1
                counts["single other"] += is_single
                counts["marks on words"] += len(word) > 3 and word[-1] in ",;:!?."
            else:
                counts["marks"] += word in (",", ";", ":", "!", "?", ".")
    if 2 * counts["unspaced"] > counts["other"]:
        if counts["single unspaced"] < 0.8 * counts["unspaced"]:
            return "blanks"
        return "characters" if 2 * counts["single other"] >= counts["other"] else "punctuation"
    return "blanks" if counts["marks on words"] > counts["marks"] else "punctuation"
