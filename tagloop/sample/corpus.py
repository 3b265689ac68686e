"""The built-in sample corpus: news-like sentences with POS, chunk and NER tags, made by a grammar.

Nothing is downloaded, and every call returns the same sentences. `RULES` is the grammar, `NAMES`
and `WORDS` are its vocabulary. Whoever changes a line of them gets another corpus. The notation:

    <symbol>     one of that symbol's alternatives, drawn at random
    word/TAG     a token and its part of speech
    [NP ... ]    a chunk
    {PER ... }   a named entity
    3x ...       an alternative that is drawn three times as often

Each family, town, people and company belongs to one split, so a model cannot learn the names of
the test split. It needs the context, the shape of the word and its sub-tokens. Some sentences are
ambiguous on purpose (in "Florence won" Florence may be a person or a club), so that no model has
an F1 of 1.
"""

import itertools
import random
import re
import zlib
from functools import cache

from tagloop.sample.grammar import NAMES, RULES, WORDS

SPLIT_SIZES = {"train": 2200, "validation": 250, "test": 250}
SENTENCE_LENGTHS = range(3, 46)  # in words; a sentence of another length is drawn again
HEADLINE_SHARE = 0.03
SEED = 1729


def build_sample_corpus() -> dict[str, list[dict]]:
    """Return the splits train, validation and test: lists of sentences.

    A sentence is a dict of parallel lists of strings: `tokens`, `pos_tags` (Penn Treebank style),
    `chunk_tags` (CoNLL-2000 style, IOB2) and `ner_tags` (PER, ORG, LOC and MISC, IOB2). The lists
    are the caller's own.
    """
    return {
        split: [{name: [*column] for name, column in row.items()} for row in sentences]
        for split, sentences in _write_corpus().items()
    }


@cache
def _write_corpus() -> dict[str, list[dict]]:
    """The corpus; a process writes it once, as that takes half of a second."""
    rng = random.Random(SEED)
    seen: set[tuple[str, ...]] = set()
    corpus: dict[str, list[dict]] = {}
    for split, size in SPLIT_SIZES.items():
        alternatives = build_alternatives(split)
        sentences = corpus[split] = []
        while len(sentences) < size:
            sentence = write_sentence(alternatives, rng)
            words = tuple(sentence["tokens"])
            if len(words) in SENTENCE_LENGTHS and words not in seen:
                seen.add(words)
                sentences.append(sentence)
    return corpus


def build_sample_texts() -> dict[str, list[dict]]:
    """Return the sentences of the sample as running text with a class: `text` and `label`."""
    return {
        split: [
            {"text": " ".join(row["tokens"]), "label": topic_of(row["tokens"])} for row in sentences
        ]
        for split, sentences in build_sample_corpus().items()
    }


def topic_of(tokens: list[str]) -> str:
    """The class of a sentence, as its words show it: sport, markets, speech or news.

    >>> topic_of(["Shares", "rose", "2", "points"]), topic_of(["Ann", "won", "."])
    ('markets', 'news')
    """
    words = {token.lower() for token in tokens}
    for topic, symbols in (
        ("sport", ("beat", "sport")),
        ("markets", ("moved",)),
        ("speech", ("said",)),
    ):
        if any(words & {*WORDS[symbol].split()} for symbol in symbols):
            return topic
    return "news"


def build_alternatives(split: str) -> dict[str, list[str]]:
    """List the alternatives of every symbol in `split`; `3x` puts an alternative in three times."""
    alternatives: dict[str, list[str]] = {}
    for symbol, parts in NAMES.items():
        names = map("".join, itertools.product(*map(str.split, parts)))
        alternatives[symbol] = [name for name in names if find_owner(name) == split]
    for symbol, words in WORDS.items():
        alternatives[symbol] = words.split()
    for symbol, lines in RULES.items():
        alternatives[symbol] = []
        for line in lines.strip().splitlines():
            weight, text = re.fullmatch(r"\s*(?:(\d+)x )?(.*)", line).groups()
            alternatives[symbol] += [text] * int(weight or 1)
    return alternatives


def find_owner(name: str) -> str:
    """Give each name, by a checksum of its spelling, to one split: three in five to train."""
    share = zlib.crc32(name.lower().encode()) % 5
    return ("train", "train", "train", "validation", "test")[share]


def write_sentence(alternatives: dict[str, list[str]], rng: random.Random) -> dict[str, list[str]]:
    """Write one sentence or, rarely, a headline.

    In a headline the case of the letters does not show which words are names.
    """
    if rng.random() < HEADLINE_SHARE:
        sentence = parse_markup(expand("<headline>", alternatives, rng))
        change_case = rng.choice([str.upper, str.upper, str.title, str.lower])
        sentence["tokens"] = [change_case(token) for token in sentence["tokens"]]
    else:
        sentence = parse_markup(expand("<sentence>", alternatives, rng))
        sentence["tokens"] = finish_spelling(sentence["tokens"])
    return sentence


def expand(text: str, alternatives: dict[str, list[str]], rng: random.Random) -> str:
    """Replace every <symbol> in `text`, and those in its replacement, until none is left."""
    return re.sub(
        r"<(\w+)>",
        lambda match: expand(rng.choice(alternatives[match[1]]), alternatives, rng),
        text,
    )


def parse_markup(text: str) -> dict[str, list[str]]:
    """Turn the notation of the module's docstring into parallel columns.

    >>> parse_markup("[NP {PER Ann/NNP Lee/NNP } ] [VP won/VBD ] ./.")["chunk_tags"]
    ['B-NP', 'I-NP', 'B-VP', 'O']
    """
    columns: dict[str, list[str]] = {"tokens": [], "pos_tags": [], "chunk_tags": [], "ner_tags": []}
    chunk_tag = ner_tag = "O"
    for piece in text.split():
        if piece == "]":
            chunk_tag = "O"
        elif piece == "}":
            ner_tag = "O"
        elif piece.startswith("["):
            chunk_tag = f"B-{piece[1:]}"
        elif piece.startswith("{"):
            ner_tag = f"B-{piece[1:]}"
        else:
            token, _, pos_tag = piece.rpartition("/")
            for column, value in zip(columns, (token, pos_tag, chunk_tag, ner_tag), strict=True):
                columns[column].append(value)
            chunk_tag = chunk_tag.replace("B-", "I-")
            ner_tag = ner_tag.replace("B-", "I-")
    return columns


def finish_spelling(tokens: list[str]) -> list[str]:
    """Capitalise the first word of a sentence, and write "an" before a vowel.

    >>> finish_spelling(["``", "it", "was", "a", "offer", "."])
    ['``', 'It', 'was', 'an', 'offer', '.']
    """
    finished = []
    opening = True
    for token, following in zip(tokens, [*tokens[1:], ""], strict=True):
        if token == "a" and following[:1] in "aeiou":
            token = "an"
        finished.append(token[:1].upper() + token[1:] if opening else token)
        opening = token in ("``", "--") or (opening and not token[:1].isalpha())
    return finished
