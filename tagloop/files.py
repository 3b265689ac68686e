"""A file is replaced whole and synced, or not at all."""

import hashlib
import json
import os
from pathlib import Path


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
