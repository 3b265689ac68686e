"""Hidden spans: no text is lost, lengths are known beforehand, draws belong to the row."""

import itertools

import numpy as np
import pytest
import torch

from tagloop.batches.examples import IGNORE_INDEX
from tagloop.tasks.language_modelling.encoding import TextRows
from tagloop.tasks.language_modelling.noise import SpanNoise, corrupt
from tagloop.tasks.language_modelling.spans import hide_spans

SENTINELS, END = np.arange(2000, 1000, -1), 1
NOISES = [
    SpanNoise(density, mean_span)
    for density, mean_span in itertools.product((0.01, 0.15, 0.5, 0.9), (1.0, 3.0, 10.0))
]
LENGTHS = np.array([*range(1, 41), 99, 100, 333, 600])


def corrupted(noise, draw, examples, lengths, seed=0):
    """Rows of random ids, padded, and what becomes of them."""
    columns = np.arange(lengths.max())
    rows = np.random.default_rng(seed).integers(10, 900, (len(lengths), len(columns)))
    rows = np.where(columns < lengths[:, None], rows, 0)
    is_noise = noise.draw(draw, examples, lengths)
    return rows, is_noise, *corrupt(rows, lengths, is_noise, SENTINELS, END)


def joined_again(inputs, targets):
    """The text that an input and a target hold together, by their sentinels."""
    spans, text = {}, []
    for token_id in targets:
        if token_id > 1000:
            current = spans.setdefault(token_id, [])
        elif token_id != END:
            current.append(token_id)
    for token_id in inputs:
        text += spans.pop(token_id) if token_id > 1000 else [token_id] * (token_id != END)
    assert not spans, "the input has every sentinel of the target"
    return text


@pytest.mark.parametrize("noise", NOISES, ids=str)
def test_inputs_and_targets_make_the_text_and_have_the_lengths_that_were_said(noise):
    examples = np.arange(len(LENGTHS))
    rows, is_noise, inputs, targets = corrupted(noise, (3, 5), examples, LENGTHS)
    assert is_noise.sum(1).tolist() == noise.num_hidden(LENGTHS).tolist()
    sizes = noise.input_lengths(LENGTHS), noise.target_lengths(LENGTHS)
    assert (inputs.shape[1], targets.shape[1]) == (sizes[0].max(), sizes[1].max())
    for row, shown, target, *lengths in zip(rows, inputs, targets, *sizes, strict=True):
        shown, target = shown.tolist(), target.tolist()
        for ids, length in zip((shown, target), lengths, strict=True):
            assert ids.index(END) == length - 1
            found = [token_id for token_id in ids if token_id > 1000]
            assert found == SENTINELS[: len(found)].tolist(), "the first sentinel comes first"
        text = joined_again(shown[: lengths[0]], target[: lengths[1]])
        assert text == row[row != 0].tolist()


@pytest.mark.parametrize("noise", NOISES, ids=str)
@pytest.mark.parametrize("most", [2, 3, 24, 128, 512])
def test_the_longest_row_fits_and_no_longer_one_does(noise, most):
    length = noise.longest_row(most)
    assert noise.input_lengths(np.int64(length)) <= most
    assert noise.input_lengths(np.int64(length + 1)) > most


def test_rows_and_targets_have_the_lengths_of_transformers_script():
    """Its numbers, of compute_input_and_target_lengths, for the density and the spans of T5."""
    noise = SpanNoise(0.15, 3.0)
    for most, expected in ((128, (141, 29)), (512, (568, 114)), (1024, (1137, 229))):
        length = np.int64(noise.longest_row(most))
        assert (length, noise.target_lengths(length)) == expected


def test_a_row_alone_is_hidden_as_in_a_batch_and_otherwise_in_another_epoch():
    noise, examples = SpanNoise(0.15, 3.0), np.array([70, 7, 4000, 12])
    lengths = np.array([100, 41, 9, 77])
    together = noise.draw((7, 2), examples, lengths)
    for row, number, length in zip(together, examples, lengths, strict=True):
        (alone,) = noise.draw((7, 2), np.array([number]), np.array([length]))
        assert row[:length].tolist() == alone.tolist()
        assert not row[length:].any()
    for draw in ((7, 3), (8, 2)):
        assert (noise.draw(draw, examples, lengths) != together).any()


def test_all_ways_to_hide_so_many_in_so_many_spans_are_equally_likely():
    """Of 7 sub-tokens 3 are hidden in 2 spans: 10 places for the spans, cut in 2 ways."""
    noise, number = SpanNoise(0.4, 2.0), 20_000
    drawn = noise.draw((1, 2), np.arange(number), np.full(number, 7))
    masks, counts = np.unique(drawn, axis=0, return_counts=True)
    starts = masks & ~np.pad(masks, ((0, 0), (1, 0)))[:, :-1]
    assert len(masks) == 20
    assert set(masks.sum(1)) == {3}
    assert set(starts.sum(1)) == {2}
    error = (number / 20 * 0.95) ** 0.5
    assert abs(counts - number / 20).max() < 4 * error


# --- examples ---


def examples_of(lengths, **padding):
    ids = np.random.default_rng(1).integers(10, 900, sum(lengths)).astype(np.int32)
    texts = TextRows(
        input_ids=ids, offsets=np.append(0, np.cumsum(lengths)), text_of_row=None,
        num_texts=len(lengths), pad_token_id=0, max_length=24, pad_to_max_length=False,
        pad_to_multiple_of=1,
    )  # fmt: skip
    return hide_spans(
        texts, SpanNoise(0.15, 3.0), sentinel_ids=SENTINELS, end_id=END, start_id=0,
        **{"pad_to_max_length": False, "pad_to_multiple_of": 1} | padding,
    )  # fmt: skip


@pytest.mark.parametrize(
    "padding", [{}, {"pad_to_multiple_of": 8}, {"pad_to_max_length": True}], ids=str
)
def test_an_example_alone_is_that_of_a_batch_and_holds_the_whole_row(padding):
    examples = examples_of([24, 3, 24, 1, 17], **padding).at_epoch(7, 3)
    whole = np.split(np.array(examples.texts.input_ids), examples.texts.offsets[1:-1])
    ids = np.array([4, 0, 3, 1])
    batch = examples.collate(ids)
    sizes = [batch[name].shape[1] for name in ("input_ids", "labels")]
    assert sum(sizes) == examples.padded_lengths[ids].max()
    for row, number in enumerate(ids):
        alone = examples.collate(np.array([number]))
        for name, values in alone.items():
            length = (examples.target if name in ("labels", "decoder_input_ids") else
                      examples.source).lengths[number]  # fmt: skip
            assert torch.equal(batch[name][row, :length], values[0, :length]), name
        shown = batch["input_ids"][row][batch["attention_mask"][row] == 1].tolist()
        labels = batch["labels"][row][batch["labels"][row] != IGNORE_INDEX].tolist()
        assert len(labels) == examples.target_weights[number]
        assert (shown[-1], labels[-1]) == (END, END)
        assert batch["decoder_input_ids"][row][: len(labels)].tolist() == [0, *labels[:-1]]
        assert joined_again(shown, labels) == whole[number].tolist()
    other = examples.at_epoch(7, 4).collate(ids)
    assert other["labels"].shape == batch["labels"].shape
    assert not torch.equal(other["labels"], batch["labels"])
    nothing = examples.collate(np.array([], dtype=np.int64))
    assert (nothing["labels"] == IGNORE_INDEX).all()


def test_evaluations_hide_the_same_spans_whatever_the_seed():
    first, second = (examples_of([24] * 6).collate(np.arange(6)) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
