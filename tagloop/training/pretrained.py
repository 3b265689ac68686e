"""Asking transformers for something that a user named; what it cannot do is an InputError."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoTokenizer

from tagloop.data.sources import offline_without_network
from tagloop.errors import InputError


def load_pretrained(auto_class: type, name: str, **options: Any) -> Any:
    """`from_pretrained` of a name on the hub or a folder.

    Raises:
        InputError: no such folder, no saved model in it, or whatever transformers finds wrong.
    """
    is_path = name.startswith((".", "/", "~")) or Path(name).exists()
    if is_path and not Path(name).is_dir():
        raise InputError(f"{name}: no such folder; name a model on the hub or a saved folder")
    enough = ["config.json"]
    if auto_class is AutoTokenizer:
        enough += ["tokenizer.json", "tokenizer_config.json"]
    if is_path and not any((Path(name) / file).is_file() for file in enough):
        raise InputError(f"{name}: holds no config.json, so it is not a saved model")
    if is_path:
        with errors_of_transformers(name):
            return auto_class.from_pretrained(name, **options)
    try:
        with offline_without_network(), errors_of_transformers(name):
            return auto_class.from_pretrained(name, **options)
    except InputError as error:
        raise InputError(
            f"{str(error).rstrip('.')}; check the spelling; without a network, name a folder that "
            "holds a saved model"
        ) from error


@contextmanager
def errors_of_transformers(name: str) -> Iterator[None]:
    """Turn what goes wrong within into one line that begins with `name`."""
    try:
        yield
    except Exception as error:  # damaged files raise all kinds, tokenizers' plain Exception, too
        reason = first_line(error)
        if not isinstance(error, OSError | ValueError):
            reason = f"{type(error).__name__}: {reason}"
        raise InputError(
            f"{name}: transformers {transformers.__version__} says: {reason}"
        ) from error


def first_line(error: BaseException) -> str:
    """The first line of an error that says something; torch puts headings before it.

    >>> first_line(RuntimeError("Error(s) in loading state_dict:\\n\\tsize mismatch for a.bias\\n"))
    'size mismatch for a.bias'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.endswith(":")]
    return (telling or lines or ["nothing"])[0][:500]
