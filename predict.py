"""Apply a trained model to text: entities with character offsets, tags of words, or classes.

    python predict.py runs/mine --text "Ann Lee lives in Oslo."
    python predict.py runs/mine --file in.conll --output out.conll
    accelerate launch --config_file accelerate_configs/multi_gpu.yaml predict.py runs/mine \\
        --file in.txt --output out.jsonl

A line of a text file is a document and becomes one line of JSON: text, tokens, tags and entities
({start, end, label, text, score}; text[start:end] in characters). Column files keep their lines
and gain a column (CoNLL-U: NER=... in MISC); rows keep their other keys and gain tags.
--output_format doccano, label_studio or prodigy, and --output NAME.ann for brat, write what
these annotation tools import.

A classifier reads a text a line, or rows of JSON or CSV with the columns of its training data. Rows
gain predicted_label and score, or predicted_number; a line of text becomes a row of JSON. Rows with
a question and a context gain predicted_answer, its place (answer_start, answer_end) and score.
"""

import argparse
import signal
import sys
from contextlib import ExitStack
from functools import partial
from types import FrameType

from tagloop.data.documents.files import DocumentFiles
from tagloop.data.formats import INPUT_FORMATS, OUTPUT_FORMATS
from tagloop.data.splitting import WAYS
from tagloop.errors import InputError
from tagloop.options.scripts import ScriptParser, input_file, place, run_script, saved_folder
from tagloop.streams import leave
from tagloop.tasks import has_module, task_module, task_of


def parse_options(argv: list[str] | None) -> argparse.Namespace:
    """Command line -> options. Raises InputError."""
    parser = ScriptParser("predict.py", __doc__)
    parser.add_argument("model_dir", type=saved_folder, help="output folder of a training run")
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
    parser.add_argument(
        "--scores",
        action="store_true",
        help="rows gain the probabilities of the words' tags, or of all classes",
    )
    parser.add_argument(
        "--batch_size", type=int, default=32, help="windows or texts at once (default: 32)"
    )
    parser.add_argument("--mixed_precision", choices=("no", "bf16", "fp16"), help="default: no")
    options = parser.parse_args(argv)
    if options.batch_size < 1:
        raise InputError(f"--batch_size {options.batch_size}: must be at least 1")
    return options


def main(argv: list[str] | None = None) -> None:
    """Predict for everything, a bounded unit of documents per process at a time."""
    options = parse_options(argv)
    from accelerate.utils import gather_object  # imports that take seconds come after --help

    from tagloop.processes.agree import on_all, on_main
    from tagloop.processes.launch import build_accelerator, closing_group

    task_name = task_of(options.model_dir)
    if not has_module(task_name, "predictor"):
        raise InputError(
            f"{options.model_dir}: predict.py does not know models of --task_name {task_name}; "
            "train_loop.py --do_predict --predict_file FILE applies it"
        )
    module = task_module(task_name, "predictor")
    if options.words and not module.SPLITS_WORDS:
        raise InputError("--words is for taggers; this model predicts for whole texts")
    signal.signal(signal.SIGTERM, stop)
    accelerator = build_accelerator(mixed_precision=options.mixed_precision, log_with=None)
    with closing_group(), ExitStack() as stack:
        # The main process alone reads and writes.
        content_of = on_all(accelerator, lambda: module.content_reader(options.model_dir))
        files = DocumentFiles(
            stack,
            progress=accelerator.is_main_process,
            content_of=content_of,
            formats=module.FORMATS,
        )

        def open_files() -> None:  # before the model loads: mistakes show at once
            files.open_input(
                options.text or options.file, options.input_format, options.text_column_name
            )
            files.open_output(options.output, options.output_format)

        on_main(accelerator, open_files)
        predictor = on_all(
            accelerator,
            lambda: module.load_predictor(
                options.model_dir,
                **({"words": options.words} if module.SPLITS_WORDS else {}),
                batch_size=options.batch_size,
                device=accelerator.device,
                mixed_precision=accelerator.mixed_precision,
            ),
        )
        while True:
            units = on_main(accelerator, lambda: files.read(accelerator.num_processes))
            if not units[0]:
                break
            predicted = gather_object([predictor(units[accelerator.process_index])])
            shape = {"kind": predictor.kind, "with_scores": options.scores}
            on_main(accelerator, partial(files.write, predicted, **shape))
        on_main(accelerator, stack.close)  # now the output is there, whole


def stop(number: int, frame: FrameType | None) -> None:
    """End the process for a signal in such a way that files that are not whole are deleted."""
    sys.exit(128 + number)


def cli(argv: list[str] | None = None) -> int:
    """main() as a command; returns the exit code."""
    return run_script(main, argv)


if __name__ == "__main__":
    leave(cli())
