"""The windows of a corpus, put together word by word: slow, and easy to check by eye."""

import numpy as np

from tagloop.batches.examples import IGNORE_INDEX
from tagloop.data.words import schemes
from tagloop.models.tokenizers import tokenize_words
from tagloop.tasks.tagging import alignment

ARRAY_TYPES = {
    "input_ids": "int32",
    "labels": "int16",
    "offsets": "int64",
    "num_targets": "int32",
    "first_sub_token": "int32",
    "word_offsets": "int64",
    "references": "int16",
    "sentence_offsets": "int64",
}


def encode_sentences(
    batches, tokenizer, template, *, label2id, budget, stride, label_all_tokens, context_tokens=0
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """The arrays and facts of tagloop.tasks.tagging.encoding.encode_sentences.

    Args:
        batches: dicts of `tokens`, `tags` and, for context, `document`, lists of sentences.
    """
    arrays = {name: [] for name in ARRAY_TYPES}
    facts = {"words_without_sub_tokens": 0, "words_shortened": 0, "sentences_cut": 0}
    facts |= {"words": 0, "words_unknown": 0}
    for name in ("offsets", "word_offsets", "sentence_offsets"):
        arrays[name].append(0)
    known = (tokenizer.unk_token_id, tokenizer.mask_token_id, tokenizer.pad_token_id, 0)
    stand_in = next(token_id for token_id in known if token_id is not None)
    for batch in batches:
        pieces_of_batch = tokenize_words(tokenizer, batch["tokens"])
        cut_pieces = [[word[:budget] or [stand_in] for word in row] for row in pieces_of_batch]
        for row, (pieces, tags) in enumerate(zip(pieces_of_batch, batch["tags"], strict=True)):
            facts["words_without_sub_tokens"] += sum(not word for word in pieces)
            facts["words_shortened"] += sum(len(word) > budget for word in pieces)
            facts["words"] += len(pieces)
            facts["words_unknown"] += sum(tokenizer.unk_token_id in word for word in pieces)
            pieces = cut_pieces[row]
            counts = [len(word) for word in pieces]
            windows = alignment.cut_windows(counts, budget=budget, stride=stride) if counts else []
            facts["sentences_cut"] += len(windows) > 1
            before, behind = [], []
            if context_tokens:
                before = _neighbours(batch, cut_pieces, row, -1, context_tokens)[::-1]
                behind = _neighbours(batch, cut_pieces, row, +1, context_tokens)
            for window in windows:
                if context_tokens:
                    window = _widened(
                        window, counts, [*map(len, before)], [*map(len, behind)],
                        context_tokens, budget,
                    )  # fmt: skip
                    pieces, tags = before + cut_pieces[row] + behind, batch["tags"][row]
                    tags = [None] * len(before) + tags + [None] * len(behind)
                _append_window(arrays, window, pieces, tags, template, label2id, label_all_tokens)
            arrays["references"].extend(
                IGNORE_INDEX if tag is None else label2id[tag] for tag in batch["tags"][row]
            )
            arrays["sentence_offsets"].append(len(arrays["references"]))
    return {name: np.array(arrays[name], dtype) for name, dtype in ARRAY_TYPES.items()}, facts


def _neighbours(batch, pieces, row, step, most) -> list[list[int]]:
    """The words on one side of a row, in at most so many rows of its document, nearest first."""
    words, other = [], row + step
    mark = ["-DOCSTART-"]
    while (
        0 <= other < len(pieces)
        and abs(other - row) <= most
        and batch["document"][other] == batch["document"][row]
        and mark not in (batch["tokens"][other], batch["tokens"][row])
    ):
        words += pieces[other][::step]
        other += step
    return words


def _widened(window, counts, before, behind, most, budget) -> alignment.Window:
    """The window with words around it, counted from the first word of `before`."""
    every = before + counts + behind
    start, end = window.start + len(before), window.end + len(before)
    room = budget - sum(every[start:end])
    left, right = min(most, sum(every[:start])), min(most, sum(every[end:]))
    left = min(left, max(room - room // 2, room - right))
    while start and every[start - 1] <= left:
        start -= 1
        left, room = left - every[start], room - every[start]
    right = min(right, room)
    while end < len(every) and every[end] <= right:
        right -= every[end]
        end += 1
    own = (window.own_start + len(before), window.own_end + len(before))
    return alignment.Window(start, end, *own)


def _append_window(arrays, window, pieces, tags, template, label2id, label_all_tokens) -> None:
    ids, labels = list(template.prefix), [IGNORE_INDEX] * len(template.prefix)
    for word in range(window.start, window.end):
        word_labels = [IGNORE_INDEX] * len(pieces[word])
        if window.own_start <= word < window.own_end:
            arrays["first_sub_token"].append(len(ids))
            if tags[word] is not None:
                word_labels[0] = label2id[tags[word]]
                if label_all_tokens:
                    later = label2id.get(schemes.continuation(tags[word]), word_labels[0])
                    word_labels[1:] = [later] * (len(word_labels) - 1)
        ids += pieces[word]
        labels += word_labels
    arrays["input_ids"].extend(ids + template.suffix)
    arrays["labels"].extend(labels + [IGNORE_INDEX] * len(template.suffix))
    arrays["num_targets"].append(sum(label != IGNORE_INDEX for label in labels))
    arrays["offsets"].append(len(arrays["input_ids"]))
    arrays["word_offsets"].append(len(arrays["first_sub_token"]))
