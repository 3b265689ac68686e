"""A checkpoint is whole or not there; damage is found; other runs are refused."""

import contextlib
import dataclasses
import errno
import json
import os
import pickle
import shutil
import subprocess
import sys

import pytest
import torch
from launches import REPO, SMALL, read_json, read_metrics
from safetensors.torch import load_file, save_file

import train_loop
from tagloop import files
from tagloop.checkpoints import checkpoint, identity, resume, save
from tagloop.errors import InputError, RunStopped
from tagloop.options.command_line import parse_config
from tagloop.options.config import MAY_CHANGE_ON_RESUME, Config
from tagloop.options.lists import tasks_of
from tagloop.options.settle import settle

TWO = [*SMALL, "--max_train_steps=6", "--checkpointing_steps=2", "--logging_steps=1"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with checkpoints after updates 2, 4 and 6."""
    folder = tmp_path_factory.mktemp("run") / "run"
    train_loop.main([*TWO, f"--output_dir={folder}"])
    return folder


@pytest.fixture
def run_copy(finished, tmp_path):
    """That run, as if it had been stopped before it was finished."""
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    record = read_json(folder / "run.json") | {"finished": False}
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "model.safetensors").unlink()
    return folder


def go_on(folder, *options, where="auto"):
    return train_loop.main(
        [*TWO, f"--output_dir={folder}", f"--resume_from_checkpoint={where}", *options]
    )


def rewrite(folder, manifest):
    """Write a manifest that vouches for itself, as an attacker would."""
    manifest.pop("sha256", None)
    manifest["sha256"] = checkpoint._digest(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def files_of_a_checkpoint():
    return ["manifest.json", "model.safetensors", "optimizer.safetensors", "optimizer.json",
            "config.json", "tokenizer.json"]  # fmt: skip


DAMAGE = {
    "truncated": lambda path: os.truncate(path, path.stat().st_size - 1),
    "emptied": lambda path: os.truncate(path, 0),
    "flipped": lambda path: path.write_bytes(
        (data := path.read_bytes())[: len(data) // 2]
        + bytes([data[len(data) // 2] ^ 1])
        + data[len(data) // 2 + 1 :]
    ),
    "deleted": lambda path: path.unlink(),
    "linked": lambda path: path.symlink_to(path.rename(path.with_suffix(".x"))),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", files_of_a_checkpoint())
def test_damage_is_found_in_every_file(finished, tmp_path, name, damage):
    output = tmp_path / "run"
    for step in ("step_4", "step_6"):
        shutil.copytree(finished / step, output / step)
    DAMAGE[damage](output / "step_6" / name)
    said = []
    folder, facts = resume.find_checkpoint("auto", output, said.append)
    assert (folder.name, facts.step) == ("step_4", 4)
    assert len(said) == 1
    assert "step_6" in said[0]
    with pytest.raises(InputError, match="step_6"):
        resume.find_checkpoint(str(output / "step_6"), output, said.append)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "sub/file", "..", "."])
def test_a_manifest_cannot_point_outside(finished, tmp_path, name):
    folder = tmp_path / "step_6"
    shutil.copytree(finished / "step_6", folder)
    manifest = read_json(folder / "manifest.json")
    manifest["files"][name] = {"size": 1, "sha256": "0" * 64}
    rewrite(folder, manifest)
    with pytest.raises(checkpoint.DamagedCheckpoint, match="no plain file"):
        checkpoint.verify(folder)


def test_another_format_version_is_refused_clearly(finished, tmp_path):
    folder = tmp_path / "step_6"
    shutil.copytree(finished / "step_6", folder)
    rewrite(folder, read_json(folder / "manifest.json") | {"format_version": 99})
    with pytest.raises(InputError, match="format 99"):
        resume.find_checkpoint(str(folder), tmp_path, print)


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("name", [*files_of_a_checkpoint(), "optimizer.pt", "pytorch_model.bin"])
@pytest.mark.slow
def test_a_planted_pickle_never_runs(run_copy, tmp_path, name):
    """Even when the manifest vouches for it."""
    fired = tmp_path / "fired"
    planted = run_copy / "step_6" / name
    torch.save({"optimizer": Bomb(fired)}, planted) if name.endswith((".pt", ".bin")) else (
        planted.write_bytes(pickle.dumps(Bomb(fired)))
    )
    if name != "manifest.json":
        manifest = read_json(run_copy / "step_6" / "manifest.json")
        known = {"size": planted.stat().st_size, "sha256": files.sha256_of(planted)}
        manifest["files"][name] = known
        rewrite(run_copy / "step_6", manifest)
    with contextlib.suppress(Exception):  # refused, or passed over: either is fine
        go_on(run_copy)
    assert not fired.exists()


def test_auto_falls_back_and_ends_with_the_same_bytes(finished, run_copy, capfd):
    (run_copy / "step_6" / "optimizer.safetensors").write_bytes(b"")
    go_on(run_copy)
    assert "passed over" in capfd.readouterr().out
    for name in ("model.safetensors", "metrics.jsonl", "predictions.conll", "eval_results.json"):
        assert (run_copy / name).read_bytes() == (finished / name).read_bytes()
    assert checkpoint.verify(run_copy / "step_6")["step"] == 6


def test_an_explicit_damaged_checkpoint_is_an_error(run_copy, capfd):
    (run_copy / "step_6" / "model.safetensors").write_bytes(b"")
    code = train_loop.cli(
        [*TWO, f"--output_dir={run_copy}", f"--resume_from_checkpoint={run_copy / 'step_6'}"]
    )
    assert code == 2
    assert "model.safetensors has 0 bytes" in capfd.readouterr().err


CHANGED = {  # another valid value for every option
    "dataset_name": "x", "dataset_config_name": "x", "dataset_revision": "x", "train_file": "x",
    "train_split_name": "x", "eval_split_name": "x", "config_overrides": "x=1", "use_cpu": True,
    "validation_file": "x", "test_file": "x", "predict_file": "x", "text_column_name": "x",
    "text_pair_column_name": "x",
    "label_column_name": "x", "task_name": "chunk", "label_scheme": "IOB2", "labels_file": "x",
    "misaligned": "drop", "validation_split_percentage": 7, "block_size": 16, "append_eos": False,
    "keep_linebreaks": False, "mlm_probability": 0.2, "line_by_line": True, "doc_stride": 5,
    "mean_noise_span_length": 2.0,
    "version_2_with_negative": True, "null_score_diff_threshold": 0.5, "n_best_size": 3,
    "max_answer_length": 5, "static_shapes": 4, "summary_column": "x", "source_prefix": "x",
    "max_source_length": 9, "max_target_length": 9, "val_max_target_length": 9,
    "generation_max_length": 9, "num_beams": 2, "predict_with_generate": False,
    "ignore_pad_token_for_loss": False, "audio_column_name": "x", "language": "en",
    "max_duration_in_seconds": 9.0, "min_duration_in_seconds": 0.5, "whisper_task": "translate",
    "do_lower_case": False, "feature_extractor_name": "x", "freeze_encoder": True,
    "label_all_tokens": True, "validation_fraction": 0.5, "max_train_samples": 60,
    "max_eval_samples": 20, "max_predict_samples": 5, "max_length": 64, "stride": 3,
    "context_tokens": 8, "document_column_name": "x", "unmarked_split": "document",
    "decoding": "best", "pad_to_max_length": True, "preprocessing_num_workers": 2,
    "model_name_or_path": "x", "config_name": "x",
    "tokenizer_name": "x", "model_type": "bert", "ignore_mismatched_sizes": True,
    "allow_partial_weights": True, "dropout": "per_process", "full_vocabulary": True,
    "async_checkpoints": False, "report": False, "profile": True, "auto_micro_batch": True,
    "check_data": True, "show_examples": 1,
    "trust_remote_code": True, "per_device_train_batch_size": 4, "per_device_eval_batch_size": 4,
    "gradient_accumulation_steps": 3, "learning_rate": 1e-4, "weight_decay": 0.1,
    "head_learning_rate": 1e-3, "layerwise_lr_decay": 0.9, "freeze_embeddings": True,
    "freeze_layers": 1, "optimizer": "torch.optim:NAdam", "ema_decay": 0.9,
    "lora_rank": 2, "lora_alpha": 3, "lora_target_modules": "query",
    "max_grad_norm": 2.0, "num_train_epochs": 7, "max_train_steps": 9,
    "lr_scheduler_type": "cosine", "num_warmup_steps": 3.0, "group_by_length": True,
    "packing": False,
    "gradient_checkpointing": True, "mixed_precision": "bf16", "seed": 1,
    "dataloader_num_workers": 1, "do_train": False, "do_eval": False, "do_predict": False,
    "debug": True, "return_entity_level_metrics": True, "eval_steps": 1, "logging_steps": 3,
    "metric_for_best_model": "loss", "load_best_model_at_end": True, "early_stopping_patience": 2,
    "output_dir": "x", "overwrite_output_dir": True, "checkpointing_steps": "epoch",
    "checkpoints_total_limit": 2, "resume_from_checkpoint": "x", "with_tracking": True,
    "report_to": "tensorboard", "push_to_hub": True, "hub_model_id": "x", "hub_token": "x",
    "hub_private_repo": True, "config": "x",
    "label_smoothing_factor": 0.1, "class_weights": "balanced", "focal_gamma": 2.0,
    "seeds": "1,2", "folds": 3, "fold": 2, "train_on_validation": True,
}  # fmt: skip


@pytest.mark.parametrize("name", Config.__dataclass_fields__)
@pytest.mark.medium
def test_every_option_may_change_on_resume_or_is_refused_by_name(finished, name):
    saved = checkpoint.verify(finished / "step_4")["identity"]
    config = settle(parse_config([*TWO, "--output_dir=elsewhere"]), None)
    if config.task_name not in tasks_of(name):  # a run of a task that takes the option
        config = dataclasses.replace(config, task_name=tasks_of(name)[0])
        saved = saved | {"options": saved["options"] | {"task_name": config.task_name}}
    options = config.public() | {name: CHANGED[name]}
    assert CHANGED[name] != getattr(config, name)
    asked = saved | {"options": {k: v for k, v in options.items() if k in config.public()}}

    def check():
        identity.check_same_run(saved, asked, where=finished)

    if name in MAY_CHANGE_ON_RESUME:
        check()
    else:
        with pytest.raises(InputError) as refusal:
            check()
        first = str(refusal.value).splitlines()[0]
        assert f"--{name} was" in first
        assert json.dumps(getattr(config, name)) in first
        assert json.dumps(CHANGED[name]) in first


@pytest.mark.parametrize("old", [{"text_pair_column_name": "b"}, {"text_pair_column_name": None}])
def test_an_option_of_another_task_does_not_matter_on_resume(finished, old):
    """Older runs took and ignored these options, and wrote all of them down; newer refuse them."""
    asked = checkpoint.verify(finished / "step_4")["identity"]
    assert asked["options"]["task_name"] not in tasks_of("text_pair_column_name")
    identity.check_same_run(asked | {"options": asked["options"] | old}, asked, where=finished)
    own = asked | {"options": asked["options"] | {"stride": 3}}
    with pytest.raises(InputError, match="--stride was 3"):
        identity.check_same_run(own, asked, where=finished)


@pytest.mark.medium
@pytest.mark.parametrize(
    "options",
    [
        ["--learning_rate=0.5"],
        ["--max_train_samples=71"],
        ["--task_name=chunk"],
        ["--seed=9"],
    ],
)
def test_a_resume_that_would_be_another_run_ends_with_code_2(run_copy, options, capfd):
    code = train_loop.cli(
        [*TWO, f"--output_dir={run_copy}", "--resume_from_checkpoint=auto", *options]
    )
    assert code == 2
    error = capfd.readouterr().err
    assert options[0].split("=")[0] in error
    assert not (run_copy / "model.safetensors").exists()


FAILING = {
    "write": ("tagloop.checkpoints.state.save_file", errno.ENOSPC),
    "weights": ("transformers.PreTrainedModel.save_pretrained", errno.EIO),
    "fsync": ("os.fsync", errno.EIO),
    "rename": ("pathlib.Path.rename", errno.EACCES),
    "mkdir": ("pathlib.Path.mkdir", errno.ENOSPC),
}


@pytest.mark.parametrize("operation", FAILING)
@pytest.mark.slow
def test_a_failing_disk_stops_the_run_and_leaves_the_last_checkpoint(
    finished, tmp_path, monkeypatch, operation, capfd
):
    folder = tmp_path / "run"
    target, number = FAILING[operation]
    real_save = save.save_checkpoint

    def save_or_fail(run, **options):
        if run.state.step == 4:

            def fail(*_, **__):
                raise OSError(number, os.strerror(number))

            run.background.wait()  # the disk fails after step 2 has been written, not under it
            with monkeypatch.context() as patch:
                patch.setattr(target, fail)
                real_save(run, **options)
                run.background.wait()
        return real_save(run, **options)

    monkeypatch.setattr(train_loop, "save_checkpoint", save_or_fail)
    assert train_loop.cli([*TWO, f"--output_dir={folder}"]) == 3
    assert os.strerror(number) in capfd.readouterr().err
    assert [path.name for path in checkpoint.checkpoint_folders(folder)] == ["step_2"]
    monkeypatch.undo()
    go_on(folder)
    assert (folder / "model.safetensors").read_bytes() == (
        finished / "model.safetensors"
    ).read_bytes()


def test_a_failing_delete_is_reported_and_training_goes_on(finished, tmp_path, monkeypatch, capfd):
    folder = tmp_path / "run"
    real = shutil.rmtree

    def fail(path, *arguments, **options):
        if "tmp-pruned" in str(path):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, *arguments, **options)

    monkeypatch.setattr(shutil, "rmtree", fail)
    train_loop.main([*TWO, "--checkpoints_total_limit=1", f"--output_dir={folder}"])
    assert "could not be pruned: Permission denied" in capfd.readouterr().out
    assert (folder / "model.safetensors").read_bytes() == (
        finished / "model.safetensors"
    ).read_bytes()


@pytest.mark.slow
def test_pruning_spares_the_newest_and_the_best(tmp_path):
    folder = tmp_path / "run"
    train_loop.main(
        [*SMALL, "--max_train_steps=8", "--checkpointing_steps=1", "--eval_steps=1",
         "--checkpoints_total_limit=2", "--load_best_model_at_end",
         "--metric_for_best_model=accuracy",
         "--learning_rate=0.03", "--lr_scheduler_type=constant", f"--output_dir={folder}"]
    )  # fmt: skip
    scores = [line["eval_accuracy"] for line in read_metrics(folder) if "eval_loss" in line]
    best = scores.index(max(scores)) + 1
    assert best < 7, "the best one must be old for this test to say anything"
    left = {path.name for path in checkpoint.checkpoint_folders(folder)}
    assert left == {"step_7", "step_8", f"step_{best}"}


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_the_run(finished, tmp_path, monkeypatch, capfd):
    folder = tmp_path / "run"
    step = train_loop.train_step

    def poisoned(run, update):
        if run.lr_scheduler.last_epoch == 4:
            with torch.no_grad():
                next(run.model.parameters()).fill_(float("nan"))
        return step(run, update)

    monkeypatch.setattr(train_loop, "train_step", poisoned)
    assert train_loop.cli([*TWO, f"--output_dir={folder}"]) == 3
    error = capfd.readouterr().err
    assert "update 5: the loss is nan" in error
    assert "examples" in error
    assert [path.name for path in checkpoint.checkpoint_folders(folder)] == ["step_2", "step_4"]
    assert not (folder / "model.safetensors").exists()
    with pytest.raises(RunStopped):
        train_loop.main([*TWO, f"--output_dir={folder}", "--resume_from_checkpoint=auto"])
    monkeypatch.undo()
    go_on(folder)
    expected = (finished / "model.safetensors").read_bytes()
    assert (folder / "model.safetensors").read_bytes() == expected


@pytest.mark.slow
def test_a_disk_that_is_really_full_is_one_message(tmp_path):
    """A file size limit makes safetensors and torch fail as they do on a full disk."""
    script = (
        "import resource, sys, train_loop\n"
        "save = train_loop.save_checkpoint\n"
        "def limited(run, **options):\n"
        "    if run.state.step == 4:\n"
        "        run.background.wait()\n"  # step 2 is written
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))\n"
        "    return save(run, **options)\n"
        "train_loop.save_checkpoint = limited\n"
        "sys.exit(train_loop.cli())\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, *TWO, f"--output_dir={tmp_path / 'run'}"],
        cwd=REPO, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 3, result.stderr
    assert [line[:7] for line in result.stderr.splitlines()] == ["error: "]
    assert checkpoint.verify(tmp_path / "run" / "step_2")["step"] == 2
    assert not list((tmp_path / "run").glob("tmp-*"))


@pytest.mark.medium
def test_pruning_never_takes_what_was_just_saved(run_copy):
    """The newest is damaged, so `auto` falls back, and only one may be kept."""
    (run_copy / "step_6" / "manifest.json").write_text("{")
    go_on(run_copy, "--checkpoints_total_limit=1")
    good = []
    for folder in checkpoint.checkpoint_folders(run_copy):
        with contextlib.suppress(checkpoint.DamagedCheckpoint):
            good.append(checkpoint.verify(folder)["step"])
    assert good == [6]


def test_an_older_checkpoint_is_not_resumed_beside_newer_ones(run_copy):
    with pytest.raises(InputError, match="step_4, step_6 came after it"):
        go_on(run_copy, where=str(run_copy / "step_2"))


def test_a_resume_does_not_overwrite_another_run(finished, run_copy, tmp_path):
    with pytest.raises(InputError, match="holds a run of its own"):
        go_on(run_copy, where=str(finished / "step_6"))
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_text("precious")
    with pytest.raises(InputError, match="something else than a run"):
        go_on(model)
    go_on(tmp_path / "new", where=str(finished / "step_4"))
    # The same command goes on after a kill before the first checkpoint in the new folder.
    for path in (tmp_path / "new").glob("step_*"):
        shutil.rmtree(path)
    record = read_json(tmp_path / "new" / "run.json") | {"finished": False}
    (tmp_path / "new" / "run.json").write_text(json.dumps(record))
    go_on(tmp_path / "new", where=str(finished / "step_4"))
    expected = (finished / "model.safetensors").read_bytes()
    assert (tmp_path / "new" / "model.safetensors").read_bytes() == expected


@pytest.mark.slow
def test_a_lost_best_checkpoint_is_found_before_training(tmp_path):
    folder = tmp_path / "run"
    options = [
        *TWO, "--load_best_model_at_end", "--metric_for_best_model=accuracy", "--eval_steps=1",
        "--learning_rate=0.05", "--lr_scheduler_type=constant", f"--output_dir={folder}",
    ]  # fmt: skip
    train_loop.main(options)
    expected = (folder / "model.safetensors").read_bytes()
    (folder / "run.json").unlink()
    best = read_json(folder / "step_6" / "manifest.json")["state"]["best_checkpoint"]
    assert best != "step_6"
    new = tmp_path / "new"  # A run may go on in another folder, which the best is brought to.
    moved = [*options[:-1], f"--output_dir={new}", f"--resume_from_checkpoint={folder / 'step_6'}"]
    with pytest.raises(InputError, match=f"copy {folder / best} there"):
        train_loop.main(moved)
    shutil.copytree(folder / best, new / best)
    train_loop.main(moved)
    assert (new / "model.safetensors").read_bytes() == expected
    (folder / best / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match=f"{best}: the best checkpoint"):
        train_loop.main([*options, "--resume_from_checkpoint=auto"])


@pytest.mark.slow
def test_weights_in_an_old_spelling_survive_a_resume(tmp_path):
    """bert-base-cased on the hub calls LayerNorm's parameters gamma and beta."""
    source = tmp_path / "source"
    train_loop.main([*SMALL, "--max_train_steps=3", f"--output_dir={source}"])
    weights = load_file(source / "model.safetensors")
    for new, old in (("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")):
        weights = {name.replace(new, old): tensor for name, tensor in weights.items()}
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    options = [*TWO, f"--model_name_or_path={source}"]
    train_loop.main([*options, f"--output_dir={tmp_path / 'whole'}"])
    resumed = tmp_path / "resumed"
    shutil.copytree(tmp_path / "whole" / "step_4", resumed / "step_4")
    train_loop.main([*options, f"--output_dir={resumed}", "--resume_from_checkpoint=auto"])
    expected = load_file(tmp_path / "whole" / "model.safetensors")
    actual = load_file(resumed / "model.safetensors")
    assert expected.keys() == actual.keys()
    assert all(torch.equal(actual[name], expected[name]) for name in expected)
