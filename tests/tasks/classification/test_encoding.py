"""encoding.py of classification: the same bytes however batches are cut, on several processes."""

import random

import datasets
import numpy as np
import pytest
import tiny

from tagloop.data.storage import arrays
from tagloop.errors import InputError
from tagloop.tasks.classification import encoding


def dataset_of(number: int, *, has_pairs: bool) -> datasets.Dataset:
    chance = random.Random(number)
    rows = [
        {
            "text": chance.choice([None, "", " ".join(chance.choices(tiny.WORDS, k=row % 30))]),
            "pair": chance.choice([None, "two words"]) if has_pairs else None,
            "label": chance.choice(["a", "b", None]),
        }
        for row in range(number)
    ]
    strings = datasets.Features({name: datasets.Value("string") for name in rows[0]})
    return datasets.Dataset.from_list(rows, features=strings)


def encode(dataset, fingerprint: str, *, has_pairs: bool, **given):
    return encoding.encode_texts(
        dataset, fingerprint, tiny.tokenizer_like("word_piece"), {"a": 0, "b": 1}.get,
        num_classes=2, has_pairs=has_pairs, max_length=20, pad_to_max_length=False,
        pad_to_multiple_of=1, **given,
    )  # fmt: skip


@pytest.mark.parametrize("has_pairs", [False, True])
def test_arrays_are_those_of_one_row_after_the_other(has_pairs, monkeypatch):
    dataset, tokenizer = dataset_of(60, has_pairs=has_pairs), tiny.tokenizer_like("word_piece")
    monkeypatch.setattr(arrays, "BATCH", 7)
    rows, cut = encode(dataset, f"alone {has_pairs}", has_pairs=has_pairs)
    assert rows.labels.tolist() == [{"a": 0, "b": 1}.get(label, 0) for label in dataset["label"]]
    assert rows.has_label.tolist() == [label is not None for label in dataset["label"]]
    too_long = 0
    for number, row in enumerate(dataset):
        texts = [row["text"] or "", *([row["pair"] or ""] if has_pairs else [])]
        alone = [[text] for text in texts]
        [expected] = tokenizer(*alone, truncation=True, max_length=20)["input_ids"]
        start, end = rows.offsets[number : number + 2]
        assert rows.input_ids[start:end].tolist() == expected
        assert rows.num_words[number] == len(" ".join(texts).split())
        too_long += len(tokenizer(*alone)["input_ids"][0]) > 20
    assert cut == too_long > 0
    assert len(rows.input_ids) == rows.offsets[-1]
    assert (rows.input_ids.dtype, rows.offsets.dtype) == (np.int32, np.int64)


@pytest.mark.slow
def test_processes_change_no_byte(monkeypatch):
    dataset = dataset_of(2500, has_pairs=True)
    alone, cut = encode(dataset, "one process", has_pairs=True)
    monkeypatch.setattr(encoding, "WORTH_PROCESSES", 0)
    shared, cut_there = encode(dataset, "two processes", has_pairs=True, num_workers=2)
    assert cut == cut_there
    for name in ("input_ids", "offsets", "num_words"):
        assert getattr(alone, name).tobytes() == getattr(shared, name).tobytes()


def test_sub_tokens_that_stand_for_something_unknown(monkeypatch):
    def dataset_of_texts(*texts):
        rows = [{"text": text, "pair": None, "label": "a"} for text in texts]
        strings = datasets.Features({name: datasets.Value("string") for name in rows[0]})
        return datasets.Dataset.from_list(rows, features=strings)

    rows, _ = encode(dataset_of_texts("john 東", "mary"), "unknown, few", has_pairs=False)
    assert rows.num_unknown == 1
    with pytest.raises(InputError, match=r"of 60 sub-tokens .* not know") as caught:
        encode(dataset_of_texts(*["東 京 市"] * 20), "unknown, all", has_pairs=False)
    assert "--tokenizer_name" in str(caught.value)
