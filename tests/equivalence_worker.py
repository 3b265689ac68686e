"""Trains one epoch for each of several cuts, in every process of a launch, and writes it down.

    accelerate launch ... tests/equivalence_worker.py FOLDER DATA MODEL TASK CUTS OPTIONS

CUTS and OPTIONS are JSON lists; a cut is [per-device batch size, accumulation steps, dtype]. For
each, FOLDER/B-A-dtype/ holds the gradients of the first update, the weights after the epoch,
metrics.jsonl, and for every process the sentences that it really put through the model.
"""

import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import train_loop
from tagloop.models import encoder_decoder, model
from tagloop.output import run_folder
from tagloop.processes.agree import on_main
from tagloop.processes.stop_signal import StopSignal
from tagloop.tasks.classification import task as classification
from tagloop.tasks.language_modelling import language_model
from tagloop.tasks.qa import task as qa
from tagloop.tasks.tagging import task as tagging


def main(
    folder: Path, data: str, model_dir: str, task: str, cuts: list, options: list[str]
) -> None:
    load_model, train_step = model.load_model, train_loop.train_step
    for batch_size, accumulation, dtype in cuts:
        out = folder / f"{batch_size}-{accumulation}-{dtype}"
        out.mkdir(parents=True, exist_ok=True)
        for module in (tagging, classification, language_model, encoder_decoder, qa):
            module.load_model = lambda *a, dtype=dtype, **k: load_model(*a, **k).to(
                getattr(torch, dtype)
            )
        config = train_loop.parse_config(
            [f"--train_file={data}", f"--config_name={model_dir}", f"--tokenizer_name={model_dir}",
             "--ignore_mismatched_sizes", f"--task_name={task}", f"--output_dir={out}",
             f"--per_device_train_batch_size={batch_size}", "--logging_steps=1",
             f"--gradient_accumulation_steps={accumulation}", "--num_train_epochs=1",
             "--learning_rate=1e-3", "--num_warmup_steps=2", "--max_grad_norm=0.5",
             "--validation_split_percentage=0",
             *(["--line_by_line"] if task in ("mlm", "t5_mlm") else []),
             *(["--version_2_with_negative"] if task == "qa" else []), *options]
        )  # fmt: skip
        accelerator = train_loop.build_accelerator(mixed_precision=None, log_with=None)
        run = train_loop.build(config, accelerator, out, None)
        on_main(accelerator, lambda run=run: run_folder.start(run, None))
        gradients, stream = {}, []

        def keep_gradients(*_, gradients=gradients, run=run):
            if not gradients:
                named = run.accelerator.unwrap_model(run.model).named_parameters()
                gradients.update({name: p.grad.clone() for name, p in named if p.grad is not None})

        run.optimizer.optimizer.register_step_pre_hook(keep_gradients)

        def keep_stream(run, update, stream=stream):
            examples = run.task.examples["train"]
            read = getattr(examples, "source", examples)
            name = "input_ids"
            if task == "speech":  # A recording is known by its transcript.
                read, name = examples.target, "decoder_input_ids"
            lengths = read.lengths
            stream.append(
                [
                    [row[:length] for row, length in zip(ids.tolist(), lengths, strict=True)]
                    for ids, lengths in (
                        (
                            micro_batch.unpack(micro_batch.inputs[name]),
                            lengths[micro_batch.example_ids],
                        )
                        for micro_batch in update.micro_batches
                        if (micro_batch.labels != -100).any()
                        or (update.target_weight == 0 and len(micro_batch.example_ids))
                    )
                ]
            )
            return train_step(run, update)

        train_loop.train_step = keep_stream
        with StopSignal() as stop:
            train_loop.train(run, stop)
        rank = accelerator.process_index
        (out / f"stream-{rank}.json").write_text(json.dumps(stream))
        weights = accelerator.unwrap_model(run.model).state_dict()
        if run.average:
            averages = run.average.averaged(weights)
            weights = weights | {f"average of {name}": averages[name] for name in averages}
        torch.save({"gradients": gradients, "weights": weights}, out / f"tensors-{rank}.pt")
    accelerator.end_training()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:5], *map(json.loads, sys.argv[5:]))
