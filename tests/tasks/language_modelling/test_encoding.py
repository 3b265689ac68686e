"""Rows and blocks: no sub-token is lost, none is learned from another text, masks are fixed."""

import itertools

import datasets
import numpy as np
import pytest
import torch
from tiny import SPECIAL, tokenizer_like

from tagloop.batches.examples import IGNORE_INDEX
from tagloop.options.config import Config
from tagloop.tasks.language_modelling.encoding import CausalRows, Cutting, encode_texts
from tagloop.tasks.language_modelling.masking import MaskedRows
from tagloop.tasks.language_modelling.task import special_ids_of
from tagloop.tasks.language_modelling.texts import line_end

TEXTS = ["john lives in berlin", "", "mary works in new york and mary works in berlin", "fox"] * 7
SHAPE = {
    "pad_token_id": 0, "max_length": 512, "pad_to_max_length": False, "pad_to_multiple_of": 1,
}  # fmt: skip


def encoded(tokenizer, cutting, texts=TEXTS, **options):
    dataset = datasets.Dataset.from_dict({"text": texts})
    return encode_texts(dataset, f"{hash(tuple(texts))}", tokenizer, cutting, **options)


def causal(cutting, texts=TEXTS):
    arrays, _ = encoded(tokenizer_like("word_piece", "$A"), cutting, texts)
    return CausalRows(**arrays, **SHAPE)


def masked(cutting, texts=TEXTS, **options):
    tokenizer = tokenizer_like("word_piece")
    arrays, _ = encoded(tokenizer, cutting, texts)
    return MaskedRows(
        **arrays, **SHAPE, mask_token_id=tokenizer.mask_token_id,
        is_special=special_ids_of(tokenizer), **{"probability": 0.15} | options,
    )  # fmt: skip


def rows_of(examples):
    ids, offsets = examples.input_ids, examples.offsets
    return [ids[begin:end].tolist() for begin, end in itertools.pairwise(offsets)]


@pytest.mark.parametrize("length", [2, 5, 8, 100])
def test_blocks_hold_every_sub_token_in_order_and_only_the_last_one_is_shorter(length):
    texts = [f"fox {number}" for number in range(1001)]
    tokenizer = tokenizer_like("word_piece", "$A")
    expected = [i for text in texts for i in tokenizer(text).input_ids]
    blocks = causal(Cutting(length, in_blocks=True), texts)
    assert [i for row in rows_of(blocks) for i in row] == expected
    assert set(blocks.lengths[:-1]) == {length}
    assert blocks.target_weights.sum() == len(expected) - len(blocks)


@pytest.mark.parametrize("length", [3, 4, 1000])
def test_a_long_text_is_several_rows_in_which_every_sub_token_but_its_first_is_a_target(length):
    texts = causal(Cutting(length))
    whole = causal(Cutting(1000))
    assert texts.input_ids.tolist() == whole.input_ids.tolist()
    assert len(whole) == 21, "the blank texts have no row"
    assert texts.num_texts == 28
    learned = []
    for number in range(len(texts)):
        labels = texts.collate(np.array([number]))["labels"][0]
        assert (labels != IGNORE_INDEX).sum() == texts.target_weights[number]
        learned += labels[labels != IGNORE_INDEX].tolist()
    assert learned == [i for row in rows_of(whole) for i in row[1:]]
    per_text = texts.sum_texts(texts.target_weights)
    assert per_text.tolist() == whole.sum_texts(whole.target_weights).tolist()
    counts = np.bincount(learned, minlength=200)
    assert texts.target_counts(200).tolist() == counts.tolist()


def test_the_end_of_a_text_and_the_ends_of_lines_are_kept_where_they_are_asked_for():
    tokenizer = tokenizer_like("byte_level", "$A")
    arrays, _ = encoded(tokenizer, Cutting(100, last_id=3), ["a fox", "", "so"])
    assert np.flatnonzero(arrays["input_ids"] == 3).tolist() == (arrays["offsets"][1:] - 1).tolist()
    cutting = Cutting(100, in_blocks=True, line_end="\n")
    arrays, _ = encoded(tokenizer, cutting, ["a fox", "", "so"])
    shown = "".join(tokenizer.convert_ids_to_tokens(arrays["input_ids"]))
    assert shown == "ĠaĠfoxĊĠĊĠsoĊ", "Ċ stands for the end of a line"


def test_all_parts_of_a_text_file_keep_the_ends_of_its_lines():
    """The part that --folds leaves out is scored on text like that of the others."""
    config = Config(task_name="clm", train_file="book.txt", folds=3, fold=1, block_size=8)
    ends = {split: line_end(config, split) for split in ("train", "validation", "test")}
    assert ends == dict.fromkeys(ends, "\n")


def test_every_row_of_a_long_line_has_special_tokens_of_its_own():
    rows = rows_of(masked(Cutting(6, with_special=True)))
    cls, sep = SPECIAL.index("[CLS]"), SPECIAL.index("[SEP]")
    assert len(rows) > 21
    assert all(row[0] == cls and row[-1] == sep and len(row) <= 6 for row in rows)
    whole = rows_of(masked(Cutting(100, with_special=True)))
    bodies = [[i for i in row if i not in (cls, sep)] for row in rows]
    chain = itertools.chain.from_iterable
    assert [*chain(bodies)] == [*chain(row[1:-1] for row in whole)]


@pytest.mark.medium
def test_processes_change_no_byte(monkeypatch):
    module = "tagloop.tasks.language_modelling.encoding"
    monkeypatch.setattr(f"{module}.WORTH_PROCESSES", 0)
    tokenizer = tokenizer_like("word_piece")
    texts = [f"fox {number}" for number in range(3000)]
    one, _ = encoded(tokenizer, Cutting(9), texts)
    monkeypatch.setattr(f"{module}.source_digest", lambda _: "another key")
    two, _ = encoded(tokenizer, Cutting(9), texts, num_workers=2)
    for name in ("input_ids", "offsets", "text_of_row"):
        assert one[name].tolist() == two[name].tolist()


# --- masks ---


WORDS = ["john", "lives", "in", "berlin", "and", "mary", "works"]
MANY = [" ".join(WORDS[: 1 + number % 7]) for number in range(4000)]


def test_masks_belong_to_the_example_and_the_epoch():
    examples = masked(Cutting(100, with_special=True), MANY).at_epoch(7, 0)
    ids = np.array([5, 40, 6, 33])
    together = examples.collate(ids)
    for row, number in enumerate(ids):
        alone = examples.collate(np.array([number]))
        for name, values in alone.items():
            length = values.shape[1]
            assert torch.equal(together[name][row, :length], values[0]), name
    again = examples.at_epoch(7, 1).collate(ids)
    assert not torch.equal(together["labels"], again["labels"])
    assert not torch.equal(together["labels"], examples.at_epoch(8, 0).collate(ids)["labels"])
    assert torch.equal(together["labels"], examples.at_epoch(7, 0).collate(ids)["labels"])


def test_evaluations_draw_the_same_for_every_seed():
    first, second = (masked(Cutting(100, with_special=True), MANY[:50]) for _ in range(2))
    ids = np.arange(50)
    assert torch.equal(first.collate(ids)["input_ids"], second.collate(ids)["input_ids"])


@pytest.mark.parametrize("in_blocks", [False, True])
@pytest.mark.parametrize("probability", [0.01, 0.15, 0.9])
def test_the_number_of_targets_is_known_beforehand(in_blocks, probability, monkeypatch):
    monkeypatch.setattr("tagloop.tasks.language_modelling.masking.IDS_AT_ONCE", 100)
    cutting = Cutting(11 if in_blocks else 100, in_blocks=in_blocks, with_special=True)
    examples = masked(cutting, MANY[:200], probability=probability)
    for epoch in (0, 1):
        drawn = examples.at_epoch(1, epoch)
        batch = drawn.collate(np.arange(len(drawn)))
        found = (batch["labels"] != IGNORE_INDEX).sum(1)
        assert found.tolist() == drawn.target_weights.tolist() == examples.target_weights.tolist()
        ordinary = ~examples.is_special[np.array(examples.input_ids)]
        total = np.add.reduceat(ordinary, examples.offsets[:-1], dtype=int)
        expected = np.minimum(np.maximum(np.floor(total * probability + 0.5), 1), total)
        assert found.tolist() == expected.tolist()


def test_of_the_targets_80_percent_are_hidden_10_are_random_and_none_is_special():
    examples = masked(Cutting(100, with_special=True), MANY, probability=0.5).at_epoch(3, 0)
    batch = examples.collate(np.arange(len(examples)))
    is_target = batch["labels"] != IGNORE_INDEX
    shown, gold = batch["input_ids"][is_target], batch["labels"][is_target]
    special = torch.from_numpy(np.flatnonzero(examples.is_special))
    assert not torch.isin(gold, special).any()
    is_masked = shown == examples.mask_token_id
    number = len(gold)
    assert number > 5000
    assert abs(is_masked.float().mean() - 0.8) < 4 * (0.16 / number) ** 0.5
    is_random = ~is_masked & (shown != gold)  # but for the draws that hit the same sub-token
    ordinary = len(examples.ordinary_ids)
    assert abs(is_random.float().mean() - 0.1 * (1 - 1 / ordinary)) < 4 * (0.09 / number) ** 0.5
    assert not torch.isin(shown[~is_masked], special).any()
    drawn = torch.bincount(shown[is_random], minlength=len(examples.is_special))
    assert (drawn[~examples.is_special] > 0).float().mean() > 0.9, "every ordinary id is drawn"
    other = batch["input_ids"][~is_target]
    assert not (other == examples.mask_token_id).any()


def test_without_ids_a_batch_has_no_target():
    nothing = np.array([], dtype=np.int64)
    for examples in (masked(Cutting(9, with_special=True)), causal(Cutting(9))):
        assert (examples.collate(nothing)["labels"] == IGNORE_INDEX).all()
