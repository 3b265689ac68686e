"""The command line of predict.py."""

import argparse
import os

from tagloop.data.formats import INPUT_FORMATS, OUTPUT_FORMATS
from tagloop.data.splitting import WAYS
from tagloop.errors import InputError
from tagloop.options.scripts import ScriptParser, input_file, place, saved_folder


def parse_options(argv: list[str] | None, description: str | None) -> argparse.Namespace:
    """Command line -> options.

    Args:
        description: what the script does, for --help.

    Raises:
        InputError: an option is unknown, has an impossible value, or needs another option.
    """
    parser = ScriptParser("predict.py", description)
    parser.add_argument(
        "model_dirs",
        type=saved_folder,
        nargs="+",
        metavar="MODEL_DIR",
        help="output folder of a training run; of several runs, or of a command with --seeds, the "
        "mean of the probabilities decides",
    )
    _add_files(parser)
    _add_choices(parser)
    _add_computing(parser)
    options = parser.parse_args(argv)
    for name in ("batch_size", "threads", "top"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise InputError(f"--{name} {getattr(options, name)}: must be at least 1")
    if options.min_score is not None and not 0 <= options.min_score <= 1:
        raise InputError(f"--min_score {options.min_score:g}: must be between 0 and 1")
    if options.top is not None and options.sort_by is None:
        raise InputError(f"--top {options.top}: of which order? Give --sort_by uncertainty, too")
    named = [os.path.realpath(name) for name in (options.output, options.html) if name]
    if len({*named}) < len(named):
        raise InputError(f"--html {options.html}: the same file as --output; name another one")
    if options.output is None and options.html is None:
        options.output = "-"
    return options


def _add_files(parser: argparse.ArgumentParser) -> None:
    given = parser.add_mutually_exclusive_group()
    given.add_argument(
        "--text", nargs="+", help="a text to predict for (each one, if there are several)"
    )
    given.add_argument(
        "--file",
        type=input_file,
        default="-",
        help="predict for this file (default: -, standard input)",
    )
    parser.add_argument(
        "--output",
        type=place,
        help="file to write (default: -, standard output; with --html only that page)",
    )
    parser.add_argument(
        "--html",
        type=place,
        metavar="PAGE",
        help="write a page with the texts and what was found in them, in colour; it needs jinja2 "
        "(pip install jinja2)",
    )
    parser.add_argument(
        "--input_format", choices=INPUT_FORMATS, help="default: by the file's name; - is txt"
    )
    parser.add_argument(
        "--output_format",
        choices=OUTPUT_FORMATS,
        help="default: by the file's name; for - the input's, jsonl for txt",
    )
    parser.add_argument(
        "--text_column_name", help="of the words or text: a name, in conll the column's number"
    )
    parser.add_argument(
        "--words",
        choices=WAYS,
        help="how text is split into words (default: as the training words looked)",
    )


def _add_choices(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scores",
        action="store_true",
        help="rows gain the probabilities of the words' tags, or of all classes",
    )
    parser.add_argument(
        "--min_score",
        type=float,
        metavar="S",
        help="leave out entities whose score is below S, 0 to 1: the mean probability of the tags "
        "of their words, which become O; a tag that marks no entity and is less probable than S "
        "becomes _; a class, an answer or a filled text becomes null (its score: the probability "
        "of the class, that of the answer among the best ones, the lowest of a filled gap)",
    )
    parser.add_argument(
        "--sort_by",
        choices=("uncertainty",),
        help="write the most uncertain sentences, texts or rows first, for annotators: 1 - the "
        "lowest probability of a word's tag in the sentence (Liu et al. 2022), or 1 - the score of "
        "the answer (Lewis and Gale 1994); rows gain this number as `uncertainty`",
    )
    parser.add_argument(
        "--top", type=int, metavar="N", help="write the first N of that order alone (all)"
    )


def _add_computing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--batch_size", type=int, default=32, help="windows or texts at once (default: 32)"
    )
    parser.add_argument("--mixed_precision", choices=("no", "bf16", "fp16"), help="default: no")
    parser.add_argument(
        "--device", help="cpu, cuda, cuda:1, mps (default: a GPU if there is one, else the CPU)"
    )
    parser.add_argument("--threads", type=int, help="threads of a CPU (default: as torch decides)")
