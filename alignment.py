"""Words <-> sub-tokens: windows of long sentences, and who owns which word. Pure.

Every word keeps at least one sub-token and belongs to exactly one window, so nothing is lost in
training, in predictions or in the score.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """A run of words that fits the model. Indices are words of the sentence, ends exclusive.

    The words `own_start..own_end` are labelled and predicted here; the others are context.
    """

    start: int
    end: int
    own_start: int
    own_end: int


def tokenize_words(tokenizer, sentences: Sequence[Sequence[str]]) -> list[list[list[int]]]:
    """Sub-token ids of every word of every sentence, without special tokens.

    A word that the tokenizer makes nothing of (zero-width space, lone variation selector, empty
    string) has an empty list here.
    """
    sentences = [list(words) for words in sentences]
    encodings = tokenizer(
        sentences, is_split_into_words=True, add_special_tokens=False, truncation=False,
        return_attention_mask=False, return_token_type_ids=False, verbose=False,
    ).encodings  # fmt: skip
    result = []
    for words, encoding in zip(sentences, encodings, strict=True):
        pieces: list[list[int]] = [[] for _ in words]
        for word_id, token_id in zip(encoding.word_ids, encoding.ids, strict=True):
            if word_id is not None:
                pieces[word_id].append(token_id)
        result.append(pieces)
    return result


def glues_words(tokenizer) -> bool:
    """True for a tokenizer that loses where pre-split words begin.

    Byte-level tokenizers do so without `add_prefix_space=True`: `["john", "lives"]` gives the ids
    of `johnlives`. A probe finds them, not a list of names. A tokenizer that marks no spaces at
    all (BERT's) splits by itself and glues nothing.
    """
    words = ["john", "lives", "in", "berlin"]
    (pieces,) = tokenize_words(tokenizer, [words])
    pre_split = [token_id for word in pieces for token_id in word]
    bare = [
        token_id
        for word in words
        for token_id in tokenizer(word, add_special_tokens=False).input_ids
    ]
    running_text = tokenizer(" ".join(words), add_special_tokens=False).input_ids
    return pre_split == bare and pre_split != running_text


def cut_windows(piece_counts: Sequence[int], *, budget: int, stride: int) -> list[Window]:
    """Cut a sentence at word boundaries into overlapping windows.

    Args:
        piece_counts: sub-tokens of every word, each between 1 and `budget`.
        budget: sub-tokens a window may hold, special tokens not counted.
        stride: sub-tokens that neighbouring windows share, at most `budget // 2`.

    Returns:
        Windows in order. A word in two windows is owned by the one that shows more of what lies
        around it: the later one as soon as that has more left context than the earlier one has
        right context.

    >>> cut_windows([1, 1, 1, 1, 1, 1], budget=4, stride=2)
    [Window(start=0, end=4, own_start=0, own_end=3), Window(start=2, end=6, own_start=3, own_end=6)]
    """
    begins = [0]
    for count in piece_counts:
        begins.append(begins[-1] + count)
    num_words = len(piece_counts)
    windows: list[Window] = []
    start = own_start = 0
    while True:
        end = start
        while end < num_words and begins[end + 1] - begins[start] <= budget:
            end += 1
        if end == num_words:
            windows.append(Window(start, end, own_start, end))
            return windows
        next_start = end
        while (
            next_start - 1 > start
            and begins[end] - begins[next_start - 1] <= stride
            and begins[end + 1] - begins[next_start - 1] <= budget
        ):
            next_start -= 1
        own_end = max(next_start, own_start)
        while own_end < end:
            right_here = begins[end] - begins[own_end + 1]
            left_in_next = begins[own_end] - begins[next_start]
            if left_in_next > right_here:
                break
            own_end += 1
        windows.append(Window(start, end, own_start, own_end))
        start, own_start = next_start, own_end
