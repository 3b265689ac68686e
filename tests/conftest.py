"""Fixtures that several test modules share."""

import os
import re
import signal
import socket
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # read when the libraries are imported
# Small models: a second thread saves nothing, and on a busy machine all wait for the slower.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
from launches import REPO, SMALL

CORPORA = Path(os.environ.get("TAGLOOP_CORPORA", REPO.parent / "shared" / "data"))


# Files that take minutes begin first, the longest before all: at the end of `make test` no process
# should be left alone with one of them.
LONG = (
    "test_kernels", "test_equivalence", "test_benchmarks", "test_resume", "test_evaluation",
    "test_kill", "test_run_folder", "test_train_loop",
)  # fmt: skip

# Fixtures that train a model, which takes seconds.
TRAINED = {"finished", "trained"}


@pytest.hookimpl(tryfirst=True)  # before pytest reads `-m`
def pytest_collection_modifyitems(items):
    """Mark what can use the corpora or trains; other tests mark themselves."""
    places = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONG)))
    for item in items:
        if "corpora" in item.fixturenames:
            item.add_marker("corpora")
        if TRAINED.intersection(item.fixturenames):
            item.add_marker("medium")


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


@pytest.fixture
def looked_up(monkeypatch) -> list[str]:
    """The names of hosts that the test looks up; it finds none, so it reaches no network."""
    from tagloop import hub_access

    names = []

    def find_none(name, *_, **__):
        names.append(name)
        raise socket.gaierror(socket.EAI_NONAME, "no network")

    monkeypatch.setattr(socket, "getaddrinfo", find_none)
    hub_access._answers.cache_clear()
    return names


@pytest.fixture(scope="session", autouse=True)
def _no_reports():
    """As with --no_report: the page takes seconds, and only its own tests read it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train_loop.report_run", lambda run: None)
        yield


@pytest.fixture(autouse=True)
def _own_signals():
    """A stopped run ignores further signals until its process ends; here the process goes on.

    What is ignored is inherited, and a shell cannot trap what it inherited as ignored.
    """
    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    found = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in found.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def no_dropout(tmp_path_factory) -> Path:
    """A small saved model without dropout: with it, every process draws masks of its own."""
    import train_loop

    folder = tmp_path_factory.mktemp("no-dropout") / "saved"
    train_loop.main([*SMALL, "--max_train_steps=1", f"--output_dir={folder}"])
    config = folder / "config.json"
    config.write_text(re.sub(r'("\w*dropout\w*": )[\d.]+', r"\g<1>0.0", config.read_text()))
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """A small saved model that finds entities, in windows so small that sentences have several."""
    import train_loop

    folder = tmp_path_factory.mktemp("trained") / "run"
    train_loop.main([*SMALL, "--max_length=20", "--stride=6", f"--output_dir={folder}"])
    return folder


@pytest.fixture
def no_accelerator():
    """Before and after the test there is no accelerator, so the test may choose a precision."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
