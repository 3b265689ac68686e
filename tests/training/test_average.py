"""The average of the weights is what a run evaluates, saves and applies."""

import shutil

import numpy as np
import pytest
import tiny
import torch
from launches import SMALL, read_json, read_metrics
from safetensors.torch import load_file

import train_loop
from tagloop.training.average import WeightAverage
from tagloop.training.optim import parameter_groups
from tagloop.training.vocabulary import compact_vocabulary

SHOWN = np.array([3, 11, 12, 50, 51, 120])
AVERAGED = ["--ema_decay=0.6", "--weight_decay=0.5", "--max_train_steps=6", "--eval_steps=3"]


class Training:
    """A model that learns, its averages, and the averages as their formula has them."""

    def __init__(self, ids=None, decay=0.9):
        self.model = tiny.build_model(tiny.model_config("bert", pad_token_id=3))
        self.vocabulary = compact_vocabulary(self.model, ids)
        groups = parameter_groups(self.model, weight_decay=0.5)
        self.optimizer = torch.optim.AdamW(groups, lr=0.05)
        self.average = WeightAverage(self.model, self.optimizer, self.vocabulary, decay=decay)
        self.expected, self.step, self.decay = self.whole(), 0, decay

    def run(self, updates):
        for _ in range(updates):
            ids = torch.from_numpy(np.random.default_rng(self.step).choice(SHOWN, (2, 8)))
            self.model(input_ids=ids).logits.logsumexp(-1).sum().backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.vocabulary.after_update(self.optimizer)
            self.average.after_update(self.step)
            decay = min(self.decay, (1 + self.step) / (10 + self.step))
            for name, tensor in self.whole().items():
                self.expected[name] = decay * self.expected[name] + (1 - decay) * tensor
            self.step += 1
        return self

    def whole(self, shrink=None):
        """All weights, those of waiting rows, too."""
        weights = self.vocabulary.whole(self.model.state_dict(), shrink)
        return {n: (t.whole() if hasattr(t, "whole") else t.clone()) for n, t in weights.items()}


@pytest.mark.parametrize("ids", [None, [SHOWN]])
def test_the_average_is_that_of_every_weight_and_of_rows_that_wait(ids):
    training = Training(ids).run(8)
    assert training.vocabulary.is_compact == (ids is not None)
    before = training.whole()
    with training.average.in_use():
        averaged = training.whole(training.average.shrink)
    assert all(tensor.equal(before[name]) for name, tensor in training.whole().items())
    for name, tensor in averaged.items():
        torch.testing.assert_close(tensor, training.expected[name], rtol=1e-4, atol=1e-6)
    training.average.keep()
    assert all(tensor.equal(averaged[name]) for name, tensor in training.whole().items())
    assert not averaged["classifier.weight"].allclose(before["classifier.weight"], rtol=1e-3)
    table = training.vocabulary.embedding.weight
    assert len(table) == (len(SHOWN) if ids else 400)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("average") / "run"
    train_loop.main([*SMALL, *AVERAGED, "--checkpointing_steps=1", f"--output_dir={folder}"])
    return folder


@pytest.mark.slow
def test_checkpoints_hold_weights_and_their_average(run):
    """Of each weight and row: the table is whole in a file, and most of its rows wait."""
    average = load_file(run / "step_1" / "model.safetensors")
    for step in range(2, 7):
        trained = load_file(run / f"step_{step}" / "trained.safetensors")
        decay = min(0.6, step / (9 + step))
        average = {name: decay * average[name] + (1 - decay) * trained[name] for name in average}
        saved = load_file(run / f"step_{step}" / "model.safetensors")
        for name, tensor in average.items():
            torch.testing.assert_close(saved[name], tensor, rtol=1e-5, atol=1e-6)
    assert not saved["classifier.weight"].equal(trained["classifier.weight"])
    assert (run / "model.safetensors").read_bytes() == (
        run / "step_6" / "model.safetensors"
    ).read_bytes()


@pytest.mark.slow
def test_what_was_evaluated_is_what_is_saved(run, tmp_path):
    options = [*SMALL, "--do_eval", "--do_predict", f"--model_name_or_path={run}"]
    scores = train_loop.main([*options, f"--output_dir={tmp_path / 'evaluation'}"])
    last = [line for line in read_metrics(run) if "eval_loss" in line][-1]
    assert scores["eval_loss"] == pytest.approx(last["eval_loss"], rel=1e-5)
    assert scores["test_loss"] == read_json(run / "all_results.json")["test_loss"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "then"), [([], "--full_vocabulary"), (["--full_vocabulary"], "--seed=42")]
)
def test_rows_that_wait_only_in_one_of_two_sessions_have_the_same_average(
    run, first, then, tmp_path
):
    options, resumed = [*SMALL, *AVERAGED, "--checkpointing_steps=1"], tmp_path / "run"
    train_loop.main([*options, *first, f"--output_dir={tmp_path / 'first'}"])
    shutil.copytree(tmp_path / "first" / "step_3", resumed / "step_3")
    shutil.copy(tmp_path / "first" / "metrics.jsonl", resumed)
    train_loop.main([*options, then, f"--output_dir={resumed}", "--resume_from_checkpoint=auto"])
    expected, found = (load_file(each / "model.safetensors") for each in (run, resumed))
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-4)
