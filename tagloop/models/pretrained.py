"""Loads a model or tokenizer that the user named; errors of transformers become InputErrors."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoTokenizer

from tagloop.errors import InputError
from tagloop.hub_access import offline_without_network
from tagloop.options.places import find_folder_problem, is_saved_folder
from tagloop.wording import first_line


def load_pretrained(auto_class: type, name: str, **options: Any) -> Any:
    """Call `from_pretrained` with a folder or with a name on the hub.

    Args:
        auto_class: the class of transformers whose `from_pretrained` is called.
        options: arguments of `from_pretrained`.

    Raises:
        InputError: the folder does not exist or holds no saved model, or transformers fails.
    """
    if is_saved_folder(name):
        of_tokenizer = auto_class is AutoTokenizer
        if problem := find_folder_problem(Path(name), of_tokenizer=of_tokenizer):
            raise InputError(f"{name}: {problem}")
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
    """Turn any error inside of the block into an InputError of one line that begins with `name`."""
    try:
        yield
    # Damaged files raise all kinds of errors; tokenizers raises plain Exceptions.
    except Exception as error:
        reason = first_line(error)
        if not isinstance(error, OSError | ValueError):
            reason = f"{type(error).__name__}: {reason}"
        raise InputError(
            f"{name}: transformers {transformers.__version__} says: {reason}"
        ) from error
