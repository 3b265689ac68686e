"""Tag text with a trained model: entities with character offsets, or a tag for every word.

    python predict.py runs/mine --text "Ann Lee lives in Oslo."
    python predict.py runs/mine --file in.conll --output out.conll
    accelerate launch --config_file accelerate_configs/multi_gpu.yaml predict.py runs/mine \\
        --file in.txt --output out.jsonl

A line of a text file is a document and becomes one line of JSON: text, tokens, tags and entities
({start, end, label, text, score}; text[start:end] in characters). Column files keep their lines
and gain a column (CoNLL-U: NER=... in MISC); rows keep their other keys and gain tags.
--output_format doccano, label_studio or prodigy, and --output NAME.ann for brat, write what
these annotation tools import.
"""

import argparse
import signal
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import FrameType

from tagloop.data.documents.files import DocumentFiles
from tagloop.data.formats import INPUT_FORMATS, OUTPUT_FORMATS
from tagloop.data.splitting import WAYS
from tagloop.errors import InputError
from tagloop.files import read_json
from tagloop.options.scripts import ScriptParser, input_file, place, run_script, saved_folder
from tagloop.streams import leave
from tagloop.tasks import TASKS, has_module, task_module


def parse_options(argv: list[str] | None) -> argparse.Namespace:
    """Command line -> options. Raises InputError."""
    parser = ScriptParser("predict.py", __doc__)
    parser.add_argument("model_dir", type=saved_folder, help="output folder of a training run")
    given = parser.add_mutually_exclusive_group()
    given.add_argument("--text", nargs="+", help="tag this text (each one, if there are several)")
    given.add_argument(
        "--file", type=input_file, default="-", help="tag this file (default: -, standard input)"
    )
    parser.add_argument(
        "--output", type=place, default="-", help="file to write (default: -, standard output)"
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
    parser.add_argument("--scores", action="store_true", help="rows gain the words' probabilities")
    parser.add_argument("--batch_size", type=int, default=32, help="windows at once (default: 32)")
    parser.add_argument("--mixed_precision", choices=("no", "bf16", "fp16"), help="default: no")
    options = parser.parse_args(argv)
    if options.batch_size < 1:
        raise InputError(f"--batch_size {options.batch_size}: must be at least 1")
    return options


def task_of(folder: Path) -> str:
    """The task that a model was trained for; the first task if no file of the folder says it."""
    facts = read_json(folder / "config.json").get("tagloop")
    options = read_json(folder / "run.json").get("options")
    named = [
        values.get(name)
        for values, name in ((facts, "task"), (options, "task_name"))
        if isinstance(values, dict)
    ]
    return next((name for name in named if name in [*TASKS]), next(iter(TASKS)))


def main(argv: list[str] | None = None) -> None:
    """Tag everything, a bounded unit of documents per process at a time."""
    options = parse_options(argv)
    from accelerate.utils import gather_object  # imports that take seconds come after --help

    from tagloop.processes.agree import on_all, on_main
    from tagloop.processes.launch import build_accelerator, closing_group

    task_name = task_of(options.model_dir)
    if not has_module(task_name, "tagger"):
        raise InputError(
            f"{options.model_dir}: a model of --task_name {task_name} tags nothing; "
            "train_loop.py --do_predict --predict_file FILE applies it"
        )
    load_tagger = task_module(task_name, "tagger").load_tagger
    signal.signal(signal.SIGTERM, stop)
    accelerator = build_accelerator(mixed_precision=options.mixed_precision, log_with=None)
    with closing_group(), ExitStack() as stack:
        # The main process alone reads and writes.
        files = DocumentFiles(stack, progress=accelerator.is_main_process)

        def open_files() -> None:  # before the model loads: mistakes show at once
            files.open_input(
                options.text or options.file, options.input_format, options.text_column_name
            )
            files.open_output(options.output, options.output_format)

        on_main(accelerator, open_files)
        tagger = on_all(
            accelerator,
            lambda: load_tagger(
                options.model_dir,
                words=options.words,
                batch_size=options.batch_size,
                device=accelerator.device,
                mixed_precision=accelerator.mixed_precision,
            ),
        )
        while True:
            units = on_main(accelerator, lambda: files.read(accelerator.num_processes))
            if not units[0]:
                break
            tagged = gather_object([tagger(units[accelerator.process_index])])
            shape = {"kind": tagger.kind, "with_scores": options.scores}
            on_main(accelerator, partial(files.write, tagged, **shape))
        on_main(accelerator, stack.close)  # now the output is there, whole


def stop(number: int, frame: FrameType | None) -> None:
    """End the process for a signal in such a way that files that are not whole are deleted."""
    sys.exit(128 + number)


def cli(argv: list[str] | None = None) -> int:
    """main() as a command; returns the exit code."""
    return run_script(main, argv)


if __name__ == "__main__":
    leave(cli())
