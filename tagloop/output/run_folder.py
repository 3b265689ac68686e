"""The output folder: claimed before anything is computed, and never left with half a file.

metrics.jsonl                      one line per log and evaluation
all_ / train_ / eval_ / test_results.json
predictions.txt, predictions.conll
run.json                           options without secrets, versions, data, device, outcome
"""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import HfApi
from torch import nn
from transformers import PreTrainedTokenizerFast

from tagloop.config import Config
from tagloop.errors import InputError
from tagloop.files import fsync, read_json, write_json, write_text
from tagloop.output.checkpoint import checkpoint_folders, remove_leftovers, write_model
from tagloop.output.environment import describe_environment
from tagloop.run import Run

OWN_FILES = (
    "run.json", "metrics.jsonl", "all_results.json", "train_results.json", "eval_results.json",
    "test_results.json", "predictions.txt", "predictions.conll", "model.safetensors", "config.json",
    "tokenizer.json", "tokenizer_config.json",
)  # fmt: skip


def claim(config: Config) -> Path:
    """The output folder, made ready for this run. Only the main process may call this.

    Raises:
        InputError: it cannot be written, or holds another run.
    """
    folder = Path(config.output_dir) if config.output_dir else _next_free(config.task_name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / "tmp-probe"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise InputError(f"--output_dir {folder}: cannot be written: {error.strerror}") from None
    if not config.do_train:
        return folder
    holds_run = (folder / "run.json").exists() or bool(checkpoint_folders(folder))
    if config.resume_from_checkpoint and not (holds_run or not any(folder.iterdir())):
        raise InputError(
            f"--output_dir {folder}: holds something else than a run; name the folder of the run, "
            "or a new one"
        )
    if any(folder.iterdir()) and not (config.overwrite_output_dir or config.resume_from_checkpoint):
        raise InputError(
            f"--output_dir {folder}: is not empty; name another folder, replace the run in it "
            "with --overwrite_output_dir, or go on with --resume_from_checkpoint auto"
        )
    return folder


def _next_free(task_name: str) -> Path:
    """The first of runs/ner-1, runs/ner-2, ... that holds nothing; a refused run left it empty."""
    for number in itertools.count(1):
        folder = Path("runs", f"{task_name}-{number}")
        if not folder.exists() or not any(folder.iterdir()):
            return folder


def start(run: Run) -> None:
    """Record what will be trained; an overwritten run goes first. Main process only."""
    if not run.config.do_train:
        return
    if run.config.overwrite_output_dir:
        for checkpoint in checkpoint_folders(run.folder):
            shutil.rmtree(checkpoint)
        for name in OWN_FILES:
            (run.folder / name).unlink(missing_ok=True)
    remove_leftovers(run.folder)
    write_json(run.folder / "run.json", _record(run) | {"finished": False})
    # A resumed run writes again what came after its checkpoint.
    kept = []
    path = run.folder / "metrics.jsonl"
    if run.state.step and path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= run.state.step:
                    kept.append(line + "\n")
            except (ValueError, KeyError):
                continue  # the last line of a killed run may be cut
    write_text(path, "".join(kept))


def finish(
    run: Run,
    weights: dict[str, torch.Tensor] | None,
    results: dict[str, dict],
    predictions: dict[str, np.ndarray],
) -> dict:
    """Write the model, predictions and results, then mark the run finished. Main process only.

    Args:
        weights: the trained model's state dict, or None if nothing was trained.
        results: scores by part of the run: "train", "eval", "test".
        predictions: the predicted values of "test" and "predict", if any.

    Returns:
        all_results.json.
    """
    if weights is not None:
        model = run.accelerator.unwrap_model(run.model, keep_torch_compile=False)
        save_model(run.folder, model, weights, run.task.tokenizer)
    for split in ("test", "predict"):  # a file to tag replaces the test split's predictions
        if split in predictions:
            run.task.write(run.folder, split, predictions[split])
    everything = {} if run.config.do_train else read_json(run.folder / "all_results.json")
    for part, scores in results.items():
        named = {f"{part}_{name}": value for name, value in scores.items()}
        write_json(run.folder / f"{part}_results.json", named)
        everything |= named
    write_json(run.folder / "all_results.json", everything)
    if run.config.do_train:
        write_json(
            run.folder / "run.json", _record(run) | {"finished": True, "results": everything}
        )
    return everything


def push(run: Run) -> None:
    """Upload the folder without its checkpoints. Main process only."""
    api = HfApi(token=run.config.hub_token)
    name = run.config.hub_model_id or run.folder.resolve().name
    repository = api.create_repo(name, exist_ok=True).repo_id
    api.upload_folder(
        repo_id=repository,
        folder_path=run.folder,
        ignore_patterns=["step_*", "epoch_*", "tmp-*"],
        commit_message="End of training",
    )


def _record(run: Run) -> dict:
    return {
        "identity": run.identity,
        "global_batch_size": run.global_batch_size,
        "options": run.config.public(),
        "environment": describe_environment(run.accelerator),
    }


def save_model(
    folder: Path,
    model: nn.Module,
    weights: dict[str, torch.Tensor],
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    """Put the final model into the output folder, each file replaced as a whole and synced."""
    temporary = folder / "tmp-model"
    shutil.rmtree(temporary, ignore_errors=True)
    write_model(temporary, model, weights, tokenizer, original_names=True)
    for path in sorted(temporary.iterdir()):
        if path.is_dir():  # a folder cannot be replaced
            shutil.rmtree(folder / path.name, ignore_errors=True)
        else:
            fsync(path)
        path.replace(folder / path.name)
    temporary.rmdir()
    fsync(folder)
