"""Checkpoints changed by hand: manifests that vouch for whatever the folder holds."""

import json
from pathlib import Path

import torch
from launches import read_json

from tagloop.checkpoints import checkpoint, state
from tagloop.files import sha256_of


def rewrite(folder: Path, **changes) -> None:
    """Change a manifest, and have it vouch for itself and for every file of the folder."""
    manifest = read_json(folder / "manifest.json") | changes
    manifest.pop("sha256", None)
    manifest["files"] = {
        path.name: {"size": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(folder.iterdir())
        if path.name != "manifest.json"
    }
    manifest["sha256"] = checkpoint._digest(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def to_old_format(folder: Path, change=lambda training: None) -> Path:
    """Turn a checkpoint into one of an earlier version, with a change to its optimizer.pt."""
    training = vars(state.read_training(folder))
    change(training)
    for name in ("optimizer.json", "optimizer.safetensors"):
        (folder / name).unlink()
    torch.save(training, folder / "optimizer.pt")
    rewrite(folder)
    return folder / "optimizer.pt"
