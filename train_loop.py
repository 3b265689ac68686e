"""tagloop: fine-tune a model by hand, on any number of devices.

    accelerate launch --config_file accelerate_configs/cpu.yaml train_loop.py
    accelerate launch --config_file accelerate_configs/multi_gpu.yaml train_loop.py \\
        --model_name_or_path bert-base-cased --train_file train.conll --validation_file dev.conll \\
        --output_dir runs/mine

The functions below follow the run from its start to its end: main(), build(), train(),
train_step(), compute_loss(), evaluate(), finish(). In this project a step is always one update of
the optimizer. The examples, the loss and the gradient of an update do not depend on the number of
processes, or on how the global batch is cut into micro-batches. The task (tagloop/tasks) decides
which targets the model learns, which values it predicts and how the predictions are scored.
"""

from tagloop.options.command_line import check_command_line, check_places, parse_config

if __name__ == "__main__":  # The user sees --help and bad options before torch is imported.
    check_command_line()

import math
import signal
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from transformers import get_scheduler

from postprocess import predict_split
from tagloop.batches.dataloader import Update, build_dataloader
from tagloop.batches.examples import shown_ids
from tagloop.batches.packing import MicroBatch
from tagloop.batches.plan import plan_epoch
from tagloop.checkpoints.identity import build_identity, check_same_options, require_same
from tagloop.checkpoints.remedies import with_remedy
from tagloop.checkpoints.resume import EarlierRun, find_earlier, load_final, restore
from tagloop.checkpoints.save import save_checkpoint
from tagloop.checkpoints.state import require_finite
from tagloop.errors import NotFinite
from tagloop.options.config import Config
from tagloop.options.scripts import run_script
from tagloop.options.settle import settle
from tagloop.output import console, hub, logs, run_folder, several, trackers
from tagloop.output.speed import Meter
from tagloop.processes.agree import on_all, on_main, say, seed_update
from tagloop.processes.devices import padding_multiple, precise_dtype
from tagloop.processes.launch import build_accelerator, closing_group, leave_group
from tagloop.processes.sharding import sharding_by_layer
from tagloop.processes.stop_signal import StopSignal
from tagloop.report.build import report_run
from tagloop.run import Run
from tagloop.streams import leave
from tagloop.tasks.task import Scores, check_data, load_task
from tagloop.training.background import Background
from tagloop.training.dropout import dropout_of
from tagloop.training.dry_pass import dry_pass
from tagloop.training.losses import UnreadLosses, UpdateResult
from tagloop.training.memory import recompute_layers
from tagloop.training.optim import build_optimizer, choose_trained
from tagloop.training.progress import TrainState, build_timetable
from tagloop.training.vocabulary import compact_vocabulary


@closing_group()
def main(argv: list[str] | Config | None = None) -> dict:
    """Do everything that the options ask for; return the content of all_results.json.

    Raises:
        InputError: the data, an option or the launch cannot work.
        RunStopped: the run cannot go on, as a loss is not finite or the disk is full.
        Preempted: a signal stopped the run.
    """
    config = parse_config(argv)
    if config.check_data:
        return check_data(config)
    if config.is_several_runs:
        return several.train_each(config, main)
    log_with = trackers.check_trackers(config)
    accelerator = build_accelerator(config.mixed_precision, log_with, use_cpu=config.use_cpu)
    on_all(accelerator, lambda: check_places(config))
    with run_folder.claim(config, accelerator) as folder:
        tell = partial(say, accelerator)
        earlier = on_main(accelerator, lambda: find_earlier(config, folder, tell))
        if earlier and earlier.finished:
            settled = settle(config, earlier.options)
            check_same_options(earlier.identity, settled, accelerator, folder)
            tell(f"{folder}: this run is finished, there is nothing to resume")
            return earlier.results
        run = build(config, accelerator, folder, earlier)
        require_same(accelerator, run.identity)
        run.size_micro_batches(compute_loss)
        if earlier:
            restore(run, earlier)
        with trackers.reporting(run), with_remedy(run):
            on_main(accelerator, lambda: run_folder.start(run, earlier))
            console.print_header(run)
            with StopSignal() as stop, run.background:
                measured = train(run, stop) if config.do_train else {}
            results = finish(run, measured)
        console.print_footer(run)
        leave_group()
        if accelerator.is_main_process:  # The other processes need not wait.
            report_run(run)
            hub.push(run)
    return results


def build(
    config: Config, accelerator: Accelerator, folder: Path, earlier: EarlierRun | None
) -> Run:
    """Build the task, the model, the optimizer and the schedule. Raises InputError for bad input.

    Args:
        earlier: the run that this one resumes; None for a new run.
    """
    config = settle(config, earlier.options if earlier else None)
    multiple = padding_multiple(accelerator.device, accelerator.mixed_precision)

    def load_everything():
        say(accelerator, f"reading {config.names_of_data}")
        task = load_task(config, pad_to_multiple_of=multiple)
        say(accelerator, f"loading {config.names_of_model}")
        model = task.build_model()
        choose_trained(config, model)
        if config.gradient_checkpointing:
            recompute_layers(model)
        dry = dry_pass(
            model,
            task.examples.values(),
            dropout=config.do_train and config.dropout == "per_example",
            backward=config.do_train and accelerator.num_processes > 1,
            pack_to_multiple_of=multiple if config.do_train and config.packing else None,
        )
        task.warnings.extend(dry.warnings)
        return task, model, dry

    task, model, own_dry = on_all(accelerator, load_everything)
    # All processes must deal examples in the same way, but on a machine that rounds differently
    # the dry pass could end otherwise. So all processes use the result of the main process.
    dry = on_main(accelerator, lambda: own_dry)
    accelerator.ddp_handler.find_unused_parameters = dry.has_unused_parameters
    every_row = config.full_vocabulary or not config.do_train
    vocabulary = compact_vocabulary(
        model,
        None if every_row else shown_ids(task.examples.values()),
        keep_waiting=accelerator.is_main_process,
    )
    optimizer = build_optimizer(config, model)
    with sharding_by_layer(accelerator, model):
        model, optimizer = accelerator.prepare(model, optimizer)

    # A resumed run keeps its global batch size, even if the number of processes or the options
    # about batch sizes have changed.
    share = config.per_device_train_batch_size * config.gradient_accumulation_steps
    global_batch_size = earlier.global_batch_size if earlier else share * accelerator.num_processes
    timetable = build_timetable(config, len(task.examples.get("train", ())), global_batch_size)
    lr_scheduler = get_scheduler(
        config.lr_scheduler_type,
        optimizer.optimizer,  # The schedule of a prepared optimizer would step once per process.
        num_warmup_steps=timetable.num_warmup_updates,
        num_training_steps=timetable.num_updates,
    )
    return Run(
        config=config,
        accelerator=accelerator,
        folder=folder,
        task=task,
        model=model,
        vocabulary=vocabulary,
        optimizer=optimizer,
        lr_scheduler=lr_scheduler,
        equal_lengths=dry.looks_across_padding,
        packing=dry.packing,
        dropout_calls=dry.dropout_calls,
        global_batch_size=global_batch_size,
        timetable=timetable,
        identity=build_identity(config, task, accelerator),
        state=TrainState(),
        background=Background(accelerator, in_thread=config.async_checkpoints),
    )


def train(run: Run, stop: StopSignal) -> dict:
    """Take the updates of all epochs; log, evaluate, save and stop after an update if that is due.

    Returns:
        The speed of the training, as `Meter.close` gives it.
    """
    config, accelerator, state = run.config, run.accelerator, run.state
    meter = Meter(run)
    if run.is_over:  # The run was resumed after its last update.
        return meter.close()
    first_epoch, first_update = run.timetable.position(state.step)
    for epoch in range(first_epoch, run.timetable.num_epochs):
        examples = run.task.examples["train"].at_epoch(config.seed, epoch)
        plan = plan_epoch(
            examples.lengths, seed=config.seed, epoch=epoch,
            global_batch_size=run.global_batch_size, group_by_length=config.group_by_length,
        )  # fmt: skip
        train_dataloader = build_dataloader(
            examples, plan, accelerator, num_workers=config.dataloader_num_workers,
            per_device_batch_size=config.per_device_train_batch_size, start=first_update,
            equal_lengths=run.equal_lengths, packing=run.packing,
        )  # fmt: skip
        first_update = 0
        unread = UnreadLosses()  # The losses stay on the device until a log or a save is due.
        if config.dataloader_num_workers:
            run.background.wait()  # The workers are forks, and no thread may run during a fork.
        for update in train_dataloader:
            unread.add(train_step(run, update))
            state.step += 1
            meter.count(update)

            due = run.timetable.due(state.step)
            is_best = False
            if due:
                unread.read(accelerator, state)
                run.background.check()
            if due.log:
                meter.show(logs.log_training(run))
            if due.end_epoch:
                state.end_epoch()
            if due.evaluate and "validation" in run.task.examples:
                scores, _ = evaluate(run, "validation")
                is_best = state.add_evaluation(scores, run.task.metric)
                logs.log_evaluation(run, scores)
            stop_number = stop.agreed()
            must_save = stop_number and (stop_number != signal.SIGINT or config.checkpointing_steps)
            if due.save or must_save or (is_best and config.load_best_model_at_end):
                unread.read(accelerator, state)
                save_checkpoint(run, epoch=epoch if due.end_epoch else None, is_best=is_best)
            if run.is_over:
                return meter.close()
            if stop_number:
                run.background.wait()
                raise run.stopped(saved=bool(must_save))
    return meter.close()


def train_step(run: Run, update: Update) -> UpdateResult:
    """Learn from one global batch: forward, backward, clip, step. Every process must call this.

    The loss of an update is the sum of its losses divided by the sum of its targets' weights. Both
    sums go over the whole global batch, so the loss does not depend on the cut. DDP and FSDP
    average gradients over processes, so the loss is multiplied by num_processes. The loss that a
    transformers model returns is not used, because it is a mean over the micro-batch.
    """
    accelerator, model, optimizer = run.accelerator, run.model, run.optimizer
    seed_update(run.config.seed, run.state.step, accelerator.process_index)
    model.train()
    scale = accelerator.num_processes / (update.target_weight or 1)
    loss_sum = torch.zeros((), dtype=precise_dtype(accelerator), device=accelerator.device)
    with run.casts:
        for number, micro_batch in enumerate(update.micro_batches, start=1):
            is_last = number == len(update.micro_batches)
            # Processes exchange gradients once in an update, during its last backward pass.
            with nullcontext() if is_last else accelerator.no_sync(model):
                loss = compute_loss(run, micro_batch.to(accelerator.device))
                accelerator.backward(loss * scale)
            loss_sum += loss.detach()
    max_norm = run.config.max_grad_norm or math.inf
    grad_norm = accelerator.clip_grad_norm_(model.parameters(), max_norm)
    scaler = accelerator.scaler  # Only fp16 has a scaler; without fp16 this is None.
    scale_before = scaler.get_scale() if scaler else 0.0
    optimizer.step()
    # accelerate's optimizer_step_was_skipped is wrong here: fused AdamW skips inside its kernel.
    skipped = scaler is not None and scaler.get_scale() < scale_before
    if not skipped:
        run.after_update()
        run.lr_scheduler.step()
    optimizer.zero_grad()
    return UpdateResult(update.example_ids, update.target_weight, loss_sum, grad_norm, skipped)


def compute_loss(run: Run, micro_batch: MicroBatch) -> Tensor:
    """The summed loss of a micro-batch on the device: a scalar with a gradient, usually float64."""
    # The dropout masks do not depend on how the global batch is cut.
    with dropout_of(run.config, run.state.step, micro_batch, run.dropout_calls):
        outputs = run.model(**micro_batch.inputs)
    losses = run.task.losses(outputs, micro_batch)
    return losses.sum(dtype=precise_dtype(run.accelerator))


def evaluate(run: Run, split: str) -> tuple[Scores, dict[str, np.ndarray]]:
    """Score a split. Every process must call this, and every process gets the same result.

    Returns:
        The scores, and the predictions by name, [num_predictions of the split, ...] each.
    """
    with run.averaged():
        outcome = predict_split(
            run.accelerator, run.model, run.task, split,
            batch_size=run.config.per_device_eval_batch_size, equal_lengths=run.equal_lengths,
        )  # fmt: skip
    if outcome.loss is not None and not math.isfinite(outcome.loss):
        raise NotFinite(f"update {run.state.step}: the {split} loss is {outcome.loss}")
    scores = on_main(
        run.accelerator, lambda: run.task.score(split, outcome.predictions, outcome.loss).plain()
    )
    return Scores(scores.values | {"loss": outcome.loss}, scores.by_type), outcome.predictions


def finish(run: Run, measured: dict) -> dict:
    """Load the final weights, score and predict; then the main process writes all files.

    Args:
        measured: the speed of the training, as `Meter.close` gives it.
    """
    config, state, examples = run.config, run.state, run.task.examples
    results = run.scores
    predictions: dict[str, dict[str, np.ndarray]] = {}
    run.background.wait()
    require_finite(run)
    if config.do_train:
        if state.epoch_num_labels or state.train_loss is None:  # The run ended inside an epoch.
            state.end_epoch()
        trained = {"loss": logs.significant(run, state.train_loss)} | measured
        results["train"] = Scores(trained | logs.log_ending(run), {})
        load_final(run)
    if "validation" in examples:
        scores = state.best_scores if config.load_best_model_at_end else state.last_scores
        # The report needs predictions: of the test data or, without test data, of this split.
        if not scores.values or (config.do_train and "test" not in examples):
            scores, predictions["validation"] = evaluate(run, "validation")
        results["eval"] = scores
    for split in ("test", "predict"):
        if split in examples:
            scores, predictions[split] = evaluate(run, split)
            if split == "test":
                results["test"] = scores
    files = run_folder.write_trained_model(run) if config.do_train else {}
    return on_main(run.accelerator, lambda: run_folder.finish(run, files, results, predictions))


def cli(argv: list[str] | None = None) -> int:
    """Run main() as a command of the shell; returns the exit code."""
    return run_script(main, argv)


if __name__ == "__main__":
    leave(cli())
