"""FSDP2 learns what DDP learns, and either goes on where the other stopped. Here on CPUs."""

import json
import shutil

import pytest
import torch
import transformers
from launches import REPO, SMALL, assert_same_metrics, launch, read_json, read_metrics
from safetensors.torch import load_file

FSDP2 = str(REPO / "accelerate_configs" / "fsdp2.yaml")
AUTO = "--resume_from_checkpoint=auto"
OPTIONS = [
    *SMALL, "--per_device_train_batch_size=6", "--weight_decay=0.1", "--checkpointing_steps=5",
    "--load_best_model_at_end",
]  # fmt: skip

pytestmark = pytest.mark.slow


def shard(*arguments, check=True, config_file=FSDP2):
    return launch(
        *OPTIONS, *arguments, script="tests/fsdp_worker.py", check=check,
        environment={"CUDA_VISIBLE_DEVICES": "none"},  # the CPU is meant
        launcher=["--config_file", config_file, "--num_processes", "2",
                  "--mixed_precision", "no", "--main_process_port", "0"],
    )  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same run on two processes, with DDP and with FSDP2."""
    folder = tmp_path_factory.mktemp("fsdp")
    launch(*OPTIONS, f"--output_dir={folder / 'ddp'}", processes=2)
    shard(f"--output_dir={folder / 'fsdp'}")
    return folder


def unfinish(folder, copy, keep):
    """What a run leaves that was killed after a checkpoint."""
    shutil.copytree(folder, copy)
    for checkpoint in copy.glob("step_*"):
        if checkpoint.name not in keep:
            shutil.rmtree(checkpoint)
    record = read_json(copy / "run.json") | {"finished": False}
    (copy / "run.json").write_text(json.dumps(record))
    return copy


def assert_same_run(found, expected):
    assert_same_metrics(read_metrics(found), read_metrics(expected))
    assert (found / "predictions.conll").read_bytes() == (
        expected / "predictions.conll"
    ).read_bytes()
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
