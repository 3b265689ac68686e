"""Pairs: what the decoder reads is what transformers' models make of the labels."""

import numpy as np
import pytest
from transformers import BartConfig, BartForConditionalGeneration, T5Config
from transformers import T5ForConditionalGeneration as T5

from tagloop.batches.examples import IGNORE_INDEX, SubTokenRows
from tagloop.batches.pairs import PairRows

TINY_BART = {
    "d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 1,
    "decoder_attention_heads": 1, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8,
}  # fmt: skip
MODELS = {
    "T5": lambda: T5(
        T5Config(vocab_size=40, d_model=8, d_ff=8, num_layers=1, decoder_start_token_id=0)
    ),
    "BART": lambda: BartForConditionalGeneration(BartConfig(vocab_size=40, **TINY_BART)),
}


def pairs_of(sources, targets, *, start_id, pad_token_id=0, multiple=1):
    parts = {
        name: SubTokenRows(
            input_ids=np.array([i for row in rows for i in row], np.int32),
            offsets=np.cumsum([0, *map(len, rows)]),
            pad_token_id=pad_token_id,
            max_length=12,
            pad_to_max_length=False,
            pad_to_multiple_of=multiple,
        )
        for name, rows in (("source", sources), ("target", targets))
    }
    return PairRows(**parts, start_id=start_id)


@pytest.mark.parametrize("name", MODELS)
def test_the_decoder_reads_what_transformers_would_make_of_the_labels(name):
    model = MODELS[name]()
    config = model.config
    sources, targets = [[5, 6, 7, 2], [8, 2]], [[9, 2], [10, 11, 12, 2]]
    pairs = pairs_of(
        sources, targets, start_id=config.decoder_start_token_id, pad_token_id=config.pad_token_id
    )
    batch = pairs.collate(np.array([0, 1]))
    theirs = model.prepare_decoder_input_ids_from_labels(labels=batch["labels"])
    assert batch["decoder_input_ids"].tolist() == theirs.tolist()
    assert batch["labels"].tolist() == [[9, 2, IGNORE_INDEX, IGNORE_INDEX], [10, 11, 12, 2]]
    assert batch["attention_mask"].sum(1).tolist() == [4, 2]
    assert batch["input_ids"][1].tolist() == [8, 2, config.pad_token_id, config.pad_token_id]


def test_a_pair_without_a_target_has_one_column_and_no_weight():
    pairs = pairs_of([[5, 1], [6, 7, 1]], [[], [8, 1]], start_id=0)
    assert pairs.target_weights.tolist() == [0, 2]
    assert pairs.lengths.tolist() == [3, 5]
    batch = pairs.collate(np.array([0]))
    assert batch["decoder_input_ids"].tolist() == [[0]]
    assert batch["labels"].tolist() == [[IGNORE_INDEX]]
    nothing = pairs.collate(np.array([], dtype=np.int64))
    assert nothing["input_ids"].shape == (1, 2)
    assert (nothing["labels"] == IGNORE_INDEX).all()


def test_only_pairs_of_two_equal_lengths_need_no_padding_beside_each_other():
    sources = [[5] * 3, [5] * 4, [5] * 3, [5] * 3]
    targets = [[6] * 4, [6] * 3, [6] * 4, [6] * 3]
    pairs = pairs_of(sources, targets, start_id=0)
    assert len(set(pairs.lengths[:3])) == 1
    assert pairs.shapes[0] == pairs.shapes[2]
    assert len(set(pairs.shapes)) == 3
