"""Fixtures that several test modules share."""

import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # read when the libraries are imported

import pytest

REPO = Path(__file__).resolve().parent.parent
CORPORA = Path(os.environ.get("TAGLOOP_CORPORA", REPO.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def corpora() -> Path:
    """Folder of the real corpora (conll2003/, wnut17/, ud_partut/, conll_sample.json)."""
    if not CORPORA.is_dir():
        pytest.skip(f"the real corpora are not in {CORPORA} (set TAGLOOP_CORPORA)")
    return CORPORA


@pytest.fixture(autouse=True)
def _own_caches(tmp_path_factory, monkeypatch):
    """Keep prepared data of tests out of the user's cache."""
    monkeypatch.setenv("TAGLOOP_CACHE", str(tmp_path_factory.getbasetemp() / "tagloop-cache"))
