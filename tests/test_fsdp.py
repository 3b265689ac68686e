"""FSDP2 learns what DDP learns, and either goes on where the other stopped. Here on CPUs."""

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
import transformers
from launches import (
    REPO,
    SMALL,
    assert_same_metrics,
    finish,
    launch,
    read_json,
    read_metrics,
    start,
    wait_until,
)
from recordings import write_loud_weights, write_table, write_whisper
from safetensors.torch import load_file

from tagloop.checkpoints import checkpoint

FSDP2 = str(REPO / "accelerate_configs" / "fsdp2.yaml")
AUTO = "--resume_from_checkpoint=auto"
OPTIONS = [
    *SMALL, "--per_device_train_batch_size=6", "--weight_decay=0.1", "--checkpointing_steps=5",
    "--load_best_model_at_end",
]  # fmt: skip

pytestmark = pytest.mark.slow


def shard(*arguments, check=True, config_file=FSDP2, processes=2, **environment):
    process = start_shards(*arguments, config_file=config_file, processes=processes, **environment)
    return finish(process, check=check)


def start_shards(*arguments, config_file=FSDP2, processes=2, **environment):
    return start(
        *OPTIONS, *arguments, script="tests/fsdp_worker.py",
        environment={"CUDA_VISIBLE_DEVICES": "none"} | environment,  # the CPU is meant
        launcher=["--config_file", config_file, "--num_processes", str(processes),
                  "--mixed_precision", "no", "--main_process_port", "0"],
    )  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same run on two processes, with DDP and with FSDP2."""
    folder = tmp_path_factory.mktemp("fsdp")
    launch(*OPTIONS, f"--output_dir={folder / 'ddp'}", processes=2)
    shard(f"--output_dir={folder / 'fsdp'}")
    return folder


def test_averages_adapters_and_rates_by_group_are_sharded_too(tmp_path):
    knobs = ["--ema_decay=0.8", "--lora_rank=4", "--head_learning_rate=1e-2"]
    launch(*OPTIONS, *knobs, f"--output_dir={tmp_path / 'ddp'}", processes=2)
    shard(*knobs, f"--output_dir={tmp_path / 'fsdp'}")
    assert_same_run(tmp_path / "fsdp", tmp_path / "ddp")
    copy = unfinish(tmp_path / "fsdp", tmp_path / "run", keep=["step_5"])
    shard(*knobs, f"--output_dir={copy}", AUTO)
    expected = (tmp_path / "fsdp" / "model.safetensors").read_bytes()
    assert (copy / "model.safetensors").read_bytes() == expected


def test_merged_adapters_are_saved_where_whole_weights_stay_after_a_forward_pass(tmp_path):
    """The last evaluation leaves whole weights, which are copies."""
    kept = tmp_path / "fsdp2.yaml"
    text = Path(FSDP2).read_text(encoding="utf-8")
    line = "fsdp_reshard_after_forward: true"
    assert line in text
    kept.write_text(text.replace(line, line.replace("true", "false")), encoding="utf-8")
    options = ["--lora_rank=4", "--learning_rate=0.05", "--load_best_model_at_end=false"]
    finish(start_shards(*options, f"--output_dir={tmp_path / 'kept'}", config_file=str(kept)))
    shard(*options, f"--output_dir={tmp_path / 'fsdp'}")
    assert_same_run(tmp_path / "kept", tmp_path / "fsdp")


def unfinish(folder, copy, keep):
    """What a run leaves that was killed after a checkpoint."""
    shutil.copytree(folder, copy)
    for path in copy.glob("step_*"):
        if path.name not in keep:
            shutil.rmtree(path)
    record = read_json(copy / "run.json") | {"finished": False}
    (copy / "run.json").write_text(json.dumps(record))
    return copy


def assert_same_run(found, expected, predictions="predictions.conll"):
    assert_same_metrics(read_metrics(found), read_metrics(expected))
    files = found / predictions, expected / predictions
    if predictions.endswith(".tsv"):  # The last digit of a rounded loss may differ here, too.
        table, wanted = (np.genfromtxt(file, names=True) for file in files)
        assert table.dtype.names == ("targets", "loss", "perplexity", "accuracy")
        for name in table.dtype.names:
            rtol = 1e-4 if name in ("loss", "perplexity") else 0
            np.testing.assert_allclose(table[name], wanted[name], rtol=rtol, err_msg=name)
    else:
        assert files[0].read_bytes() == files[1].read_bytes()
    weights, known = (load_file(run / "model.safetensors") for run in (found, expected))
    assert weights.keys() == known.keys()
    for name, value in weights.items():
        torch.testing.assert_close(value, known[name], rtol=0, atol=2e-4)


def test_fsdp_learns_what_ddp_learns(runs):
    """BERT's layers are named by transformers together with its embeddings."""
    assert read_json(runs / "ddp" / "all_results.json")["test_f1"] > 0.1
    assert_same_run(runs / "fsdp", runs / "ddp")


def test_so_does_a_pretrained_model_whose_layers_nobody_names(no_dropout, tmp_path):
    """Its head is new, which transformers would make on the first process alone."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(no_dropout)
    config = transformers.DistilBertConfig(
        dim=32, n_layers=2, n_heads=2, hidden_dim=64, vocab_size=len(tokenizer)
    )
    for part in (tokenizer, transformers.DistilBertModel(config)):
        part.save_pretrained(tmp_path / "encoder")
    model = f"--model_name_or_path={tmp_path / 'encoder'}"
    launch(*OPTIONS, model, f"--output_dir={tmp_path / 'ddp'}", processes=2)
    shard(model, f"--output_dir={tmp_path / 'fsdp'}")
    assert_same_run(tmp_path / "fsdp", tmp_path / "ddp")


@pytest.mark.parametrize("model_type", ["roberta", "t5", "whisper"])
def test_so_do_models_with_tied_weights(model_type, tmp_path):
    """An output layer is the input embedding; BERT's kind shares a bias, too, and T5 has three
    embeddings. A sharded model generates what a whole one generates."""
    options = ["--max_train_steps=3", "--max_eval_samples=6", "--max_predict_samples=6"]
    predictions = "predictions.tsv"
    if model_type == "whisper":
        model = write_whisper(tmp_path / "whisper")
        write_loud_weights(model)
        data = write_table(tmp_path)
        options += [f"--model_name_or_path={model}", f"--train_file={data}", f"--test_file={data}",
                    f"--validation_file={data}",
                    "--task_name=speech", "--generation_max_length=8",
                    "--learning_rate=1e-4"]  # fmt: skip
        predictions = "generated_predictions.txt"
    else:
        options.append("--task_name=mlm" if model_type == "roberta" else "--task_name=t5_mlm")
    launch(*OPTIONS, *options, f"--output_dir={tmp_path / 'ddp'}", processes=2)
    shard(*options, f"--output_dir={tmp_path / 'fsdp'}")
    assert_same_run(tmp_path / "fsdp", tmp_path / "ddp", predictions)
    lines = (tmp_path / "ddp" / predictions).read_text().splitlines()
    assert len({*lines}) > 3, "else equal predictions say little"


@pytest.mark.parametrize(("first", "then"), [("fsdp", "fsdp"), ("fsdp", "ddp"), ("ddp", "fsdp")])
def test_either_goes_on_where_the_other_stopped(runs, first, then, tmp_path):
    copy = unfinish(runs / first, tmp_path / "run", keep=["step_5"])
    if then == "fsdp":
        shard(f"--output_dir={copy}", AUTO)
    else:
        launch(*OPTIONS, f"--output_dir={copy}", AUTO, processes=2)
    assert_same_run(copy, runs / first)
    if first == then:
        weights = (copy / "model.safetensors").read_bytes()
        assert weights == (runs / first / "model.safetensors").read_bytes()


def test_a_layer_that_is_not_there_is_an_error(tmp_path):
    text = (REPO / "accelerate_configs" / "fsdp2.yaml").read_text()
    file = tmp_path / "fsdp2.yaml"
    file.write_text(f"{text.rstrip()}\n  fsdp_transformer_layer_cls_to_wrap: LlamaDecoderLayer\n")
    result = shard(f"--output_dir={tmp_path / 'run'}", config_file=str(file), check=False)
    assert result.returncode != 0
    assert "BertForTokenClassification has no LlamaDecoderLayer" in result.stdout
    assert "its longest list holds BertLayer" in result.stdout


def of_processes(folder, kind) -> list[dict[str, torch.Tensor]]:
    """The tensors of a checkpoint by the process that wrote them."""
    return [load_file(path) for path in sorted(folder.glob(f"{kind}-0000?-of-00002.safetensors"))]


def test_each_process_writes_a_share_of_a_checkpoint(runs):
    folder, sizes, largest = runs / "fsdp" / "step_5", [0, 0], 0
    assert checkpoint.verify(folder)["step"] == 5
    for kind in ("model", "optimizer"):
        assert not (folder / f"{kind}.safetensors").exists()
        whole = load_file(runs / "ddp" / "step_5" / f"{kind}.safetensors")
        shares = of_processes(folder, kind)
        assert not shares[0].keys() & shares[1].keys()
        for name, tensor in whole.items():
            found = shares[name in shares[1]][name]
            assert (found.shape, found.dtype) == (tensor.shape, tensor.dtype)
        for index, share in enumerate(shares):
            assert share.keys() <= whole.keys()
            sizes[index] += sum(tensor.nbytes for tensor in share.values())
        largest += max(tensor.nbytes for tensor in whole.values())
    assert abs(sizes[0] - sizes[1]) < largest, "tensors are not divided"


def test_a_checkpoint_of_several_files_is_a_model_folder(runs):
    folder = runs / "fsdp" / "step_5"
    model = transformers.AutoModelForTokenClassification.from_pretrained(folder)
    saved = {name: t for share in of_processes(folder, "model") for name, t in share.items()}
    for name, value in model.state_dict().items():
        assert torch.equal(value, saved[name])


@pytest.mark.parametrize("processes", [1, 3])
def test_other_numbers_of_processes_go_on_with_the_shares(runs, processes, tmp_path):
    """One process without FSDP; three processes that shard in another way."""
    copy = unfinish(runs / "fsdp", tmp_path / "run", keep=["step_5"])
    if processes == 1:
        launch(*OPTIONS, f"--output_dir={copy}", AUTO)
    else:
        shard(f"--output_dir={copy}", AUTO, processes=processes)
    assert_same_run(copy, runs / "fsdp")


def test_a_lost_share_is_damage(runs, tmp_path):
    copy = unfinish(runs / "fsdp", tmp_path / "run", keep=["step_5"])
    manifest = read_json(copy / "step_5" / "manifest.json")
    name = "optimizer-00002-of-00002.safetensors"
    (copy / "step_5" / name).unlink()
    with pytest.raises(checkpoint.DamagedCheckpoint, match=name):
        checkpoint.verify(copy / "step_5")
    names = manifest["files"].keys() - {name}
    with pytest.raises(checkpoint.DamagedCheckpoint, match="does not list optimizer-"):
        checkpoint.files_of("optimizer.safetensors", names)


def test_a_full_disk_of_one_process_stops_all_and_loses_nothing(runs, tmp_path):
    folder = tmp_path / "run"
    result = shard(f"--output_dir={folder}", check=False, FULL_DISK="10")
    assert result.returncode != 0
    reason = f"process 1: {os.strerror(28)}"
    assert f"step_10: the checkpoint could not be written: {reason}" in result.stdout
    assert 'train_loop.py", line' not in result.stdout, "no traceback but the launcher's own"
    left = {path.name for path in folder.iterdir() if "step" in path.name}
    assert left == {"step_5", "step_6"}, "step_6 is the best one"
    shard(f"--output_dir={folder}", AUTO)
    assert_same_run(folder, runs / "fsdp")
    expected = (runs / "fsdp" / "model.safetensors").read_bytes()
    assert (folder / "model.safetensors").read_bytes() == expected


def test_a_kill_before_all_have_written_leaves_the_checkpoint_before(runs, tmp_path):
    folder = tmp_path / "run"
    process = start_shards(f"--output_dir={folder}", SLOW_DISK="10")
    share = folder / "tmp-step_10" / "model-00001-of-00002.safetensors"
    wait_until(share.exists, "the first process has begun to write its share of step_10")
    for each in psutil.Process(process.pid).children(recursive=True):
        each.kill()
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (folder / "step_10").exists()
    shard(f"--output_dir={folder}", AUTO)
    assert not list(folder.glob("tmp-*"))
    expected = (runs / "fsdp" / "model.safetensors").read_bytes()
    assert (folder / "model.safetensors").read_bytes() == expected
