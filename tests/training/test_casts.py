"""casts.py: an update in bf16 learns the same bits as with autocast alone, with fewer casts."""

import contextlib

import pytest
import tiny
import torch
from launches import SMALL, launch, read_json
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import train_loop
from tagloop.processes.launch import build_accelerator
from tagloop.run import Run
from tagloop.training.casts import WeightCasts
from tagloop.training.dropout import ExampleDropout
from tagloop.training.memory import recompute_layers

BF16 = [*SMALL, "--mixed_precision=bf16", "--max_train_steps=5", "--gradient_accumulation_steps=2"]
AUTOCAST_ALONE = contextlib.nullcontext()
LENGTHS = [5, 12, 7, 7, 3, 9, 4, 11, 8, 3]
MICRO_BATCHES = [[0, 3, 5, 9], [1, 2, 8]]
LAYERS = {"num_hidden_layers": 2}
ARCHITECTURES = {
    "bert": LAYERS,
    "roberta": LAYERS,
    "distilbert": {"n_layers": 2},
    "electra": LAYERS,
    "albert": {"num_hidden_layers": 3, "embedding_size": 16},  # uses one layer three times
    "gpt2": {"n_layer": 2},  # has Conv1D
    "deberta-v2": LAYERS | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "modernbert": LAYERS,
    "convbert": {"embedding_size": 16, "conv_kernel_size": 9, "num_hidden_layers": 2},
    "qwen2": LAYERS | {"num_key_value_heads": 2},
    "t5": {"num_layers": 2},
}


def batch_of(ids):
    rows = [torch.arange(LENGTHS[example]) * 7 % 50 + 3 + example for example in ids]
    input_ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return {"input_ids": input_ids, "attention_mask": (input_ids != 0).long()}


@pytest.fixture
def accelerator(no_accelerator):
    return build_accelerator(mixed_precision="bf16", log_with=None)


def learn(accelerator, model, casts, step=0):
    """The losses and gradients of an update, and the dtypes of the weights in its layers."""
    model.zero_grad()
    losses = []
    with casts:
        dtypes = {parameter.dtype for parameter in model.parameters()}
        for ids in MICRO_BATCHES:
            batch = batch_of(ids)
            with ExampleDropout(0, step, ids):
                logits = model(**batch)[0]
            loss = logits.float().square().sum()
            accelerator.backward(loss)
            losses.append(loss.item())
    return losses, {name: p.grad for name, p in model.named_parameters()}, dtypes


def assert_same_bits(found, expected):
    assert found[0] == expected[0]
    assert found[1].keys() == expected[1].keys()
    for name, grad in expected[1].items():
        assert (found[1][name] is None) == (grad is None), name
        assert grad is None or torch.equal(found[1][name], grad), name
        assert grad is None or found[1][name].dtype == torch.float32


@pytest.mark.parametrize("model_type", ARCHITECTURES)
@pytest.mark.medium
def test_losses_and_gradients_have_the_bits_of_autocast(accelerator, model_type):
    model = tiny.build_model(tiny.model_config(model_type, **ARCHITECTURES[model_type]))
    model = accelerator.prepare_model(model).train()
    casts = WeightCasts(accelerator, model)
    for step in range(2):
        expected = learn(accelerator, model, AUTOCAST_ALONE, step)
        found = learn(accelerator, model, casts, step)
        assert_same_bits(found, expected)
    assert torch.bfloat16 in found[2], "the second update has cast weights"
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


class NoteCasts(TorchDispatchMode):
    """Counts the operations that cast one tensor, and those that cast several."""

    def __init__(self):
        super().__init__()
        self.of_one = self.of_several = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.of_one += function is torch.ops.aten._to_copy.default
        self.of_several += function is torch.ops.aten._foreach_copy_.default
        return function(*args, **(kwargs or {}))


def test_an_update_casts_all_weights_at_once_and_gradients_by_layer(accelerator):
    model = tiny.build_model(tiny.model_config("bert", num_hidden_layers=3))
    model = accelerator.prepare_model(model).train()
    casts = WeightCasts(accelerator, model)
    learn(accelerator, model, casts)
    with NoteCasts() as alone:
        learn(accelerator, model, AUTOCAST_ALONE)
    with NoteCasts() as together:
        learn(accelerator, model, casts)
    num_weights, groups, micro_batches = 2 * (3 * 6 + 1), 3 + 1, len(MICRO_BATCHES)
    assert alone.of_one - together.of_one == 2 * num_weights * micro_batches
    assert together.of_several - alone.of_several == 1 + groups * micro_batches


@pytest.mark.parametrize("model_type", ["bert", "modernbert", "qwen2"])
def test_so_they_have_where_layers_are_recomputed(accelerator, model_type):
    model = tiny.build_model(tiny.model_config(model_type, **ARCHITECTURES[model_type]))
    recompute_layers(model)
    model = accelerator.prepare_model(model).train()
    casts = WeightCasts(accelerator, model)
    for step in range(2):
        expected = learn(accelerator, model, AUTOCAST_ALONE, step)
        assert_same_bits(learn(accelerator, model, casts, step), expected)


class Odd(nn.Module):
    """Uses weights in every way that a model may use them."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(64, 8)
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        self.second.weight = self.first.weight  # two layers with one weight
        self.read = nn.Linear(8, 64)  # is never called; the model reads its weight as it is
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.precise = nn.Linear(8, 8)  # computes in float32
        self.unused = nn.Linear(8, 8)
        self.tied = nn.Linear(8, 64, bias=False)
        self.tied.weight = self.table.weight  # a layer and an embedding with one weight

    def forward(self, input_ids, attention_mask):
        hidden = self.table(input_ids) + self.read.weight[input_ids]
        hidden = self.frozen(self.second(self.first(hidden).tanh()).tanh())
        with torch.autocast("cpu", enabled=False):
            hidden = self.precise(hidden.float())
        return (self.tied(hidden * attention_mask[..., None]),)


def test_weights_that_are_shared_read_frozen_or_unused(accelerator):
    torch.manual_seed(0)
    model = accelerator.prepare_model(Odd()).train()
    casts = WeightCasts(accelerator, model)
    for _ in range(3):
        expected = learn(accelerator, model, AUTOCAST_ALONE)
        found = learn(accelerator, model, casts)
        assert_same_bits(found, expected)
    assert found[1]["frozen.weight"] is None
    assert found[1]["unused.weight"] is None
    with casts:
        names = ("first", "frozen", "tied", "read", "precise", "unused", "table")
        low = {name for name in names if getattr(model, name).weight.dtype == torch.bfloat16}
    assert low == {"first", "frozen", "tied"}
    model.first.requires_grad_(False)  # An edit may freeze a layer between two updates.
    assert_same_bits(learn(accelerator, model, casts), learn(accelerator, model, AUTOCAST_ALONE))


def test_the_model_has_its_parameters_again_after_an_error(accelerator):
    model = tiny.build_model(tiny.model_config("bert")).train()
    model = accelerator.prepare_model(model)
    casts, before = WeightCasts(accelerator, model), dict(model.named_parameters())
    learn(accelerator, model, casts)
    with contextlib.suppress(ZeroDivisionError), casts:
        assert torch.bfloat16 in {parameter.dtype for parameter in model.parameters()}
        raise ZeroDivisionError
    after = dict(model.named_parameters())
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] for name in before)


def test_without_mixed_precision_nothing_is_cast(no_accelerator):
    accelerator = build_accelerator(mixed_precision="no", log_with=None)
    model = tiny.build_model(tiny.model_config("bert")).train()
    casts = WeightCasts(accelerator, accelerator.prepare_model(model))
    for _ in range(2):
        assert learn(accelerator, model, casts)[2] == {torch.float32}


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


@pytest.mark.medium
@pytest.mark.parametrize(
    "options",
    [
        ["--gradient_checkpointing"],
        ["--no_packing"],
        # Their output layer is the input embedding, which autocast casts for the output alone.
        ["--task_name=clm", "--max_train_steps=2"],
        ["--task_name=mlm", "--max_train_steps=2", "--gradient_checkpointing"],
        ["--task_name=qa", "--max_train_steps=2"],
        # Encoder-decoders, two with three embeddings and one that hears.
        *(
            pytest.param(
                [
                    f"--task_name={task}",
                    "--max_train_steps=2",
                    "--max_eval_samples=4",
                    "--max_predict_samples=4",
                    *more,
                ],
                marks=pytest.mark.slow,
            )
            for task, more in (
                ("t5_mlm", ["--gradient_checkpointing"]),
                ("summarization", ["--no_predict_with_generate"]),
                ("speech", ["--no_predict_with_generate"]),
            )
        ),
    ],
    ids=" ".join,
)
def test_a_run_ends_with_the_bytes_that_autocast_alone_ends_with(
    tmp_path, monkeypatch, options, no_accelerator
):
    cast, alone = tmp_path / "cast", tmp_path / "alone"
    train_loop.main([*BF16, *options, f"--output_dir={cast}"])
    monkeypatch.setattr(Run, "casts", AUTOCAST_ALONE)
    train_loop.main([*BF16, *options, f"--output_dir={alone}"])
    assert weights(cast) == weights(alone)
    assert (cast / "metrics.jsonl").read_bytes() == (alone / "metrics.jsonl").read_bytes()


@pytest.mark.slow
def test_so_does_a_run_of_two_processes(tmp_path):
    for name in ("cast", "alone"):
        launch(
            *BF16, f"--output_dir={tmp_path / name}", processes=2,
            script="tests/casts_worker.py", environment={"CASTS": name},
        )  # fmt: skip
    assert weights(tmp_path / "cast") == weights(tmp_path / "alone")
    assert read_json(tmp_path / "cast" / "all_results.json")["train_loss"] > 0
