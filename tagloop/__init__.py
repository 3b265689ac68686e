"""A training loop for token classification and other tasks, and what belongs around the loop.

    import tagloop
    result = tagloop.train(train_file="train.conll", validation_file="dev.conll")
    result.scores["validation"]["f1"]
    tagloop.load_predictor(result.folder)("Ann Lee lives in Oslo.")

The names in __all__ are stable: docs/python.md says what each of them promises. docs/house.md says
what each room of the package is for. Nothing slow is imported before one of the names is used.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tagloop.api import TrainingResult, load_predictor, load_tagger, train
    from tagloop.errors import InputError

__version__ = "0.1.0"  # The same version stands in pyproject.toml.
__all__ = ["InputError", "TrainingResult", "load_predictor", "load_tagger", "train"]

PACKAGES = ("torch", "accelerate", "transformers", "datasets", "evaluate", "seqeval", "tqdm")
SCRIPTS = ("train_loop.py", "predict.py", "report.py", "export.py")  # of a checkout


def _require_packages() -> None:
    """End a script with one line if its Python does not have the packages, before their imports."""
    if Path(sys.argv[0]).name not in SCRIPTS:
        return
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        sys.stderr.write(
            f"error: {sys.executable}: has no {', '.join(missing)}; `make train` in the checkout "
            "makes a Python that has them, .venv/bin/python; or pip install -r requirements.txt\n"
        )
        raise SystemExit(2)


_require_packages()


def __getattr__(name: str) -> Any:
    """Import a stable name when it is used for the first time."""
    if name not in __all__:
        raise AttributeError(f"module 'tagloop' has no attribute {name!r}")
    module = import_module("tagloop.errors" if name == "InputError" else "tagloop.api")
    globals()[name] = value = getattr(module, name)
    return value


def __dir__() -> list[str]:
    """The names of the module, and the stable names that are not imported yet."""
    return sorted({*globals(), *__all__})
