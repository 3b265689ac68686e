"""Language models: the logits of the targets alone; packed rows longer than the longest text."""

import copy

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

from tagloop.batches.packing import TARGET_CELLS, Packing, build_micro_batch
from tagloop.models.target_logits import accept_target_cells
from tagloop.models.token_loss import token_losses
from tagloop.tasks.language_modelling.encoding import CausalRows
from tagloop.tasks.language_modelling.masking import MaskedRows
from tagloop.training.dry_pass import dry_pass

VOCABULARY = 50


def build_rows(rows, lengths=(9, 1, 4, 6, 12), **further):
    ids = np.random.default_rng(0).integers(4, VOCABULARY, sum(lengths)).astype(np.int32)
    return rows(
        input_ids=ids, offsets=np.append(0, np.cumsum(lengths)), pad_token_id=0, max_length=12,
        text_of_row=np.arange(len(lengths)), num_texts=len(lengths), pad_to_max_length=False,
        pad_to_multiple_of=1, **further,
    )  # fmt: skip


def build_decoder():
    config = GPT2Config(
        vocab_size=VOCABULARY, n_embd=16, n_layer=1, n_head=2, n_positions=12, embd_pdrop=0.0,
        resid_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return GPT2LMHeadModel(config), build_rows(CausalRows), Packing(0, 1, 24, causal=True)


def build_encoder():
    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=12, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    is_special = np.arange(VOCABULARY) < 4
    rows = build_rows(MaskedRows, mask_token_id=3, is_special=is_special, probability=0.3)
    return BertForMaskedLM(config), rows, Packing(0, 1, 24)


@pytest.mark.parametrize("build", [build_decoder, build_encoder])
@pytest.mark.parametrize("ids", [[0, 1, 2, 3, 4], [2], [1], []])
@pytest.mark.parametrize("is_packed", [False, True])
def test_losses_and_gradients_are_those_of_all_logits(build, ids, is_packed):
    torch.manual_seed(0)
    model, rows, packing = build()
    plain = copy.deepcopy(model).train()
    accept_target_cells(model.train(), {"train": rows})
    assert model.training
    ids, packing = np.array(ids, dtype=np.int64), packing if is_packed else None
    batch = build_micro_batch(rows, ids, packing, mark_targets=True).to(torch.device("cpu"))
    others = {name: value for name, value in batch.inputs.items() if name != TARGET_CELLS}
    every = plain(**others).logits
    expected = cross_entropy(every.flatten(0, 1), batch.labels.flatten(), reduction="sum")
    logits = model(**batch.inputs).logits
    targets = int(rows.target_weights[ids].sum())
    assert logits.shape == (targets, VOCABULARY), "no other logits are computed"
    labels = batch.labels.flatten()[batch.inputs[TARGET_CELLS]]
    loss = token_losses(logits, labels, every=True).sum()
    assert torch.allclose(loss, expected, atol=1e-5)
    loss.backward()
    expected.backward()
    for (name, own), (_, other) in zip(
        model.named_parameters(), plain.named_parameters(), strict=True
    ):
        assert torch.allclose(own.grad, other.grad, atol=1e-6), name
    assert torch.equal(model(**others).logits, every), "without target_cells all are computed"


class Reshaping(GPT2LMHeadModel):
    """Needs logits of rows and columns."""

    def forward(self, **inputs):
        outputs = super().forward(**inputs)
        rows, columns = inputs["input_ids"].shape
        outputs.logits = outputs.logits.view(rows, columns, -1)
        return outputs


class Scaling(GPT2LMHeadModel):
    """Its logits depend on those of other cells."""

    def forward(self, **inputs):
        outputs = super().forward(**inputs)
        outputs.logits = outputs.logits / outputs.logits.std()
        return outputs


@pytest.mark.parametrize("kind", [Reshaping, Scaling])
def test_a_model_that_cannot_select_returns_all_logits(kind):
    decoder, rows, _ = build_decoder()
    model = kind(decoder.config).eval()
    accept_target_cells(model, {"train": rows})
    batch = build_micro_batch(rows, np.array([0, 2]), mark_targets=True)
    assert model(**batch.inputs).logits.shape == (2, 9, VOCABULARY)


class Short(GPT2LMHeadModel):
    """Takes no more columns than it has positions."""

    def forward(self, **inputs):
        if inputs["input_ids"].shape[1] > self.config.n_positions:
            raise IndexError("too many columns")
        return super().forward(**inputs)


@pytest.mark.parametrize(("kind", "cells"), [(GPT2LMHeadModel, 42), (Short, 60)])
def test_rows_are_wider_than_the_longest_text_where_the_model_allows_it(kind, cells):
    """40 sub-tokens: 2 rows of 21, or a row of 12 for each text."""
    decoder, _, _ = build_decoder()
    rows = build_rows(CausalRows, lengths=(12, 7, 7, 7, 7))
    options = {"dropout": False, "backward": False, "pack_to_multiple_of": 1}
    packing = dry_pass(kind(decoder.config), [rows], **options).packing
    assert build_micro_batch(rows, np.arange(5), packing).num_cells == cells
