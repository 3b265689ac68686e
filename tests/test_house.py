"""The house: which room may import which, and how large a room may be."""

import ast
import functools
import inspect
import re
import subprocess
import sys
from importlib import import_module

import pytest
from launches import REPO

from tagloop.tasks import TASKS

MODULES = sorted(
    path for path in [*REPO.glob("*.py"), *REPO.glob("tagloop/**/*.py")] if path.name != "setup.py"
)
# From the top of the house to the cellar: a module imports from its own floor and those below.
FLOORS = (
    ("tagloop.__init__", "tagloop.__main__", "tagloop.api"),
    ("train_loop", "predict", "report", "export"),
    ("postprocess", "tagloop.output"),
    ("tagloop.report",),
    ("tagloop.checkpoints",),
    ("tagloop.run",),
    ("tagloop.training",),
    ("tagloop.tasks",),
    ("tagloop.models", "tagloop.pages", "tagloop.outcome"),
    ("tagloop.data", "tagloop.sample"),
    ("tagloop.options", "tagloop.processes", "tagloop.batches"),
    # The options of a run hold those of each task in the table, so both lie below.
    *((f"tagloop.tasks.{folder}.options",) for folder in dict.fromkeys(TASKS.values())),
    ("tagloop.options.misaligned", "tagloop.options.generation", "tagloop.options.class_loss"),
    ("tagloop.options.protocol",),
    ("tagloop.tasks.__init__", "tagloop.options.marks"),
    ("tagloop.files", "tagloop.hub_access"),
    ("tagloop.wording",),
    ("tagloop.errors", "tagloop.streams", "tagloop.terminal", "tagloop.records", "tagloop"),
)


def name_of(path) -> str:
    parts = path.relative_to(REPO).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def floor_of(module: str) -> int:
    """The floor of a module: that of its longest prefix among FLOORS."""
    known = {prefix: number for number, rooms in enumerate(FLOORS) for prefix in rooms}
    if f"{module}.__init__" in known:
        return known[f"{module}.__init__"]
    while module not in known:
        module = module.rpartition(".")[0]
    return known[module]


@functools.cache
def tree_of(path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def imports_of(path) -> set[str]:
    """Modules of this project that a file imports, inside functions, too."""
    names = {name_of(module) for module in MODULES}
    found = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return (found & names) - {"tagloop"}


@pytest.mark.medium
@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_run_one_way(path):
    for imported in imports_of(path):
        assert floor_of(imported) >= floor_of(name_of(path)), f"{name_of(path)} imports {imported}"
        if name_of(path).startswith("tagloop"):
            assert imported.startswith("tagloop"), "the package imports no top-level file"


@pytest.mark.parametrize("room", ["report", "pages", "outcome"])
def test_what_every_task_shares_names_none(room):
    known = {*TASKS, *TASKS.values()}
    for path in REPO.glob(f"tagloop/{room}/*.py"):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Constant):
                assert node.value not in known, f"{path}:{node.lineno}"
            elif isinstance(node, ast.ImportFrom):
                assert not node.module.startswith("tagloop.tasks."), f"{path}:{node.lineno}"


def test_no_module_imports_itself_through_others():
    graph = {name_of(path): imports_of(path) - {name_of(path)} for path in MODULES}
    while ends := [name for name, imported in graph.items() if not imported & graph.keys()]:
        for name in ends:
            del graph[name]
    assert not graph, f"a circle of imports among {', '.join(sorted(graph))}"


@pytest.mark.slow
def test_every_room_imports_alone_and_no_module_runs_anything():
    """Each room with none of the others loaded yet; within one, no circle of imports is allowed.

    In one process, as the libraries take seconds.
    """
    code = f"""
import importlib, sys
sys.argv = ["x", "--nonsense"]
own, before = ("tagloop", "train_loop", "postprocess", "predict", "report", "export"), None
for name in {[name_of(path) for path in MODULES]}:
    room = name.rpartition(".")[0] or name
    for loaded in [module for module in sys.modules if module.split(".")[0] in own]:
        if room != before:
            del sys.modules[loaded]
    importlib.import_module(name)
    before = room
print(*{{"matplotlib"}} & sys.modules.keys(), end="")  # optional: imported only when it draws
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.medium
@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_rooms_and_functions_stay_small(path):
    limits = {
        "train_loop": 345,
        "postprocess": 120,
        "predict": 150,
        "export": 210,
        "tagloop.options.config": 460,
    }
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= limits.get(name_of(path), 420)
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            documented = ast.get_docstring(node, clean=False) or ""
            code = node.end_lineno - node.lineno + 1 - len(documented.splitlines())
            assert code <= 70, f"{node.name} has {code} lines of code"


@pytest.mark.parametrize("path", sorted(REPO.glob("tagloop/data/**/*.py")), ids=name_of)
def test_data_knows_no_task(path):
    """The folder of a task says what its data is; no reader asks which task it reads for."""
    tree = ast.walk(tree_of(path))
    assert not {node.value for node in tree if isinstance(node, ast.Constant)} & TASKS.keys()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_public_parameter_has_a_type(path):
    module = import_module(name_of(path))
    own = [v for v in vars(module).values() if getattr(v, "__module__", "") == module.__name__]
    functions = [value for value in own if inspect.isfunction(value)]
    for made in filter(inspect.isclass, own):
        functions += [value for value in vars(made).values() if inspect.isfunction(value)]
    for function in functions:
        if function.__name__.startswith("_") or "<" in function.__qualname__:
            continue
        for parameter in inspect.signature(function).parameters.values():
            if parameter.name not in ("self", "cls") and parameter.kind != parameter.VAR_KEYWORD:
                where = f"{function.__qualname__}({parameter.name})"
                assert parameter.annotation is not inspect.Parameter.empty, where


TASK_NAMES = {*TASKS, *TASKS.values()}
MAY_NAME_A_TASK = tuple(f"tagloop.tasks.{folder}" for folder in TASKS.values())
# Here the words are names of columns in corpora, the key of the spans in rows of GLiNER, and the
# name of a class in the built-in sample.
NAMES_OF_COLUMNS = (
    "tagloop.sample.corpus",
    "tagloop.data.annotations.word_spans",
    "tagloop.data.words.column_layout",
    "tagloop.data.words.sentences",
)


def texts_and_imports_of(path) -> set[str]:
    """The strings of a file but for its docstrings, and the names that it imports."""
    tree = tree_of(path)
    found, docstrings = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):  # a string that stands alone is a docstring
            docstrings.add(node.value)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= {node.value} if node not in docstrings else set()
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.name for alias in node.names}
            found.add(getattr(node, "module", None) or "")
    return found


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in MODULES
        if name_of(path) != "tagloop.tasks"
        and not f"{name_of(path)}.".startswith(
            tuple(f"{room}." for room in (*MAY_NAME_A_TASK, *NAMES_OF_COLUMNS))
        )
    ],
    ids=name_of,
)
def test_no_room_outside_names_a_task(path):
    """A new task touches its own folder and the table of tasks, and nothing else."""
    a_task = re.compile(rf"\b({'|'.join(TASK_NAMES)})\b")
    named = sorted(text for text in texts_and_imports_of(path) if a_task.search(text))
    assert not named, f"{name_of(path)} names a task: {named}"
