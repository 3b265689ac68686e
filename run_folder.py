"""The output folder: claimed before anything is computed, and never left with half a file.

metrics.jsonl                      one line per log and evaluation, the same for every cut
all_ / train_ / eval_ / test_results.json
predictions.txt, predictions.conll
run.json                           options without secrets, versions, data, device, outcome
"""

import itertools
import json
import math
import os
import platform
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from huggingface_hub import HfApi

from checkpoint import (
    DamagedCheckpoint,
    checkpoint_folders,
    find_checkpoint,
    remove_leftovers,
    step_of,
    verify,
)
from errors import InputError
from postprocess import to_tags

PACKAGES = (
    "torch", "accelerate", "transformers", "tokenizers", "datasets", "evaluate", "seqeval", "numpy",
)  # fmt: skip
OWN_FILES = (
    "run.json", "metrics.jsonl", "all_results.json", "train_results.json", "eval_results.json",
    "test_results.json", "predictions.txt", "predictions.conll", "model.safetensors", "config.json",
    "tokenizer.json", "tokenizer_config.json",
)  # fmt: skip


def claim(config) -> Path:
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


def find_earlier(config, folder: Path, say) -> dict | None:
    """What the run to resume says of itself; None for a new run. Main process only.

    Returns:
        identity, global_batch_size, finished, and checkpoint (its folder) with its state, both None
        where the run was stopped before its first checkpoint.
    """
    if config.resume_from_checkpoint is None:
        return None
    found = find_checkpoint(config.resume_from_checkpoint, folder, say)
    record = read_json(folder / "run.json")
    finished = record.get("finished", False) and config.resume_from_checkpoint == "auto"
    if found is None:
        if "identity" not in record:
            return None
        return {**record, "finished": finished, "checkpoint": None, "state": None}
    checkpoint, manifest = found
    if config.resume_from_checkpoint != "auto":
        _check_place(folder, checkpoint, manifest["step"])
    best = manifest["state"]["best_checkpoint"]
    if config.load_best_model_at_end and best and best != checkpoint.name:
        try:
            verify(folder / best)
        except DamagedCheckpoint as damage:
            raise InputError(
                f"{folder / best}: the best checkpoint so far {damage}; put it back, or resume "
                "from a checkpoint before it"
            ) from None
    return {**record, **manifest, "finished": finished, "checkpoint": checkpoint}


def _check_place(folder: Path, checkpoint: Path, step: int) -> None:
    """Refuse to mix the run that goes on from `checkpoint` with another one in `folder`."""
    at_home = checkpoint.resolve().parent == folder.resolve()
    if not at_home and any(folder.iterdir()):
        raise InputError(
            f"--output_dir {folder}: holds a run of its own; resume that one with "
            "--resume_from_checkpoint auto, or name a new folder"
        )
    later = [path.name for path in checkpoint_folders(folder) if step < step_of(path) < math.inf]
    if later:
        raise InputError(
            f"--resume_from_checkpoint {checkpoint}: {', '.join(later)} came after it; move them "
            "away, or resume with auto"
        )


def start(run, state) -> None:
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
    if state.step and path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= state.step:
                    kept.append(line + "\n")
            except (ValueError, KeyError):
                continue  # the last line of a killed run may be cut
    write_text(path, "".join(kept))


def add_metrics(folder: Path, values: dict) -> None:
    """Append a line to metrics.jsonl. Main process only."""
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(values) + "\n")


def finish(run, weights: dict | None, results: dict, predictions: dict) -> dict:
    """Write the model, predictions and results, then mark the run finished. Main process only.

    Args:
        weights: the trained model's state dict, or None if nothing was trained.
        results: scores by part of the run: "train", "eval", "test".
        predictions: a label id per word (int16) of "test" and "predict".

    Returns:
        all_results.json.
    """
    if weights is not None:
        model = run.accelerator.unwrap_model(run.model, keep_torch_compile=False)
        save_model(run.folder, model, weights, run.tokenizer)
    for split in ("test", "predict"):
        if split in predictions:  # a file to tag replaces the test split's predictions
            bounds = run.windows[split].sentence_offsets
            tags = to_tags(predictions[split], bounds, run.id2label)
            write_predictions(run.folder, run.corpus.splits[split], tags)
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


def push(run) -> None:
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


def _record(run) -> dict:
    return {
        "identity": run.identity,
        "global_batch_size": run.global_batch_size,
        "options": run.config.public(),
        "environment": describe_environment(run.accelerator),
    }


def read_json(path: Path) -> dict:
    """A file that write_json wrote; nothing where there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def write_text(path: Path, text: str) -> None:
    """Replace a file as a whole: readers see the old text or the new, never half of it."""
    temporary = path.with_name(f"tmp-{path.name}")
    with temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_json(path: Path, values: dict) -> None:
    write_text(path, json.dumps(values, indent=2, ensure_ascii=False, default=str) + "\n")


def write_predictions(
    folder: Path,
    sentences: Iterable[dict],
    predictions: Sequence[Sequence[str]],
) -> None:
    """predictions.txt (the tags of a sentence on a line) and predictions.conll.

    predictions.conll has the columns word, gold tag if there is one, predicted tag; the official
    conlleval script scores it. Columns are separated by a space, so a space inside a word becomes
    an underscore, and so does an empty word.
    """
    tags, columns = [], []
    for sentence, predicted in zip(sentences, predictions, strict=True):
        tags.append(" ".join(predicted) + "\n")
        tagged = any(gold is not None for gold in sentence["tags"])
        for word, gold, tag in zip(sentence["tokens"], sentence["tags"], predicted, strict=True):
            word = "".join("_" if letter.isspace() else letter for letter in word) or "_"
            columns.append(f"{word} {gold or 'O'} {tag}\n" if tagged else f"{word} {tag}\n")
        columns.append("\n")
    write_text(folder / "predictions.txt", "".join(tags))
    write_text(folder / "predictions.conll", "".join(columns))


def save_model(folder: Path, model, weights: dict, tokenizer) -> None:
    """Write model and tokenizer as transformers loads them, each file replaced as a whole."""
    temporary = folder / "tmp-model"
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary, state_dict=weights)
    tokenizer.save_pretrained(temporary)
    for path in sorted(temporary.iterdir()):
        if path.is_dir():  # a folder cannot be replaced
            shutil.rmtree(folder / path.name, ignore_errors=True)
        path.replace(folder / path.name)
    temporary.rmdir()


def describe_environment(accelerator) -> dict:
    """Versions, device and revision: what somebody needs to run this again."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    device = accelerator.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    return {
        "versions": versions,
        "git_revision": _git_revision(),
        "device": f"{device.type} {name}".strip(),
        "num_processes": accelerator.num_processes,
        "mixed_precision": accelerator.mixed_precision,
        "torch_num_threads": torch.get_num_threads(),
    }


def peak_memory(device: torch.device) -> int:
    """Bytes: the allocator's peak on a GPU, the process' resident peak elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _git_revision() -> str | None:
    try:
        result = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
