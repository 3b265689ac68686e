"""Asks the hub once whether it answers; without a network the local cache is used at once."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import datasets
import huggingface_hub


@functools.cache
def _answers(hub: str) -> bool:
    try:
        huggingface_hub.utils.get_session().head(hub, timeout=10)
    except Exception:  # The error is of the library's client; any error means: no network.
        return False
    return True


@contextmanager
def offline_without_network() -> Iterator[None]:
    """Read only the local cache inside of the block if the hub does not answer.

    Without this, the libraries would try for a minute to reach the hub.
    """
    libraries = (datasets.config, huggingface_hub.constants)
    before = [library.HF_HUB_OFFLINE for library in libraries]
    if not any(before) and not _answers(huggingface_hub.constants.ENDPOINT):
        for library in libraries:
            library.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        for library, offline in zip(libraries, before, strict=True):
            library.HF_HUB_OFFLINE = offline
