"""Training with the rows that the data shows is training with the whole table."""

import copy
import gc
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from transformers import AutoModelForTokenClassification, BertLMHeadModel

from tagloop.training.optim import parameter_groups
from tagloop.training.vocabulary import CompactEmbedding, compact_vocabulary, used_rows

PAD = 7
SHOWN = [3, PAD, 11, 12, 50, 51, 120, 250, 331, 399]  # of 400
ARCHITECTURES = [
    "bert", "roberta", "xlm-roberta", "electra", "distilbert", "albert", "modernbert", "deberta-v2",
    "mpnet", "longformer", "convbert", "big_bird", "esm", "gpt2", "llama", "bloom",
]  # fmt: skip
SMALL = {
    "esm": {"mask_token_id": 12},
    "albert": {"embedding_size": 8},
    "bloom": {"n_layer": 1, "n_head": 2},
}


def build(model_type: str = "bert", *, seed: int = 0) -> nn.Module:
    config = tiny.model_config(model_type, pad_token_id=PAD, **SMALL.get(model_type, {}))
    return tiny.build_model(config, seed=seed)


def batch_of(step: int, shown=SHOWN) -> dict[str, torch.Tensor]:
    """Three rows of twelve shown ids, the second padded."""
    rng = np.random.default_rng(step)
    ids = torch.from_numpy(rng.choice([row for row in shown if row != PAD], (3, 12)))
    mask = torch.ones_like(ids)
    mask[1, 8:] = 0
    return {"input_ids": ids.where(mask.bool(), PAD), "attention_mask": mask}


class Training:
    """A model, its vocabulary and fused AdamW whose rate falls from update to update."""

    def __init__(self, model, input_ids=None, *, decay=0.1, max_norm=None, **options):
        self.model, self.max_norm, self.step = model, max_norm, 0
        self.vocabulary = compact_vocabulary(model, input_ids, **options)
        groups = parameter_groups(model, weight_decay=decay)
        self.optimizer = torch.optim.AdamW(groups, lr=0.02, fused=True)

    def run(self, updates: int) -> "Training":
        self.model.train()
        for _ in range(updates):
            torch.manual_seed(self.step)  # dropout
            batch = batch_of(self.step)
            logits = self.model(**batch).logits.flatten(0, 1)
            labels = batch["input_ids"].flatten() % 3
            nn.functional.cross_entropy(logits, labels, reduction="sum").backward()
            if self.max_norm:
                nn.utils.clip_grad_norm_(self.model.parameters(), self.max_norm)
            self.optimizer.step()
            self.vocabulary.after_update(self.optimizer)
            self.optimizer.zero_grad()
            self.step += 1
            for group in self.optimizer.param_groups:
                group["lr"] *= 0.9
        return self

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        weights = self.vocabulary.whole(self.model.state_dict())
        table = weights[self.vocabulary.name] if self.vocabulary.is_compact else None
        return weights if table is None else weights | {self.vocabulary.name: table.whole()}

    def save(self) -> dict:
        whole = StateDictOptions(full_state_dict=True, cpu_offload=True)
        moments = get_optimizer_state_dict(self.model, self.optimizer, options=whole)
        return copy.deepcopy(
            {
                "weights": self.weights,
                "shrink": self.vocabulary.shrink,
                "optimizer": self.vocabulary.pack_moments(moments),
                "step": self.step,
            }
        )

    def load(self, saved: dict) -> "Training":
        saved = copy.deepcopy(saved)
        own = self.vocabulary.compact(saved["weights"], saved["shrink"])
        self.model.load_state_dict(own)
        whole = StateDictOptions(full_state_dict=True)
        moments = self.vocabulary.unpack_moments(saved["optimizer"])
        set_optimizer_state_dict(self.model, self.optimizer, moments, options=whole)
        self.step = saved["step"]
        return self


def assert_same(found: dict, expected: dict, **tolerance) -> None:
    """The same names in the same order, and the same values: to the bit, or to a tolerance."""
    assert list(found) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, **(tolerance or {"rtol": 0, "atol": 0}), msg=lambda m, n=name: n + m
        )


def with_table(table: nn.Embedding) -> nn.Module:
    """A model that is nothing but its input embedding."""
    model = nn.Module()
    model.table, model.get_input_embeddings = table, lambda: table
    return model


def table_of(model) -> torch.Tensor:
    return model.get_input_embeddings().weight


# Equal training


@pytest.mark.parametrize("model_type", ARCHITECTURES)
@pytest.mark.medium
def test_training_is_the_same_to_the_bit(model_type):
    whole = Training(build(model_type), decay=0.0).run(3)
    compact = Training(build(model_type), [np.array(SHOWN)], decay=0.0).run(3)
    assert len(table_of(compact.model)) < 20 < len(table_of(whole.model))
    assert not torch.equal(table_of(whole.model), table_of(build(model_type)))  # it did learn
    assert_same(compact.weights, whole.weights)


@pytest.mark.parametrize("model_type", ["bert", "roberta", "gpt2", "albert"])
def test_training_with_decay_and_clipping_is_the_same_to_rounding(model_type):
    whole = Training(build(model_type), max_norm=1.0).run(5)
    compact = Training(build(model_type), [np.array(SHOWN)], max_norm=1.0).run(5)
    # The norm adds the same squares in another order; Adam divides small gradients by each other.
    assert_same(compact.weights, whole.weights, rtol=1e-5, atol=1e-5)
    name, absent = compact.vocabulary.name, compact.vocabulary.absent
    found, expected = compact.weights[name][absent], whole.weights[name][absent]
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    assert not torch.allclose(expected, table_of(build(model_type))[absent], rtol=1e-3)


def test_decay_without_clipping_leaves_the_shown_rows_their_bits():
    whole, compact = Training(build()).run(4), Training(build(), [np.array(SHOWN)]).run(4)
    name, rows = compact.vocabulary.name, compact.vocabulary.rows
    assert torch.equal(compact.weights[name][rows], whole.weights[name][rows])


def test_waiting_rows_shrink_by_the_product_over_updates():
    compact = Training(build(), [np.array(SHOWN)], decay=0.3).run(4)
    expected = np.prod([1 - 0.02 * 0.9**step * 0.3 for step in range(4)])
    assert compact.vocabulary.shrink == pytest.approx(expected, rel=1e-12)
    absent = compact.vocabulary.absent
    found = compact.weights[compact.vocabulary.name][absent]
    torch.testing.assert_close(found, table_of(build())[absent] * expected, rtol=1e-6, atol=0)


def test_a_frozen_table_does_not_decay():
    model = build()
    table_of(model).requires_grad_(False)
    compact = Training(model, [np.array(SHOWN)]).run(2)
    assert compact.vocabulary.is_compact
    assert compact.vocabulary.shrink == 1.0
    assert not table_of(model).requires_grad
    assert torch.equal(compact.weights[compact.vocabulary.name], table_of(build()))


def test_the_padding_row_gets_no_gradient():
    whole, compact = nn.Embedding(40, 4, padding_idx=PAD), nn.Embedding(40, 4, padding_idx=PAD)
    compact.load_state_dict(whole.state_dict())
    vocabulary = compact_vocabulary(with_table(compact), [np.array([30, 31])])
    assert vocabulary.rows.tolist() == [PAD, 30, 31]
    ids = torch.tensor([[30, PAD, 31], [PAD, 30, 30]])
    for table in (whole, compact):
        table(ids).square().sum().backward()
    assert torch.equal(compact.weight.grad, whole.weight.grad[vocabulary.rows])
    assert not compact.weight.grad[0].any()
    assert compact.weight.grad[1:].all()
    assert (compact.num_embeddings, compact.padding_idx) == (40, PAD)


# What is kept, and what is left alone


def test_special_ids_are_kept():
    model = build()
    model.config.eos_token_id = [21, 22]
    model.config.sep_token_id = None
    vocabulary = compact_vocabulary(model, [np.array([[60, 61], [60, 62]]), np.array([3, 4])])
    configured = {PAD, 21, 22, model.config.bos_token_id} - {None}
    assert set(vocabulary.rows.tolist()) == {3, 4, 60, 61, 62} | configured
    assert str(vocabulary) == f"{len(vocabulary.rows)} of 400 rows"


@pytest.mark.parametrize("input_ids", [None, [np.arange(400)]])
def test_a_table_of_which_all_is_needed_stays(input_ids):
    vocabulary = compact_vocabulary(model := build(), input_ids)
    assert type(model.get_input_embeddings()) is nn.Embedding
    assert str(vocabulary) == "all 400 rows"
    weights = model.state_dict()
    assert vocabulary.whole(weights) is weights
    assert vocabulary.compact(weights) is weights


def tied_by_declaration():
    """As it may be before the weights are loaded: still two parameters."""
    model = with_table(nn.Embedding(40, 4))
    model.all_tied_weights_keys = {"head.weight": "table.weight"}
    return model


class Scaled(nn.Embedding):
    """A subclass may do anything in its forward."""


def tied_by_hand():
    model = build()
    model.classifier.weight = table_of(model)
    return model


def under_two_names():
    model = with_table(nn.Embedding(40, 4))
    model.again = model.table
    return model


def tied_head():
    return BertLMHeadModel(tiny.model_config("bert", is_decoder=True))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: build("t5"), "tied"),
        (tied_head, "tied"),
        (tied_by_hand, "tied"),
        (under_two_names, "tied"),
        (tied_by_declaration, "tied"),
        (lambda: with_table(Scaled(40, 4)), "Scaled"),
        (lambda: with_table(nn.Embedding(40, 4, sparse=True)), "gradients"),
        (lambda: with_table(nn.Embedding(40, 4, scale_grad_by_freq=True)), "gradients"),
        (lambda: with_table(nn.Embedding(40, 4, max_norm=1.0)), "renormalises"),
        (lambda: nn.Linear(2, 2), "no input embedding"),
    ],
)
def test_a_table_that_has_to_stay_whole_is_left_alone(make, why):
    model = make()
    before = copy.deepcopy(model.state_dict())
    vocabulary = compact_vocabulary(model, [np.array([1, 2])])
    assert not any(isinstance(module, CompactEmbedding) for module in model.modules())
    assert_same(model.state_dict(), before)
    assert why in str(vocabulary)
    vocabulary.after_update(SimpleNamespace(param_groups=[]))
    moments = {"state": {"w": {"step": torch.ones(())}}, "param_groups": []}
    assert vocabulary.unpack_moments(vocabulary.pack_moments(moments)) == moments


def test_used_rows_reads_in_pieces_and_refuses_what_is_no_row(tmp_path):
    np.save(tmp_path / "ids.npy", np.array([5, 2, 5, 9, 0, 2, 9], dtype=np.int32))
    ids = np.load(tmp_path / "ids.npy", mmap_mode="r")
    assert used_rows([ids, np.array([], np.int64)], 10, at_once=2).tolist() == [0, 2, 5, 9]
    for wrong in (-1, 10):
        with pytest.raises(ValueError, match="the table has 10"):
            used_rows([ids, np.array([wrong])], 10)


# Ids without a row


@pytest.mark.parametrize("wrong", [4, 398, 400, -1, -100])
def test_an_id_that_has_no_row_is_an_error(wrong):
    compact_vocabulary(model := build(), [np.array(SHOWN)])
    batch = batch_of(0)
    batch["input_ids"][2, 5] = wrong
    with pytest.raises(IndexError, match=r"10 of 400 rows|1\d of 400 rows"):
        model(**batch)


@pytest.mark.medium
def test_a_compiled_lookup_is_one_graph():
    table = nn.Embedding(40, 4)
    ids = torch.tensor([[30, 31, 30]])
    expected = table(ids).clone()
    compact_vocabulary(with_table(table), [np.array([30, 31])])
    compiled = torch.compile(table, backend="eager", fullgraph=True)
    assert torch.equal(compiled(ids), expected)


# Saved and loaded


def test_names_stay_and_the_lookup_is_not_saved():
    compact = Training(build(), [np.array(SHOWN)])
    assert list(compact.model.state_dict()) == list(build().state_dict())
    assert [n for n, _ in compact.model.named_parameters()] == [
        n for n, _ in build().named_parameters()
    ]


def test_a_saved_model_is_the_whole_one(tmp_path):
    compact = Training(build("roberta"), [np.array(SHOWN)]).run(2)
    weights = compact.weights
    compact.model.save_pretrained(tmp_path, state_dict=dict(weights))  # it empties the dict
    loaded = AutoModelForTokenClassification.from_pretrained(tmp_path)
    assert_same(loaded.state_dict(), weights)
    batch = batch_of(5)
    assert torch.equal(loaded.eval()(**batch).logits, compact.model.eval()(**batch).logits)


KINDS = {
    "whole": None,
    "compact": [np.array(SHOWN)],
    "more": [np.array([*SHOWN, 1, 60, 398])],  # another file to predict
}


@pytest.mark.parametrize("before", KINDS)
@pytest.mark.parametrize("after", KINDS)
@pytest.mark.medium
def test_a_run_goes_on_from_any_table_with_any(before, after):
    expected = Training(build()).run(5).save()
    saved = Training(build(), KINDS[before]).run(2).save()
    assert len(saved["weights"]["bert.embeddings.word_embeddings.weight"]) == 400
    # Another seed: all comes from what was saved.
    resumed = Training(build(seed=1), KINDS[after]).load(saved).run(3)
    assert_same(resumed.weights, expected["weights"], rtol=1e-6, atol=0)
    name = resumed.vocabulary.name
    found = resumed.save()["optimizer"]["state"][name]
    for key in ("exp_avg", "exp_avg_sq"):
        moments = expected["optimizer"]["state"][name][key]
        assert torch.equal(found[key], moments[resumed.vocabulary.rows])
        absent = np.setdiff1d(np.arange(400), SHOWN)
        assert not moments[absent].any()  # what the module's docstring says
    assert found["step"] == 5


@pytest.mark.medium
def test_an_interrupted_run_ends_with_the_same_bits():
    expected = Training(build(), KINDS["compact"], decay=0.3).run(9).save()
    saved = Training(build(), KINDS["compact"], decay=0.3).run(2).save()
    for updates in (4, 3):  # interrupted twice; every process begins with the model's own weights
        saved = Training(build(), KINDS["compact"], decay=0.3).load(saved).run(updates).save()
    assert_same(saved["weights"], expected["weights"])
    assert saved["shrink"] == expected["shrink"]


def test_loading_other_weights_forgets_how_far_the_old_ones_had_shrunk():
    compact = Training(build(), KINDS["compact"]).run(3)
    other = build(seed=1).state_dict()
    compact.model.load_state_dict(compact.vocabulary.compact(other))
    assert_same(compact.weights, other)


def test_moments_of_a_row_that_is_gone_are_refused():
    saved = Training(build(), KINDS["compact"]).run(2).save()
    fewer = Training(build(), [np.array(SHOWN[:-1])])
    with pytest.raises(ValueError, match="rows were trained"):
        fewer.load(saved)


def test_a_table_of_another_size_is_refused():
    compact = Training(build(), KINDS["compact"])
    weights = compact.model.state_dict()  # not whole
    with pytest.raises(ValueError, match="rows instead of 400"):
        compact.vocabulary.compact(weights)


def test_a_process_without_the_waiting_rows_loads_and_does_not_write():
    saved = Training(build(), KINDS["compact"]).run(2).save()
    spare = Training(build(seed=1), KINDS["compact"], keep_waiting=False).load(saved).run(1)
    main = Training(build(seed=1), KINDS["compact"]).load(saved).run(1)
    assert_same(spare.model.state_dict(), main.model.state_dict())
    with pytest.raises(AssertionError, match="dropped"):
        spare.vocabulary.whole(spare.model.state_dict())


@pytest.mark.medium
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists the files in memory")
def test_the_file_of_the_weights_does_not_stay_in_memory(tmp_path):
    """It would stay as a whole, with the rows that the model no longer holds."""
    build().save_pretrained(tmp_path)
    model = AutoModelForTokenClassification.from_pretrained(tmp_path)
    maps = Path("/proc/self/maps")
    assert str(tmp_path) in maps.read_text(), "transformers copies weights now: no copy is needed"
    compact_vocabulary(model, [np.array(SHOWN)])
    gc.collect()
    assert str(tmp_path) not in maps.read_text()
    vocabulary = compact_vocabulary(expected := build(), [np.array(SHOWN)])
    assert vocabulary.is_compact
    assert_same(model.state_dict(), expected.state_dict())
