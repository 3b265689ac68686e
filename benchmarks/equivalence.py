"""One global batch, cut six ways: is the first update the same?

    python benchmarks/equivalence.py
    python benchmarks/equivalence.py --dropout 0.1
    python benchmarks/equivalence.py --dropout 0.1 --task qa

Three systems learn from the same 16 sentences with the same small BERT (float32, the same first
weights, no dropout unless it is asked for): tagloop's own train_step, transformers.Trainer, and
the loop of the Hugging Face course. Of any other task than ner, tagloop alone is measured, with the
small model of the task and the first 16 examples of its built-in sample. Only the cut differs:
processes × examples in a micro-batch × micro-batches per update. On the CPU, without network, in
one to two minutes on two cores.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import NamedTuple

import accelerate
import torch
import transformers
from measuring import REPO
from peers import measure_course, measure_trainer

sys.path.insert(0, str(REPO))  # for train_loop
from tagloop.tasks import TASKS

SEED = 42  # of the first weights
# Words of each sentence: few or many, as in real corpora, so that means of micro-batches differ.
NUM_WORDS = (1, 1, 1, 2, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 28, 36)
TASK_OPTIONS = {  # of tasks whose plain command has rows of one length, or answers alone
    "mlm": ["--line_by_line"],
    "qa": ["--version_2_with_negative"],
}
LAUNCH_FILES = {1: "cpu.yaml", 2: "cpu_2proc.yaml"}


class Cut(NamedTuple):
    """How a global batch of 16 is computed; the product is always that."""

    num_processes: int
    batch_size: int
    accumulation: int

    def __str__(self) -> str:
        return " × ".join(map(str, self))


CUTS = [Cut(1, 16, 1), Cut(1, 8, 2), Cut(1, 1, 16), Cut(2, 8, 1), Cut(2, 4, 2), Cut(2, 1, 8)]


def main() -> None:
    """Measure every system in processes of its own, then print the table and how to read it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worker", choices=SYSTEMS, help="the script starts itself with this")
    parser.add_argument("--folder", type=Path, help="and with this")
    parser.add_argument("--dropout", type=float, default=0.0, help="rate of all dropout layers")
    parser.add_argument("--task", choices=TASKS, default="ner", help="the task that is learned")
    options = parser.parse_args()
    if options.worker:
        run_worker(options.worker, options.folder, options.task)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder, options.dropout, options.task)
        systems = SYSTEMS if options.task == "ner" else ["tagloop"]
        measured = {
            name: launch(name, folder, 1, options.task) | launch(name, folder, 2, options.task)
            for name in systems
        }
    print(describe(measured, options.dropout))


def write_inputs(folder: Path, dropout: float = 0.0, task: str = "ner") -> None:
    """Save the model that all systems start from with its tokenizer, and sentences for ner."""
    import train_loop
    from tagloop.tasks.task import load_task

    options = [f"--task_name={task}", *TASK_OPTIONS.get(task, []), f"--output_dir={folder}/run"]
    loaded = load_task(train_loop.parse_config(["--do_train", *options]), pad_to_multiple_of=1)
    for name, value in vars(loaded.model_config).items():
        if ("dropout" in name or name.endswith("pdrop")) and isinstance(value, float):
            setattr(loaded.model_config, name, dropout)
    transformers.utils.logging.disable_progress_bar()
    model = loaded.build_model()
    torch.manual_seed(SEED)
    type(model)(model.config).save_pretrained(folder / "model")  # As made by transformers alone.
    for processor in loaded.processors:
        processor.save_pretrained(folder / "model")
    if task == "ner":
        write_sentences(folder / "train.jsonl")


def write_sentences(path: Path) -> None:
    """Write sentences of NUM_WORDS words, which are the beginnings of sentences of the sample."""
    from tagloop.sample.corpus import build_sample_corpus

    corpus = build_sample_corpus()["train"]
    by_length = iter(sorted(corpus, key=lambda sentence: len(sentence["tokens"])))
    with path.open("w", encoding="utf-8") as file:
        for num_words in NUM_WORDS:  # the beginning of the next sentence that is long enough
            sentence = next(s for s in by_length if len(s["tokens"]) >= num_words)
            beginning = {name: sentence[name][:num_words] for name in ("tokens", "ner_tags")}
            file.write(json.dumps(beginning) + "\n")


def launch(
    system: str, folder: Path, num_processes: int, task: str = "ner", *, on_gpu: bool = False
) -> dict[Cut, dict]:
    """Measure one system under `accelerate launch`: loss and grad_norm by cut."""
    launch_file = "single_gpu.yaml" if on_gpu else LAUNCH_FILES[num_processes]
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", "0",
        "--config_file", REPO / "accelerate_configs" / launch_file, "--mixed_precision", "no",
        __file__, "--worker", system, "--folder", folder, "--task", task,
    ]  # fmt: skip
    environment = (
        os.environ
        | {
            "HF_DATASETS_CACHE": str(folder / "datasets"),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "TAGLOOP_CACHE": str(folder / "cache"),
        }
        | ({} if on_gpu else {"CUDA_VISIBLE_DEVICES": ""})
    )
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{system} with {num_processes} processes failed:\n{done.stdout}\n{done.stderr}")
    rows = json.loads((folder / f"{system}-{num_processes}.json").read_text())
    return {Cut(*cut): values for cut, values in rows}


def run_worker(system: str, folder: Path, task: str) -> None:
    """Measure the cuts for as many processes as this launch has; the main one writes them."""
    num_processes = int(os.environ.get("WORLD_SIZE", "1"))
    cuts = [cut for cut in CUTS if cut.num_processes == num_processes]
    measure = partial(measure_tagloop, task=task) if task != "ner" else SYSTEMS[system].measure
    rows = [(cut, measure(cut, folder)) for cut in cuts]
    state = accelerate.PartialState()
    if state.num_processes != num_processes:
        sys.exit(f"launched with {num_processes} processes, ran with {state.num_processes}")
    if state.is_main_process:
        (folder / f"{system}-{num_processes}.json").write_text(json.dumps(rows))
    state.destroy_process_group()


def measure_tagloop(cut: Cut, folder: Path, task: str = "ner") -> dict:
    """Build the run as train_loop.main does and take its first update; before any rounding."""
    import train_loop

    data = [f"--train_file={folder}/train.jsonl"] if task == "ner" else []
    config = train_loop.parse_config(
        [
            "--do_train", *data, f"--task_name={task}", *TASK_OPTIONS.get(task, []),
            f"--model_name_or_path={folder}/model", f"--output_dir={folder}/run",
            f"--per_device_train_batch_size={cut.batch_size}",
            f"--gradient_accumulation_steps={cut.accumulation}",
        ]
    )  # fmt: skip
    accelerator = train_loop.build_accelerator(mixed_precision=None, log_with=None)
    run = train_loop.build(config, accelerator, folder / "run", None)
    examples = run.task.examples["train"].at_epoch(config.seed, 0)
    plan = train_loop.plan_epoch(
        examples.lengths,
        seed=config.seed,
        epoch=0,
        global_batch_size=run.global_batch_size,
        group_by_length=run.config.group_by_length,
    )
    update = next(
        iter(
            train_loop.build_dataloader(
                examples,
                plan,
                accelerator,
                per_device_batch_size=cut.batch_size,
                equal_lengths=run.equal_lengths,
                packing=run.packing,
            )
        )
    )
    assert len(update.micro_batches) >= cut.accumulation
    assert max(len(batch.example_ids) for batch in update.micro_batches) <= cut.batch_size
    unread = train_loop.UnreadLosses()
    unread.add(train_loop.train_step(run, update))
    run.state.step = 1
    unread.read(accelerator, run.state)
    num_targets = examples.target_weights[update.example_ids]
    return {
        "loss": run.state.take_log_loss(),
        "grad_norm": run.state.grad_norm,
        "targets": [num_targets.min(), num_targets.max()],
    }


class System(NamedTuple):
    """What to measure, and how to read it if its figures differ from cut to cut."""

    title: str
    measure: object  # (cut, folder) -> loss and grad_norm
    if_different: str


SYSTEMS = {
    "tagloop": System("tagloop", measure_tagloop, "depends on the cut, which is a bug: report it"),
    "trainer": System(
        "Trainer",
        measure_trainer,
        "loss and gradient grow with accumulation steps and processes, so clipping bites harder",
    ),
    "course": System(
        "course loop",
        measure_course,
        "a mean of micro-batch means, in which a label counts for more where there are few",
    ),
}


def describe(measured: dict[str, dict[Cut, dict]], dropout: float) -> str:
    """The table in markdown, its legend, and one line per system."""
    titles = [SYSTEMS[name].title for name in measured]
    lines = [
        "| cut | " + " | ".join(f"{title}: loss | gradient norm" for title in titles) + " |",
        "|---|" + "---:|---:|" * len(titles),
    ]
    for cut in next(iter(measured.values())):
        row = [rows[cut][value] for rows in measured.values() for value in ("loss", "grad_norm")]
        lines.append(f"| {cut} | " + " | ".join(f"{value:.6f}" for value in row) + " |")
    fewest, most = next(iter(measured["tagloop"].values()))["targets"]
    targets = f"{fewest:g} to {most:g}" if fewest < most else f"{most:g}"
    legend = (
        "\nCut: processes × examples in a micro-batch × micro-batches per update; always the same "
        f"{len(NUM_WORDS)} examples, with {targets} targets each. Gradient norm: of the first "
        "update, before clipping. Loss: as it is logged"
    )
    if "course" in measured:
        legend += "; for the course loop the mean of outputs.loss over the main process' micro-"
        legend += "batches"
    lines.append(f"{legend}.\n")
    for name, rows in measured.items():
        norms = [values["grad_norm"] for values in rows.values()]
        spread = max(norms) / min(norms)
        reading = (
            "the same update for every cut" if spread < 1.00001 else SYSTEMS[name].if_different
        )
        lines.append(f"- {SYSTEMS[name].title}: {reading} (gradient norm, max/min: {spread:.6f}).")
    versions = [f"{m.__name__} {m.__version__}" for m in (torch, transformers, accelerate)]
    masks = f"dropout {dropout:g}" if dropout else "no dropout"
    device = "GPU" if torch.cuda.is_available() else "CPU"
    lines.append(f"\n{', '.join(versions)}; {device}, float32, {masks}.")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
