"""dropout.py: masks that no cut changes, as random as torch's; which models keep the promise."""

import shutil
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import transformers
from torch import Tensor, nn
from torch._inductor.compile_fx import compile_fx
from torch.nn import functional as F
from torch.utils.checkpoint import CheckpointError, checkpoint
from transformers import CONFIG_MAPPING, AutoModel, AutoModelForTokenClassification

from tagloop.training.dropout import ExampleDropout, recompute_alike

torch.set_num_threads(1)
transformers.logging.set_verbosity_error()


def kept(shape, p=0.1, *, seed=0, step=0, ids=None, calls=1, dtype=torch.float32):
    """Masks of so many calls on a tensor of this shape, float [calls, *shape], 1 where kept."""
    with ExampleDropout(seed, step, range(shape[0]) if ids is None else ids):
        outputs = [F.dropout(torch.ones(shape, dtype=dtype), p) for _ in range(calls)]
    return (torch.stack(outputs) != 0).float()


def correlation(left, right) -> float:
    """In standard deviations of what independent masks would show."""
    left, right = (left - left.mean()).flatten(), (right - right.mean()).flatten()
    return float(left @ right / (left.norm() * right.norm()) * left.numel() ** 0.5)


# As random as they should be


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5])
@pytest.mark.parametrize("shape", [(64, 100, 800), (64, 12, 80, 80), (4000, 1200)])
def test_rate(p, shape):
    assert kept(shape, p).mean() == pytest.approx(1 - p, abs=1e-3)


@pytest.mark.parametrize("shape", [(24, 64, 384), (16, 8, 40, 40)])
@pytest.mark.parametrize("p", [0.1, 0.5])
def test_neighbours_are_independent(shape, p):
    masks = kept(shape, p, calls=3)
    for dim in range(masks.ndim):  # calls, examples, heads or positions, ..., channels
        for far in {1, 2, masks.shape[dim] // 2}:
            size = masks.shape[dim] - far
            pair = masks.narrow(dim, 0, size), masks.narrow(dim, far, size)
            assert abs(correlation(*pair)) < 4, (dim, far)


def test_updates_seeds_and_swapped_coordinates_are_independent():
    mask = kept((32, 48, 48))
    others = [kept((32, 48, 48), step=step) for step in (1, 2, 1000)]
    others += [kept((32, 48, 48), seed=1)]
    others += [kept((32, 48, 48), step=1, seed=1), kept((32, 48, 48), ids=range(32, 64))]
    assert all(abs(correlation(mask, other)) < 4 for other in others)
    assert abs(correlation(mask[0, :, :24, 24:], mask[0, :, 24:, :24].mT)) < 4
    attention = kept((32, 24, 24, 24))[0]  # heads against queries
    swapped = attention[:, :12, 12:], attention[:, 12:, :12].transpose(1, 2)
    assert abs(correlation(*swapped)) < 4


@pytest.mark.parametrize("along", ["rows", "channels", "places"])
def test_all_pairs_are_independent(along):
    masks = kept((16, 16, 64), 0.3, calls=128)
    lines = {
        "rows": masks[:4].flatten(0, 2),  # 1024 of 64
        "channels": masks.flatten(0, 2).T,  # 64 of 32768
        "places": masks.flatten(2).flatten(0, 1).T,  # 1024 of 2048: is an offset always the same?
    }[along]
    lines = (lines - lines.mean(1, keepdim=True)) / lines.std(1, keepdim=True)
    pairs = torch.tril_indices(len(lines), len(lines), -1)
    deviations = (lines @ lines.T / lines.shape[1] ** 0.5)[*pairs]
    assert deviations.abs().max() < 6
    assert deviations.std() == pytest.approx(1, abs=0.05)


# The same for every cut


@pytest.mark.parametrize("tail", [(16,), (4, 9), (8,)])
def test_a_row_keeps_its_mask_in_any_company_and_at_any_length(tail):
    together = kept((5, 30, *tail), ids=[7, 3, 2**40, 0, 11], calls=4)
    alone = kept((1, 12, *tail), ids=[2**40], calls=4)
    assert 0 < alone.mean() < 1
    assert torch.equal(together[:, 2:3, :12], alone)
    reordered = kept((3, 30, *tail), ids=torch.tensor([11, 7, 3]), calls=4)
    assert torch.equal(together[:, [4, 0, 1]], reordered)


def test_longer_attention_keeps_heads_queries_and_keys():
    long, short = kept((3, 4, 20, 20)), kept((3, 4, 7, 7))
    assert torch.equal(long[..., :7, :7], short)


def test_the_second_dimension_may_hold_the_examples():
    assert torch.equal(kept((9, 2, 8), ids=[5, 6])[:, :4, 1:], kept((4, 1, 8), ids=[6]))


def test_a_tensor_without_examples_has_one_mask_per_update_and_is_named():
    masks = []
    for ids in ([1, 2], [3, 4, 5]):
        with ExampleDropout(0, 0, ids) as dropout:
            masks.append(F.dropout(torch.ones(512, 2)))  # not (places, examples)
        assert dropout.unplaced == {(512, 2)}
    assert torch.equal(*masks)
    assert masks[0].count_nonzero() == pytest.approx(512, abs=80)


def test_a_micro_batch_without_work_is_one_row():
    with ExampleDropout(0, 0, []) as dropout:
        assert 0.8 < (F.dropout(torch.ones(1, 20, 64), 0.1) != 0).float().mean() < 0.97
    assert not dropout.unplaced


def test_autocast_and_dtypes_have_the_same_masks():
    masks = [kept((4, 9, 32), dtype=dtype) for dtype in (torch.float32, torch.bfloat16)]
    with torch.autocast("cpu", torch.bfloat16):
        masks.append(kept((4, 9, 32)))
    assert torch.equal(masks[0], masks[1])
    assert torch.equal(masks[0], masks[2])


# As torch's dropout in everything else


@pytest.mark.parametrize("call", [
    lambda x: F.dropout(x, 0.3), lambda x: torch.dropout(x, 0.3, True), torch.nn.Dropout(0.3),
    lambda x: F.dropout(x * 1, 0.3, inplace=True), lambda x: torch.dropout_(x * 1, 0.3, True),
])  # fmt: skip
def test_value_and_gradient(call):
    inputs = torch.randn(4, 7, 16, requires_grad=True)
    weights = torch.randn(4, 7, 16)
    with ExampleDropout(0, 0, range(4)):
        output = call(inputs)
        output.backward(weights)
    scaled = kept((4, 7, 16), 0.3)[0] / 0.7
    torch.testing.assert_close(output, inputs * scaled)
    torch.testing.assert_close(inputs.grad, weights * scaled)


def test_in_place():
    inputs = torch.ones(4, 7, 16)
    with ExampleDropout(0, 0, range(4)):
        assert F.dropout(inputs, 0.3, inplace=True) is inputs
    torch.testing.assert_close(inputs, kept((4, 7, 16), 0.3)[0] / 0.7)


@pytest.mark.parametrize("shape", [(6,), (), (6, 0, 4)])
def test_odd_shapes(shape):
    with ExampleDropout(0, 0, range(6)):
        assert F.dropout(torch.ones(shape), 0.5).shape == shape


def test_nothing_and_everything_dropped_and_no_training():
    inputs = torch.randn(3, 4, 5)
    with ExampleDropout(0, 0, range(3)):
        assert torch.equal(F.dropout(inputs, 0.0), inputs)
        assert torch.equal(F.dropout(inputs, 0.5, training=False), inputs)
        assert torch.equal(torch.nn.Dropout(0.5).eval()(inputs), inputs)
        assert not F.dropout(inputs, 1.0).any()
        with pytest.raises(ValueError, match="between 0 and 1"):
            F.dropout(inputs, 1.5)


MASKS = {
    "none": {},
    "bool": {"attn_mask": torch.ones(3, 1, 6, 9).tril(2).bool()},
    "float": {"attn_mask": torch.randn(3, 1, 6, 9)},
    "infinite": {"attn_mask": torch.zeros(3, 4, 6, 9).masked_fill(torch.rand(9) < 0.4, -torch.inf)},
    "causal": {"is_causal": True},
    "scaled": {"scale": 0.7},
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("grouped", [False, True])
def test_attention_is_torchs_but_for_the_dropout(mask, grouped):
    query = torch.randn(3, 4, 6, 8, requires_grad=True)
    key, value = torch.randn(2, 3, 2 if grouped else 4, 9, 8, requires_grad=True).unbind()
    options = MASKS[mask] | {"enable_gqa": grouped}

    def attend(p: float):
        output = F.scaled_dot_product_attention(query, key, value, dropout_p=p, **options)
        return [output, *torch.autograd.grad(output.sin().sum(), [query, key, value])]

    expected = attend(0.0)
    with ExampleDropout(0, 0, range(3)) as dropout:
        torch.testing.assert_close(attend(0.0), expected, rtol=0, atol=0)
        assert not torch.equal(attend(0.3)[0], expected[0])
        torch.testing.assert_close(attend(1e-9), expected)  # drops nothing
        assert not attend(1.0)[0].any()
    assert not dropout.unplaced


def test_attention_drops_probabilities():
    value = torch.eye(5).expand(2, 4, 5, 5)  # so that the output is the probabilities
    with ExampleDropout(0, 0, range(2)):
        output = F.scaled_dot_product_attention(value * 0, value, value, dropout_p=0.4)
    torch.testing.assert_close(output, kept((2, 4, 5, 5), 0.4)[0] / 5 / 0.6)


def test_a_query_that_may_see_nothing_is_finite():
    query = torch.randn(2, 1, 3, 4, dtype=torch.float16, requires_grad=True)
    nothing = torch.zeros(2, 1, 1, 3, dtype=torch.bool)
    with ExampleDropout(0, 0, range(2)):
        F.scaled_dot_product_attention(query * 9, query, query, nothing, 0.1).sum().backward()
    assert query.grad.isfinite().all()


# Models

TINY = {
    "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 48, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
    "attention_dropout": 0.1, "initializer_range": 0.2,
}  # fmt: skip
LENGTHS = [5, 12, 7, 7, 3, 9, 4, 11, 8, 3, 6, 12, 10, 5, 4, 9]


def tiny(model_type: str, attention: str | None = None, **options):
    """A small model with random weights and dropout; an option None is left out."""
    chosen = {name: value for name, value in (TINY | options).items() if value is not None}
    config = CONFIG_MAPPING[model_type](**chosen)
    torch.manual_seed(0)
    try:
        return AutoModelForTokenClassification.from_config(config, attn_implementation=attention)
    except ValueError:  # no such head
        model = AutoModel.from_config(config, attn_implementation=attention)
        return model.get_encoder() if config.is_encoder_decoder else model


def batch_of(ids, lengths=LENGTHS) -> dict[str, torch.Tensor]:
    """The examples of these ids, padded."""
    rows = [torch.arange(lengths[example]) * 7 % 50 + 3 + example % 8 for example in ids]
    input_ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return {"input_ids": input_ids, "attention_mask": (input_ids != 0).long()}


def gradient(model, cut: list[list[int]], *, step=0, autocast=False) -> torch.Tensor:
    """Of an update's loss, over all parameters, with the global batch cut like this."""
    model.train().zero_grad()
    for ids in cut:
        batch = batch_of(ids)
        with ExampleDropout(0, step, ids), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits = model(**batch).logits
        labels = (batch["input_ids"] % 2).masked_fill(batch["attention_mask"] == 0, -100)
        F.cross_entropy(logits.float().mT, labels, reduction="sum").backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def apart(left: torch.Tensor, right: torch.Tensor) -> float:
    return float((left - right).norm() / right.norm())


CHECKPOINTING = {"use_reentrant": False, "context_fn": recompute_alike}
WHOLE = [list(range(16))]
CUTS = {
    "2x8": [list(range(0, 16, 2)), list(range(1, 16, 2))],
    "16x1": [[example] for example in range(16)],
    "2+14": [[3, 12], [example for example in range(16) if example not in (3, 12)]],
}


@pytest.mark.medium
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("model_type", ["bert", "qwen2"])
def test_gradients_do_not_depend_on_the_cut(model_type, attention):
    model = tiny(model_type, attention, num_key_value_heads=2)
    whole = gradient(model, WHOLE)
    for cut in CUTS.values():
        assert apart(gradient(model, cut), whole) < 1e-6
    assert apart(gradient(model, WHOLE, step=1), whole) > 0.05
    assert apart(gradient(model.float(), CUTS["2x8"], autocast=True), whole) < 0.05


def test_both_attentions_drop_the_same():
    gradients = [gradient(tiny("bert", attention), WHOLE) for attention in ("sdpa", "eager")]
    assert apart(*gradients) < 1e-5


@pytest.mark.parametrize("model_type", ["bert", "modernbert"])
@pytest.mark.parametrize("autocast", [False, True])
def test_recomputation_draws_the_same_masks(model_type, autocast):
    model = tiny(model_type, num_hidden_layers=3)
    expected = gradient(model, CUTS["2x8"], autocast=autocast)
    model.activation_checkpointing_enable(CHECKPOINTING)
    found = gradient(model, CUTS["2x8"], autocast=autocast)
    assert apart(found, expected) < 1e-6


def test_recomputation_without_the_context_is_noticed():
    model = tiny("bert", num_hidden_layers=3)
    model.activation_checkpointing_enable({"use_reentrant": False})
    with pytest.raises(CheckpointError):
        gradient(model, CUTS["2x8"])


def test_recomputation_within_recomputation_and_late():
    """Layers that share weights, checkpoints within checkpoints, backward after both forwards."""
    inner = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Dropout(0.3), torch.nn.Tanh())

    def again(function):
        return lambda x: checkpoint(function, x, use_reentrant=False, context_fn=recompute_alike)

    def gradients(wrap) -> list[torch.Tensor]:
        losses = []
        for ids in ([1, 2], [3]):
            layer = wrap(inner)
            with ExampleDropout(0, 0, ids):
                hidden = wrap(lambda x: layer(inner(layer(x))))(torch.ones(len(ids), 5, 8))  # noqa: B023
                losses.append(F.dropout(hidden, 0.3).sum())
        return [g for loss in losses for g in torch.autograd.grad(loss, [*inner.parameters()])]

    torch.testing.assert_close(gradients(again), gradients(lambda function: function))


def test_a_forward_goes_on_after_a_recomputation():
    weight = torch.ones(3, 5, requires_grad=True)

    def drop(x):
        return F.dropout(x, 0.3)

    def forward(call) -> list[torch.Tensor]:
        results = []
        with ExampleDropout(0, 0, [1, 2, 3]):
            for _ in range(3):
                output = call(lambda x: drop(drop(x)).exp(), weight)
                results.append(drop(weight))
                results += [*torch.autograd.grad(output.sum(), weight), drop(weight)]
        return results

    def recomputed(function, x):
        return checkpoint(function, x, use_reentrant=False, context_fn=recompute_alike)

    torch.testing.assert_close(forward(recomputed), forward(lambda function, x: function(x)))


def test_evaluation_of_a_checkpointed_model():
    model = tiny("bert").eval()
    expected = model(**batch_of([0, 1])).logits
    model.activation_checkpointing_enable(CHECKPOINTING)
    assert torch.equal(model(**batch_of([0, 1])).logits, expected)
    model.train()(**batch_of([0, 1])).logits.sum().backward()  # without hashed dropout


AGREE = {
    "bert": {}, "roberta": {}, "xlm-roberta": {}, "camembert": {}, "electra": {}, "mpnet": {},
    "albert": {}, "rembert": {}, "megatron-bert": {}, "ernie": {}, "esm": {}, "roformer": {},
    "deberta": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "deberta-v2": {"relative_attention": True, "pos_att_type": "p2c|c2p", "position_buckets": 8},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48},
    "modernbert": {"embedding_dropout": 0.1, "mlp_dropout": 0.1, "local_attention": 6},
    "eurobert": {}, "longformer": {"attention_window": 4}, "xlm-roberta-xl": {}, "mra": {},
    "mobilebert": {"embedding_size": 32, "intra_bottleneck_size": 32, "true_hidden_size": 32},
    "squeezebert": {"embedding_size": 32}, "ibert": {}, "data2vec-text": {}, "layoutlm": {},
    "t5": {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4},
    "mt5": {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4},
    "bart": {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 4},
    "xlm": {"emb_dim": 32, "n_layers": 2, "n_heads": 4},
    "flaubert": {"emb_dim": 32, "n_layers": 2, "n_heads": 4},
    "gpt2": {}, "gpt_neox": {"hidden_dropout": 0.1}, "bloom": {"hidden_dropout": 0.1}, "biogpt": {},
    "falcon": {"hidden_dropout": 0.1}, "llama": {"num_key_value_heads": 2},
    "mistral": {"num_key_value_heads": 2}, "qwen2": {"num_key_value_heads": 2},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 8}, "phi": {}, "olmo": {},
    "gemma": {"num_key_value_heads": 1, "head_dim": 8}, "gemma2": {"head_dim": 8},
    "big_bird": {},  # full attention, as it takes up to 704 sub-tokens
}  # fmt: skip
FUNNEL = {"d_model": 32, "n_head": 4, "d_head": 8, "d_inner": 48, "block_sizes": [1, 1]}
LOOK_ACROSS = {
    "convbert": {"conv_kernel_size": 3, "embedding_size": 32},  # convolution over padding
    "funnel": FUNNEL | {"num_hidden_layers": None, "max_position_embeddings": None},  # pooling
    "yoso": {},  # random hashes, even when it does not train
    "canine": {"local_transformer_stride": 8, "downsampling_rate": 4},
    "big_bird": {"attention_type": "block_sparse", "block_size": 2, "num_random_blocks": 1},
}
ONLY_DROPOUT_DIFFERS = {
    "xlnet": {  # drops distances, counted from the padded length
        "d_model": 32, "n_head": 4, "n_layer": 2, "d_inner": 48,
        "num_hidden_layers": None, "max_position_embeddings": None,
    },
    "opt": {"word_embed_proj_dim": 32, "ffn_dim": 48},  # flattens [batch, length]
}  # fmt: skip


class Disagreement(NamedTuple):
    """Largest difference over largest output of a model, examples together or each alone."""

    eval: float
    train: float
    unplaced: set[tuple[int, ...]]  # as in ExampleDropout

    @property
    def looks_across(self) -> bool:
        """The architecture itself sees padding or other examples."""
        return not self.eval < 1e-4  # rounding makes 1e-6; a NaN is no agreement

    @property
    def depends_on_cut(self) -> bool:
        """Numbers of a training depend on how a global batch is cut."""
        return not self.train < 1e-4


@torch.no_grad()
def find_disagreement(
    model: torch.nn.Module, together: Mapping[str, Tensor], apart: Sequence[Mapping[str, Tensor]]
) -> Disagreement:
    """Outputs in float32 of examples in one batch, and of each in one of its own.

    Args:
        together: what the model takes (no labels), padded on the right, [num_examples, length].
        apart: the same examples, one a batch. Two do, of different lengths, both above 2.
    """
    was_training, unplaced = model.training, set()

    def outputs(batch, example_ids: Sequence[int]) -> Tensor:
        with ExampleDropout(0, 0, example_ids) as dropout:
            found = model(**batch)
        unplaced.update(dropout.unplaced)
        return found if isinstance(found, Tensor) else found[0]

    def compare(training: bool) -> float:
        model.train(training)
        pairs = []
        for example, row in enumerate(outputs(together, range(len(apart)))):
            alone = outputs(apart[example], [example])[0]
            if alone.ndim > 1 and "attention_mask" in apart[example]:
                alone = alone[apart[example]["attention_mask"][0].bool()]
            pairs.append((row[: len(alone)], alone))
        row, alone = (torch.cat(side).flatten() for side in zip(*pairs, strict=True))
        return float((row - alone).abs().max() / alone.abs().max())

    try:
        return Disagreement(compare(False), compare(True), unplaced)
    finally:
        model.train(was_training)


def disagreement(model_type: str, options: dict):
    lengths = [27, 41]
    batches = [batch_of(ids, lengths) for ids in ([0, 1], [0], [1])]
    return find_disagreement(tiny(model_type, **options), batches[0], batches[1:])


@pytest.mark.medium
@pytest.mark.parametrize("model_type", AGREE)
def test_architectures_that_agree(model_type):
    found = disagreement(model_type, AGREE[model_type])
    assert not found.looks_across
    assert not found.depends_on_cut
    assert bool(found.unplaced) == (model_type in ("deberta", "deberta-v2"))


@pytest.mark.parametrize("model_type", LOOK_ACROSS)
def test_architectures_that_look_across_padding(model_type):
    found = disagreement(model_type, LOOK_ACROSS[model_type])
    assert found.looks_across
    assert found.depends_on_cut


@pytest.mark.medium
@pytest.mark.parametrize("model_type", ONLY_DROPOUT_DIFFERS)
def test_architectures_whose_dropout_depends_on_the_cut(model_type):
    found = disagreement(model_type, ONLY_DROPOUT_DIFFERS[model_type])
    assert not found.looks_across
    assert found.depends_on_cut


def test_the_dry_pass_leaves_the_model_as_it_was():
    model = tiny("bert").eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    assert find_disagreement(model, batch_of([0, 1]), [batch_of([0]), batch_of([1])]).train < 1e-5
    assert not model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_dry_pass_compares_real_positions_only():
    class OnlyPaddingDiffers(torch.nn.Module):
        def forward(self, input_ids, attention_mask):
            garbage = torch.rand(input_ids.shape)
            return torch.where(attention_mask.bool(), input_ids.float(), garbage).unsqueeze(-1)

    together, *padded = (batch_of(ids) for ids in ([0, 1], [0], [1]))
    padded = [{name: F.pad(value, (0, 3)) for name, value in batch.items()} for batch in padded]
    together = {name: F.pad(value, (0, 3)) for name, value in together.items()}
    assert not find_disagreement(OnlyPaddingDiffers(), together, padded).depends_on_cut


@pytest.mark.slow
def test_a_compiled_model_has_the_same_masks_and_is_compiled_once():
    headers = Path(sysconfig.get_path("include"), "Python.h")
    if not shutil.which("g++") or not headers.exists():
        pytest.skip("inductor wants g++ and Python's headers")
    torch.manual_seed(0)
    layer, compilations = nn.Linear(8, 8), []

    def forward(x):
        x = F.dropout(layer(x), 0.3)
        heads = x.view(3, 7, 2, 4).transpose(1, 2)
        return F.scaled_dot_product_attention(heads, heads, heads, dropout_p=0.3)

    def backend(graph, inputs):
        compilations.append(graph)
        return compile_fx(graph, inputs)

    compiled, x = torch.compile(forward, backend=backend), torch.randn(3, 7, 8)
    for step in range(3):
        found = []
        for function in (forward, compiled):
            layer.zero_grad()
            with ExampleDropout(0, step, [4, 5 + step, 6]):
                output = function(x)
            output.square().sum().backward()
            found.append((output.detach(), layer.weight.grad.clone()))
        torch.testing.assert_close(found[0], found[1])
    assert len(compilations) == 1
