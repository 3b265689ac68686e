"""tagloop under a gate: its real main(), stopped before every update. See measuring.py."""

import train_loop


def train_tagloop(inputs, gate, options) -> None:
    """Train as `train_loop.py` does, with the options that worker.py was given."""
    real_step = train_loop.train_step

    def gated_step(run, update):
        if not gate.notes:
            gate.notes["trained"] = sum(p.numel() for p in run.model.parameters())
        gate.update()
        lengths = run.task.examples["train"].lengths[update.example_ids].astype("int64")
        cells = update.num_cells * run.accelerator.num_processes  # the others have about as many
        gate.add(len(lengths), lengths.sum(), (lengths**2).sum(), cells)
        return real_step(run, update)

    train_loop.train_step = gated_step
    train_loop.main(arguments(inputs, options))


def evaluate_tagloop(inputs, gate, options) -> None:
    """Score the validation split again and again, as training does between its updates."""
    extra = ["--do_eval", f"--validation_file={inputs}/validation.jsonl"]
    config = train_loop.parse_config([*arguments(inputs, options), *extra])
    accelerator = train_loop.build_accelerator(
        mixed_precision=config.mixed_precision, log_with=None
    )
    run = train_loop.build(config, accelerator, inputs / "run", None)  # nothing is written
    while True:
        gate.update()
        lengths = run.task.examples["validation"].lengths.astype("int64")
        scores, _ = train_loop.evaluate(run, "validation")
        gate.add(len(lengths), lengths.sum(), (lengths**2).sum(), 0)
        gate.notes["f1"] = scores.values["f1"]


def arguments(inputs, options) -> list[str]:
    """The command line of a run that only trains, into a folder of its own."""
    return [
        "--no_report", "--do_train", f"--train_file={inputs}/train.jsonl",
        f"--model_name_or_path={inputs}/model", f"--output_dir={options.address or inputs}.run",
        f"--per_device_train_batch_size={options.batch_size}",
        f"--max_train_steps={options.max_steps}", f"--seed={options.seed}",
        *options.tagloop.split(),
    ]  # fmt: skip
