"""Texts -> values by name of the option, from the command line and from a --config file."""

import argparse
import itertools
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from tagloop import __version__
from tagloop.errors import InputError
from tagloop.options.config import FIELDS, SECRETS
from tagloop.options.groups import groups
from tagloop.options.reading.config_file import read_config_file
from tagloop.options.reading.renamed import WITHOUT_EFFECT
from tagloop.options.reading.suggestions import SPELLINGS, answer_of, suggest, unknown_option
from tagloop.options.reading.values import (
    describe_default,
    describe_values,
    option_of_word,
    plain_type,
    read_value,
    show_value,
)
from tagloop.options.scripts import program_name


def read_options(arguments: list[str]) -> dict[str, Any]:
    """The values that were given, by name of the option; those of the command line win.

    Raises:
        InputError: every unknown option and every text that is no value of its option.
    """
    given = _read_command_line(arguments)
    if "config" in given:
        given = _read_file(given["config"]) | given
    return given


class _Parser(argparse.ArgumentParser):
    """argparse, but an error is an InputError instead of a page of usage and an exit."""

    def error(self, message: str) -> NoReturn:
        # "ambiguous option: --hub_=hf_... could match": what was given may be a secret.
        message = re.sub(r"^(ambiguous option: [^=]*)=.*( could match )", r"\1\2", message)
        raise InputError(message.removeprefix("argument "))


def build_parser() -> argparse.ArgumentParser:
    """A parser with one option per field of Config; it leaves values as text."""
    name = program_name("train_loop.py")
    parser = _Parser(
        prog=name,
        usage=f"{name} [--help] [--config FILE] [--OPTION VALUE ...]",
        description="Fine-tune a model on your data. Without data and model options: a small "
        "model from scratch on the built-in sample. Names may be shortened as long as one option "
        "fits; hyphens and underscores are the same.",
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--version", action="version", version=f"tagloop {__version__}")
    for title, fields in groups().items():
        group = parser.add_argument_group(title)
        for field in fields:
            shape = {"metavar": describe_values(field)}
            if plain_type(field) is bool:
                shape |= {"nargs": "?", "const": "true"}
            names = [f"--{field.name}", *field.metadata["aliases"]]
            help_line = field.metadata["help"]
            if field.default is not False and (default := describe_default(field)):
                help_line += f" (default: {default})"
            help_line = help_line.replace("%", "%%")
            group.add_argument(*names, dest=field.name, help=help_line, **shape)
            if plain_type(field) is bool and field.default is not False:
                group.add_argument(
                    f"--no_{field.name}", dest=field.name, action="store_const", const="false",
                    help=f"The same as --{field.name} false.",
                )  # fmt: skip
    return parser


def _read_command_line(arguments: list[str]) -> dict[str, Any]:
    """Arguments -> values by name of the option."""
    arguments = _name_options_of_words([_underscored(text) for text in arguments])
    arguments, unknown = _take_foreign(arguments)
    known, rest = build_parser().parse_known_args(arguments)
    values, problems = _convert(vars(known))
    unknown += [unknown_option(text) for text in rest if text.startswith("--")]
    if rest and not unknown:  # else they are most likely values of what is unknown
        stray = "(hidden)" if SECRETS & vars(known).keys() else rest[0]  # `--hub_token= hf_...`
        unknown = [_stray_value(stray, arguments, rest[0])]
    _stop_on(unknown + problems)
    return values


def _name_options_of_words(arguments: list[str]) -> list[str]:
    """`--task translate` -> `--whisper_task translate`, where a spelling is shared by options."""
    named = []
    for argument, following in itertools.zip_longest(arguments, arguments[1:], fillvalue=""):
        spelling, equals, value = argument.partition("=")
        name = option_of_word(spelling, value if equals else following)
        named.append(f"--{name}{equals}{value}" if name else argument)
    return named


def _take_foreign(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Take other trainers' options and their values out of the arguments.

    A name that is also the beginning of one option of ours is that option if its value fits:
    `--lr cosine` is --lr_scheduler_type, `--lr 1e-4` is not.

    Returns:
        The other arguments, and a message for each option that was taken out.
    """
    kept, messages, skips = [], [], False
    for number, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if not name.startswith("--"):
            kept += [] if skips else [argument]
            continue
        if not equals:
            value = next(iter(arguments[number + 1 : number + 2]), "--")
        skips = answer_of(name) is not None and not _fits_an_option(name, value)
        if name in WITHOUT_EFFECT:
            skips = True
        elif skips:
            messages.append(unknown_option(name))
        else:
            kept.append(argument)
    return kept, messages


def _fits_an_option(name: str, value: str) -> bool:
    """Whether a name, whole or shortened, is one option and the value could be its value."""
    if name in SPELLINGS:
        return True
    options = [spelling for spelling in SPELLINGS if spelling.startswith(name)]
    if len(options) != 1:
        return False
    field = FIELDS[SPELLINGS[options[0]]]
    if value.startswith("--"):  # The option stands alone.
        return plain_type(field) is bool
    try:
        read_value(field, value)
    except ValueError:
        return plain_type(field) is bool  # Then the value may be the next one's.
    return True


def _stray_value(shown: str, arguments: list[str], stray: str) -> str:
    """A message about an argument that is neither an option nor the value of one."""
    before = arguments[: arguments.index(stray)]
    options = [at for at, text in enumerate(before) if text.startswith("--")]
    if stray.startswith("-") or not options:
        return f"{shown}: is no option; {suggest(stray)}"
    name = before[options[-1]].partition("=")[0]
    field = FIELDS.get(SPELLINGS.get(name))
    remedy = "a value that holds a blank needs quotes"
    if field is not None and plain_type(field) is not str:
        remedy = "leave it out"
    elif field is not None and field.metadata["is_list"]:
        remedy = "write several with commas and no blanks"
    return f"{shown}: is no option, and {name} takes one value; {remedy}"


def _underscored(argument: str) -> str:
    """`--max-steps=a-b` -> `--max_steps=a-b`."""
    name, equals, value = argument.partition("=")
    if not name.startswith("--"):
        return argument
    return f"--{name[2:].replace('-', '_')}{equals}{value}"


def _read_file(path: str) -> dict[str, Any]:
    """The options of a YAML or JSON file by name; keys are spelled as on the command line."""
    texts, problems = texts_of(read_config_file(path))
    if "config" in texts:
        problems.append("--config: a file cannot name another one")
    values, wrong = _convert(texts)
    _stop_on([f"--config {path}: {problem}" for problem in problems + wrong])
    return values


def texts_of(options: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Values of a file or of Python -> the texts that the command line has for them.

    Args:
        options: values by name, spelled as on the command line without "--". None is the default.

    Returns:
        The texts by name of the option, and a line for each name or value that cannot be.
    """
    texts, problems = {}, []
    for key, value in options.items():
        option = _underscored(f"--{key}")
        name = SPELLINGS.get(option) or option_of_word(option, str(value))
        if option in WITHOUT_EFFECT:
            continue
        if name is None:
            problems.append(unknown_option(option))
        elif name in texts and value is not None:
            problems.append(f"{option}: --{name} stands there twice, in two spellings")
        elif isinstance(value, bool) and plain_type(FIELDS[name]) is str:
            problems.append(f"--{name}: must be text, not {str(value).lower()}")
        elif isinstance(value, str | int | float):
            texts[name] = str(value)
        elif FIELDS[name].metadata["is_list"] and isinstance(value, list):
            if all(isinstance(one, str | int) and not isinstance(one, bool) for one in value):
                texts[name] = ",".join(map(str, value))
            else:
                problems.append(f"--{name}: must be a list of names")
        elif value is not None:  # None is the default
            kind = {dict: "a mapping", list: "a list"}.get(type(value), type(value).__name__)
            problems.append(f"--{name}: must be one value, not {kind}")
    return texts, problems


def _convert(texts: dict[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Texts by name of the option -> values, and a line for each text that is no value."""
    values, problems = {}, []
    for name, text in texts.items():
        try:
            values[name] = read_value(FIELDS[name], text)
        except ValueError as error:
            problems.append(f"--{name} {show_value(name, text)}: {error}")
    return values, problems


def _stop_on(problems: list[str]) -> None:
    if problems:
        raise InputError("\n".join(problems))
