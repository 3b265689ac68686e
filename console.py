"""What a person sees: a header before the run, logs while it goes, a footer with what came out."""

import os
import sys
import time
import warnings

import datasets
import transformers
from accelerate.tracking import get_available_trackers
from accelerate.utils import LoggerType
from tqdm import tqdm

import run_folder
from distributed import decide
from errors import InputError


def say(accelerator, text: str) -> None:
    """Print on the main process, above the progress bar."""
    if accelerator.is_main_process:
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()


def quiet_libraries() -> None:
    """Bars, tables and warnings of the libraries would drown the run's own lines."""
    # torch 2.13 renames the option, accelerate 1.15 does not know the new name.
    warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()


def check_trackers(report_to: str) -> None:
    """Refuse a tracker that does not exist or is not installed."""
    known = [str(tracker) for tracker in LoggerType]
    if report_to != "all" and report_to not in known:
        raise InputError(f"--report_to {report_to}: not among {', '.join(known)}")
    installed = [str(tracker) for tracker in get_available_trackers()]
    if not installed or (report_to != "all" and report_to not in installed):
        name = "tensorboard" if report_to == "all" else report_to
        raise InputError(f"--with_tracking: {name} is not installed; pip install {name}")


def start_trackers(run) -> None:
    """Experiment trackers, their files under the output folder. Every process must call this."""
    if not run.config.with_tracking:
        return
    accelerator = run.accelerator
    accelerator.project_configuration.set_directories(str(run.folder))
    plain = (int, float, str, bool)  # TensorBoard takes neither None nor lists
    options = {k: v for k, v in run.config.public().items() if isinstance(v, plain)}
    accelerator.init_trackers("ner_no_trainer", options)


def report_error(error: Exception) -> None:
    """One message for all processes of a machine; they met the same error."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr, flush=True)


def format_scores(values: dict) -> str:
    """name value, name value: four digits for what is not tiny."""
    return ", ".join(
        f"{name} {value:.4f}" if abs(value) >= 1e-3 or value == 0 else f"{name} {value:.2e}"
        for name, value in values.items()
        if isinstance(value, float)
    )


def print_header(run, state) -> None:
    """Say what will run."""
    config, accelerator, corpus = run.config, run.accelerator, run.corpus
    lines = []
    if config.uses_sample_corpus:
        lines.append(
            "tagloop on its built-in sample corpus. For your own data: --train_file FILE "
            "--validation_file FILE --model_name_or_path NAME"
        )
    for split, windows in run.windows.items():
        sentences = corpus.splits[split]
        lines.append(
            f"{split:<11} {len(sentences):,} sentences, {windows.num_words:,} words, "
            f"{len(windows):,} windows of up to {int(windows.lengths.max())} sub-tokens"
        )
        for fact, count in windows.facts.items():
            if count:
                lines.append(f"{'':<11} {count:,} {FACTS[fact]}")
    labels = list(run.id2label.values())
    scheme = f" (read as {corpus.scheme}, trained as IOB2)" if corpus.scheme else ""
    lines.append(f"{'labels':<11} {len(labels)}: {', '.join(labels)}{scheme}")
    unwrapped = accelerator.unwrap_model(run.model)
    size = sum(parameter.numel() for parameter in unwrapped.parameters())
    origin = config.model_name_or_path or "from scratch"
    lines.append(
        f"{'model':<11} {type(unwrapped).__name__}, {size / 1e6:.1f} M parameters, {origin}"
    )
    lines.append(
        f"{'devices':<11} {accelerator.num_processes} x {accelerator.device.type}, "
        f"precision {accelerator.mixed_precision}"
    )
    if config.do_train:
        at_once = config.per_device_train_batch_size * accelerator.num_processes
        rounds = -(-run.global_batch_size // at_once)
        lines.append(
            f"{'updates':<11} {run.timetable.num_updates:,}, "
            f"{run.timetable.updates_per_epoch:,} an epoch, each of {run.global_batch_size} "
            f"windows: {accelerator.num_processes} x {rounds} micro-batches of at most "
            f"{config.per_device_train_batch_size}"
        )
    if state.step:
        lines.append(f"{'resumed':<11} after update {state.step:,}")
    lines.append(f"{'output':<11} {run.folder}")
    lines += [f"warning: {warning}" for warning in corpus.warnings]
    say(accelerator, "\n".join(lines))


FACTS = {
    "words_without_sub_tokens": "words are nothing to the tokenizer; they count as unknown tokens",
    "words_shortened": "words are longer than a window; their first sub-tokens stand for them",
    "sentences_cut": "sentences are longer than a window; every word is predicted once",
}


class Meter:
    """Counts work and time of the training loop, for the progress bar and the footer."""

    def __init__(self, run, state):
        self.started = time.perf_counter()
        self.words = self.sub_tokens = self.cells = 0
        self.bar = tqdm(
            total=run.timetable.num_updates,
            initial=state.step,
            desc="training",
            unit="update",
            disable=None if run.accelerator.is_main_process else True,
        )

    def count(self, update: dict) -> None:
        self.words += update["num_words"]
        self.sub_tokens += update["num_sub_tokens"]
        self.cells += update["num_cells"]
        self.bar.update()

    def close(self) -> dict:
        """runtime (s), words per second of all processes, share of padding in this one."""
        self.bar.close()
        seconds = time.perf_counter() - self.started
        return {
            "runtime": round(seconds, 3),
            "words_per_second": round(self.words / seconds, 1),
            "padding_share": round(1 - self.sub_tokens / max(self.cells, 1), 4),
        }


def log_training(run, state) -> None:
    """Report the mean loss since the last time. Four decimals: below them the cut shows."""
    values = {
        "loss": round(state.take_log_loss(), 4),
        "grad_norm": None if state.grad_norm is None else round(state.grad_norm, 4),
        "learning_rate": run.lr_scheduler.get_last_lr()[0],
    }
    log_metrics(run, state, values)


def log_evaluation(run, state, results: dict) -> None:
    """Report the scores of the validation split. Every process must call this."""
    log_metrics(run, state, {f"eval_{name}": value for name, value in results.items()})


def log_metrics(run, state, values: dict) -> None:
    """One line in metrics.jsonl, on the screen and to the trackers. Every process."""
    epoch = round(state.step / run.timetable.updates_per_epoch, 4)
    decide(
        run.accelerator,
        lambda: run_folder.add_metrics(run.folder, {"step": state.step, "epoch": epoch} | values),
    )
    run.say(f"update {state.step}, epoch {epoch:.2f}: " + format_scores(values))
    run.accelerator.log({k: v for k, v in values.items() if v is not None}, step=state.step)


def print_footer(run, results: dict) -> None:
    """Say what came out."""
    lines = []
    for part in ("eval", "test"):
        scores = {
            name.removeprefix(f"{part}_"): value
            for name, value in results.items()
            if name.startswith(f"{part}_")
        }
        if scores:
            lines.append(f"{part:<11} {format_scores(scores)}")
    if run.config.do_train:
        lines.append(
            f"{'speed':<11} {results['train_words_per_second']:,.0f} words/s, "
            f"{results['train_padding_share']:.1%} padding, "
            f"{results['train_runtime']:.0f} s with evaluations"
        )
    memory = run_folder.peak_memory(run.accelerator.device)
    lines.append(f"{'memory':<11} {memory / 2**30:.2f} GiB at the peak of one process")
    lines.append(f"{'files':<11} {run.folder}")
    say(run.accelerator, "\n".join(lines))
