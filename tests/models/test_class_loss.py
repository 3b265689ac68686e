"""The loss of a class: transformers', torch's and scikit-learn's, and all of them together."""

import dataclasses
import json

import numpy as np
import pytest
import tiny
import torch
from accelerate import Accelerator
from launches import SMALL
from sklearn.utils.class_weight import compute_class_weight
from torch.nn.functional import cross_entropy
from transformers.trainer_pt_utils import LabelSmoother

import train_loop
from postprocess import predict_split
from tagloop.batches.examples import IGNORE_INDEX
from tagloop.errors import InputError
from tagloop.models.class_loss import (
    ClassLoss,
    balanced_weights,
    build_class_loss,
    read_class_weights,
)
from tagloop.options.class_loss import ClassLossOptions
from tagloop.options.config import Config
from tagloop.tasks.tagging.task import Tagging

LABELS = ["O", "B-PER", "I-PER", "B-new name"]
WEIGHTS = np.array([0.2, 3.0, 1.0, 7.5])


def targets(dtype=torch.float64):
    generator = torch.manual_seed(0)
    logits = (3 * torch.randn(40, 4, generator=generator)).to(dtype)
    labels = torch.randint(0, 4, (40,), generator=generator)
    labels[::5] = IGNORE_INDEX
    return logits.requires_grad_(), labels


def test_nothing_asked_is_cross_entropy_to_the_bit():
    logits, labels = targets(torch.float32)
    assert torch.equal(ClassLoss()(logits, labels), cross_entropy(logits, labels, reduction="none"))


def test_label_smoothing_is_that_of_transformers():
    logits, labels = targets()
    expected = LabelSmoother(epsilon=0.3)({"logits": logits}, labels)
    losses = ClassLoss(smoothing=0.3)(logits, labels)
    torch.testing.assert_close(losses.sum() / (labels != IGNORE_INDEX).sum(), expected)


def test_weights_are_those_of_torch():
    logits, labels = targets()
    expected = cross_entropy(logits, labels, torch.from_numpy(WEIGHTS))
    losses = ClassLoss(weights=WEIGHTS)(logits, labels)
    weight = WEIGHTS[labels[labels != IGNORE_INDEX]].sum()
    torch.testing.assert_close(losses.sum() / weight, expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.medium
def test_all_options_combine_as_the_formula_says(gamma, smoothing, weights):
    logits, labels = targets()
    loss = ClassLoss(smoothing, gamma, weights)
    for row, label, found in zip(logits, labels.tolist(), loss(logits, labels), strict=True):
        expected = 0.0
        for other, p in enumerate(row.softmax(0).tolist() if label != IGNORE_INDEX else []):
            share = smoothing / 4 + (1 - smoothing) * (other == label)
            weight = 1.0 if weights is None else weights[label]
            expected += weight * share * (1 - p) ** gamma * -np.log(p)
        assert found.item() == pytest.approx(expected, rel=1e-9)
    assert torch.autograd.gradcheck(lambda each: loss(each, labels), (logits,))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_a_sure_model_has_finite_gradients(gamma):
    logits = torch.tensor([[200.0, 0, 0, 0], [0, -200, 0, 0]], requires_grad=True)
    ClassLoss(0.1, gamma, WEIGHTS)(logits, torch.tensor([0, 1])).sum().backward()
    assert logits.grad.isfinite().all()


def test_balanced_weights_are_those_of_scikit_learn():
    labels = np.repeat([0, 1, 2], [700, 30, 5])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(balanced_weights(np.bincount(labels)), expected)


@pytest.mark.parametrize(
    "content",
    ["O 0.5\nB-new name 2\n", "\n B-new name  2 \nO\t0.5", '{"O": 0.5, "B-new name": 2}'],
)
def test_weights_of_a_file(content, tmp_path):
    (tmp_path / "w").write_text(content, encoding="utf-8")
    assert read_class_weights(tmp_path / "w", LABELS).tolist() == [0.5, 1, 1, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("O 1\nB-LOC 2\n", r"w:2: 'B-LOC' is no class of the model; it has O, B-PER, I-PER"),
        ("O 1\nO 2\n", r"w:2: 'O' again"),
        ("O -1\n", r"w:1: the weight of 'O' is '-1'; write 0, or a number from"),
        ("O 1e-30\n", r"w:1: the weight of 'O' is '1e-30'"),
        ("O 1e30\n", r"w:1: the weight of 'O' is '1e30'"),
        ('{"O": 1, "O": 2}', r"w: 'O' again"),
        ("O nan\n", r"w:1: the weight of 'O' is 'nan'"),
        ("O inf\n", r"w:1: the weight of 'O' is 'inf'"),
        ("O\n", r"w:1: write a class and its weight"),
        ("O\t1\t2\n", r"w:1: write a class and its weight"),
        ("", r"w: no weights"),
        ('{"O": "much"}', r"w: the weight of 'O' is '\"much\"'"),
        ('{"O": [1]}', r"w: the weight of 'O' is '\[1\]'"),
        ('{"O": 1', r"w: begins like JSON and is none"),
        ("[1, 2]", r"w: is no JSON object"),
        ("O 0\nB-PER 0\nI-PER 0\nB-new name 0", r"w: all weights are 0"),
    ],
)
def test_bad_weights_are_named_in_one_line(content, message, tmp_path):
    (tmp_path / "w").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message) as refusal:
        read_class_weights(tmp_path / "w", LABELS)
    assert "\n" not in str(refusal.value)


def test_weights_that_leave_nothing_to_learn_are_refused(tmp_path):
    """The data has no B-PER."""
    (tmp_path / "w").write_text("O 0\nI-PER 0\nB-new name 0\n")
    options = ClassLossOptions(class_weights=str(tmp_path / "w"))
    assert build_class_loss(options, LABELS, lambda: np.array([5, 1, 2, 0])).weights is not None
    with pytest.raises(InputError, match="every class that the training data has weighs 0"):
        build_class_loss(options, LABELS, lambda: np.array([5, 0, 2, 0]))


@pytest.mark.medium
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--class_weights=no"], "--class_weights no: cannot be read (No such file or directory)"),
        (["--label_smoothing_factor=1"], "--label_smoothing_factor 1.0: must be below 1"),
        (["--focal_gamma=-1"], "--focal_gamma -1.0: must be at least 0"),
    ],
)
def test_bad_options_are_refused(options, message, tmp_path, capfd):
    assert train_loop.cli([*options, f"--output_dir={tmp_path / 'run'}"]) == 2
    assert message in capfd.readouterr().err


def test_the_loss_of_a_split_is_divided_by_the_weights_of_its_targets():
    tokenizer = tiny.tokenizer_like("word_piece")
    model = tiny.build_model(tiny.model_config("bert", LABELS[:3]))
    tokens = tiny.sentences(1, 20)
    tags = tiny.random_tags(2, tokens, LABELS[:3])
    windows = tiny.build_windows(
        tokenizer, tokens, tags, LABELS[:3], max_length=16, label_all_tokens=True
    )
    loss = ClassLoss(0.1, 2.0, WEIGHTS[:3])
    split = dataclasses.replace(windows, class_weights=loss.weights)
    task = Tagging(Config(), None, None, None, {"test": split}, "f1", class_loss=loss)
    found = predict_split(Accelerator(cpu=True), model, task, "test", batch_size=4)
    total = weight = 0.0
    with torch.no_grad():
        for number in range(len(windows)):
            batch = windows.collate(np.array([number]))
            labels = batch.pop("labels")[0]
            total += loss(model(**batch).logits[0], labels).sum().item()
            weight += WEIGHTS[labels[labels != IGNORE_INDEX]].sum()
    assert found.loss == pytest.approx(total / weight, abs=2e-5)


@pytest.mark.slow
def test_a_run_with_other_weights_is_not_resumed(tmp_path, capfd):
    file = tmp_path / "weights.txt"
    file.write_text("O 0.5\n", encoding="utf-8")
    options = [*SMALL, "--max_train_steps=2", "--checkpointing_steps=1", "--no_report",
               "--label_smoothing_factor=0.1", "--focal_gamma=2"]  # fmt: skip
    run = tmp_path / "run"
    assert train_loop.cli([*options, f"--class_weights={file}", f"--output_dir={run}"]) == 0
    record = json.loads((run / "run.json").read_text(encoding="utf-8")) | {"finished": False}
    (run / "run.json").write_text(json.dumps(record), encoding="utf-8")
    again = [*options, f"--output_dir={run}", "--resume_from_checkpoint=auto"]
    for weights in ([], ["--class_weights=balanced"], [f"--class_weights={file}"]):
        file.write_text("O 0.25\n", encoding="utf-8")
        assert train_loop.cli([*again, *weights]) == 2
        assert 'class_weights was {"O": 0.5} and is now' in capfd.readouterr().err
    moved = file.rename(tmp_path / "moved.json")
    moved.write_text('{"O": 0.5}', encoding="utf-8")
    assert train_loop.cli([*again, f"--class_weights={moved}"]) == 0
    capfd.readouterr()
    scored = ["--do_eval", "--class_weights=balanced", f"--model_name_or_path={run}"]
    assert train_loop.cli([*scored, f"--output_dir={tmp_path / 'scored'}"]) == 2
    assert "--class_weights balanced: counts the classes" in capfd.readouterr().err
