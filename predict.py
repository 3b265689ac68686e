"""Apply a trained model to text: entities with character offsets, tags of words, or classes.

    python predict.py runs/mine --text "Ann Lee lives in Oslo."
    python predict.py runs/mine --file in.conll --output out.conll
    python predict.py runs/group/seed_1 runs/group/seed_2 --file in.txt  # or runs/group: the mean
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

    python predict.py runs/mine --file in.txt --html page.html           # what was found, in colour
    python predict.py runs/mine --file in.txt --sort_by uncertainty --top 100 \\
        --output_format doccano --output next.jsonl                      # what to annotate next
"""

import signal
import sys
from argparse import Namespace
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import FrameType, ModuleType

from tagloop.data.documents.choosing import Ranking
from tagloop.data.documents.files import DocumentFiles
from tagloop.data.documents.options import parse_options
from tagloop.errors import InputError
from tagloop.options.scripts import command_of, program_name, run_script
from tagloop.streams import leave
from tagloop.tasks import has_module, task_module, task_of


def main(argv: list[str] | None = None) -> None:
    """Predict for everything, a bounded unit of documents per process at a time."""
    options = parse_options(argv, __doc__)
    from accelerate.utils import gather_object  # imports that take seconds come after --help

    from tagloop.models.ensemble import load_together
    from tagloop.processes.agree import on_all, on_main
    from tagloop.processes.devices import use_threads
    from tagloop.processes.launch import build_accelerator, closing_group

    use_threads(options.threads)

    folders, module = find_models(options.model_dirs)
    if options.words and not module.SPLITS_WORDS:
        raise InputError("--words is for taggers; this model predicts for whole texts")
    signal.signal(signal.SIGTERM, stop)
    accelerator = build_accelerator(mixed_precision=options.mixed_precision, log_with=None)
    with closing_group(), ExitStack() as stack:
        # The main process alone reads and writes.
        content_of = on_all(accelerator, lambda: module.content_reader(folders[0]))
        files = DocumentFiles(
            stack,
            progress=accelerator.is_main_process,
            content_of=content_of,
            formats=module.FORMATS,
            min_score=options.min_score,
            ranking=Ranking(options.top) if options.sort_by else None,
        )

        def close_files() -> None:  # now the output is there, whole
            files.finish()
            stack.close()

        # This comes before the model loads, so that mistakes show at once.
        on_main(accelerator, lambda: open_files(files, options, accelerator.num_processes))
        load = partial(
            module.load_predictor,
            **({"words": options.words} if module.SPLITS_WORDS else {}),
            batch_size=options.batch_size,
            device=options.device or accelerator.device,
            mixed_precision=accelerator.mixed_precision,
        )
        predictor = on_all(accelerator, lambda: load_together(folders, load))
        while True:
            units = on_main(accelerator, lambda: files.read(accelerator.num_processes, predictor))
            if not units[0][0]:
                break
            predicted = gather_object([predictor(*units[accelerator.process_index])])
            shape = {"kind": predictor.kind, "with_scores": options.scores}
            on_main(accelerator, partial(files.write, predicted, **shape))
        on_main(accelerator, close_files)


def find_models(model_dirs: list[Path]) -> tuple[list[Path], ModuleType]:
    """The folders of all models that predict together, and the module that applies them.

    Raises:
        InputError: this script does not apply the models of their task, or only one at once.
    """
    from tagloop.models.ensemble import check_members, members_of

    folders = members_of(model_dirs)
    check_members(folders)
    task_name = task_of(folders[0])
    if not has_module(task_name, "predictor"):
        raise InputError(
            f"{folders[0]}: {program_name('predict.py')} does not know models of --task_name "
            f"{task_name}; {command_of('train_loop.py')} --do_predict "
            "--predict_file FILE applies it"
        )
    module = task_module(task_name, "predictor")
    if len(folders) > 1 and not getattr(module, "HAS_MEAN", False):
        raise InputError(
            f"{folders[1]}: models of --task_name {task_name} predict alone; name one folder"
        )
    return folders, module


def open_files(files: DocumentFiles, options: Namespace, num_processes: int) -> None:
    """Open the input, the output and the page that the options name.

    Raises:
        InputError: one of them cannot be opened, or this machine does not have the device.
    """
    from tagloop.pages.charts import require_jinja
    from tagloop.pages.predictions import PageWriter
    from tagloop.processes.devices import check_device

    check_device(options.device, num_processes)
    files.open_input(options.text or options.file, options.input_format, options.text_column_name)
    if options.output is not None:
        files.open_output(options.output, options.output_format)
    if options.html is not None:
        require_jinja("the page")
        title = f"What {options.model_dirs[0].resolve().name} finds"
        files.writers.append(PageWriter(files.open_page(options.html), title))


def stop(number: int, frame: FrameType | None) -> None:
    """End the process for a signal in such a way that files that are not whole are deleted."""
    sys.exit(128 + number)


def cli(argv: list[str] | None = None) -> int:
    """main() as a command; returns the exit code."""
    return run_script(main, argv)


if __name__ == "__main__":
    leave(cli())
