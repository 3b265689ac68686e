"""--config FILE: what a YAML or JSON file holds, numbers and words as they are written."""

import json
import re
from pathlib import Path

import yaml

from tagloop.errors import InputError
from tagloop.options.places import NO_PLAIN_FILE, find_name_problem
from tagloop.options.reading.values import show_value

TWICE = "an option stands there twice"


def read_config_file(path: str) -> dict:
    """The options of a file: texts, and true, false, lists and mappings where it has them.

    Raises:
        InputError: with line and column; it never quotes the file, which may hold a token.
    """
    try:
        if problem := find_name_problem(path):
            raise InputError(f"--config {show_value('config', path)}: {problem}")
        # A pipe can be read only once, and train_loop.py reads the options twice.
        if Path(path).exists() and not Path(path).is_file():
            what = "is not a file" if Path(path).is_dir() else NO_PLAIN_FILE
            raise InputError(f"--config {path}: {what}")
        options = _parse(Path(path).read_text(encoding="utf-8-sig"), path)
    except OSError as error:
        raise InputError(f"--config {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"--config {path}: is not UTF-8 at offset {error.start}") from None
    if not isinstance(options, dict):
        raise InputError(f"--config {path}: must hold `option: value` lines")
    return options


class _Loader(yaml.SafeLoader):
    """YAML alone reads `no` as False, `5e-5` as text and `1.10` as 1.1; here all stay text.

    What a text means is then decided by the option, as on the command line.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 - as its parent has it
        first: [(tag, *rest) for tag, *rest in found if tag.endswith((":null", ":merge"))]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """The mapping. Raises ConstructorError if a name stands there twice."""
        names = set()
        for key in [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]:
            if key.value in names:
                raise yaml.constructor.ConstructorError(problem=TWICE, problem_mark=key.start_mark)
            names.add(key.value)
        return super().construct_mapping(node, deep)


def _parse(text: str, path: str) -> object:
    def to_mapping(pairs: list[tuple[str, object]]) -> dict:
        if len(dict(pairs)) < len(pairs):
            raise json.JSONDecodeError(TWICE, text, 0)
        return dict(pairs)

    try:
        if path.endswith(".json"):
            as_written = {"parse_int": str, "parse_float": str, "parse_constant": str}
            return json.loads(text, **as_written, object_pairs_hook=to_mapping)
        return yaml.load(text, _Loader)
    except json.JSONDecodeError as error:
        line, column, kind = error.lineno, error.colno, error.msg.split(":")[0]
    except yaml.MarkedYAMLError as error:
        line, column = error.problem_mark.line + 1, error.problem_mark.column + 1
        kind = re.sub(r"'[^']*'|\"[^\"]*\"", _own_quotation, error.problem)
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, error.position - before.rfind("\n")
        kind = "a control character"
    # 1,000 brackets, !!timestamp of no time, !!bool of neither
    except (ValueError, RecursionError, AttributeError, KeyError):
        raise InputError(f"--config {path}: not valid YAML or JSON") from None
    raise InputError(f"--config {path}:{line}:{column}: not valid YAML or JSON: {kind}")


def _own_quotation(match: re.Match) -> str:
    """What a parser quotes of its own (',' '\\t' '<stream end>'); longer words are the file's."""
    return match[0] if re.fullmatch(r".(.|\\.{1,3}|<[a-z ]+>).", match[0]) else "..."
