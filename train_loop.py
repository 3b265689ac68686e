"""tagloop: fine-tune an encoder for token classification, by hand, on any number of devices.

    accelerate launch --config_file accelerate_configs/cpu.yaml train_loop.py
    accelerate launch --config_file accelerate_configs/multi_gpu.yaml train_loop.py \\
        --model_name_or_path bert-base-cased --train_file train.conll --validation_file dev.conll \\
        --output_dir runs/mine

The run from top to bottom: main(), build_run(), train(), train_step(), evaluate(), finish(). `step`
counts optimizer updates everywhere. What an update learns from, its loss and its gradient do not
depend on the number of processes or on how the global batch is cut into micro-batches.
"""

import contextlib
import dataclasses
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch.distributed.tensor import DTensor
from torch.nn.functional import cross_entropy
from transformers import get_scheduler

import checkpoint
import console
import model as models
import run_folder
from batching import plan_epoch
from config import MAY_CHANGE_ON_RESUME, Config, check_metric, parse_config
from corpus import SPLITS, Corpus, load_corpus
from distributed import (
    StopSignal,
    check_launch,
    decide,
    precise_dtype,
    require_same,
    seed_update,
    together,
)
from errors import InputError, Preempted, RunStopped
from losses import Learned, read_losses
from metrics.token_scores import TokenScores
from postprocess import predict_split, to_tags
from progress import Timetable, TrainState
from windows import IGNORE_INDEX, Windows, build_dataloader, load_windows, tokenizer_digest


@dataclass
class Run:
    """What was asked for, and everything built for it."""

    config: Config
    accelerator: Accelerator
    folder: Path
    corpus: Corpus
    tokenizer: object
    windows: dict[str, Windows]
    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    lr_scheduler: torch.optim.lr_scheduler.LambdaLR
    global_batch_size: int  # windows that one update learns from, over all processes
    timetable: Timetable
    identity: dict  # what a resumed run must have in common with the one it resumes

    @property
    def id2label(self) -> dict[int, str]:
        return self.accelerator.unwrap_model(self.model).config.id2label

    def say(self, text: str) -> None:
        console.say(self.accelerator, text)


def main(argv: list[str] | None = None) -> dict:
    """Do everything the options ask for; return what all_results.json holds."""
    config = parse_config(argv)
    accelerator = build_accelerator(config)
    folder = decide(accelerator, lambda: run_folder.claim(config))
    earlier = decide(accelerator, lambda: run_folder.find_earlier(config, folder, print))
    run = build_run(config, accelerator, folder, earlier)
    state = restore(run, earlier) if earlier else TrainState()
    if earlier and earlier["finished"]:
        run.say(f"{folder}: this run is finished, there is nothing to resume")
        accelerator.end_training()
        return earlier["results"]
    require_same(accelerator, run.identity)
    decide(accelerator, lambda: run_folder.start(run, state))
    console.start_trackers(run)
    console.print_header(run, state)
    with StopSignal() as stop:
        measured = train(run, state, stop) if config.do_train else {}
        results = finish(run, state, measured)
    console.print_footer(run, results)
    accelerator.end_training()
    if config.push_to_hub and accelerator.is_main_process:  # the others need not wait
        run_folder.push(run)
    return results


def build_accelerator(config: Config) -> Accelerator:
    """The one object that knows about devices and processes."""
    if config.with_tracking:
        console.check_trackers(config.report_to)
    try:
        accelerator = Accelerator(
            # Without `cpu=`, processes on a machine without GPU each believe they are alone.
            cpu=not torch.accelerator.is_available(),
            mixed_precision=config.mixed_precision,
            gradient_accumulation_steps=1,  # the loop owns accumulation: see train_step
            log_with=config.report_to if config.with_tracking else None,
            kwargs_handlers=[
                # Encoders' buffers are constants; sending them in every forward is for nothing.
                DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)
            ],
        )
    except ValueError as error:  # fp16 without a GPU, for one
        raise InputError(f"accelerate cannot run this: {error}") from None
    check_launch(accelerator)
    console.quiet_libraries()
    return accelerator


def build_run(config: Config, accelerator: Accelerator, folder: Path, earlier: dict | None) -> Run:
    """Corpus and labels, tokenizer, windows, model, optimizer, schedule. Bad input ends here."""

    def load():
        corpus = load_corpus(config, SPLITS)
        check_metric(config, corpus.labels)
        tokenizer = models.load_tokenizer(config, corpus)
        model_config = models.load_model_config(config, corpus.labels, tokenizer)
        max_length = models.window_length(config, model_config, tokenizer)
        on_gpu = accelerator.device.type == "cuda"
        windows = load_windows(
            config, corpus, tokenizer, model_config,
            max_length=max_length,
            for_tensor_cores=on_gpu and accelerator.mixed_precision != "no",
        )  # fmt: skip
        model = models.load_model(config, model_config, tokenizer, windows)
        return corpus, tokenizer, model_config, windows, model

    corpus, tokenizer, model_config, windows, model = together(accelerator, load)
    accelerator.ddp_handler.find_unused_parameters = models.has_unused_parameters(model, windows)
    optimizer = models.build_optimizer(
        model, learning_rate=config.learning_rate, weight_decay=config.weight_decay
    )
    model, optimizer = accelerator.prepare(model, optimizer)

    # A resumed run keeps its global batch, whatever the processes and batch sizes are now.
    global_batch_size = earlier["global_batch_size"] if earlier else (
        config.per_device_train_batch_size
        * accelerator.num_processes
        * config.gradient_accumulation_steps
    )  # fmt: skip
    updates_per_epoch = math.ceil(len(windows.get("train", ())) / global_batch_size)
    num_updates = config.max_train_steps or config.num_train_epochs * updates_per_epoch
    warmup = config.num_warmup_steps
    lr_scheduler = get_scheduler(
        config.lr_scheduler_type,
        optimizer.optimizer,  # plain: a prepared one steps once per process
        num_warmup_steps=int(warmup) if warmup >= 1 else round(warmup * num_updates),
        num_training_steps=num_updates,
    )
    return Run(
        config=config,
        accelerator=accelerator,
        folder=folder,
        corpus=corpus,
        tokenizer=tokenizer,
        windows=windows,
        model=model,
        optimizer=optimizer,
        lr_scheduler=lr_scheduler,
        global_batch_size=global_batch_size,
        timetable=Timetable(
            updates_per_epoch,
            num_updates,
            config.logging_steps,
            config.eval_steps,
            config.checkpointing_steps,
        ),
        identity={
            "options": config.public(),
            "data": {s: corpus.fingerprints[s] for s in ("train", "validation") if s in windows},
            "tokenizer": tokenizer_digest(tokenizer),
            "model": models.describe(model_config),
            "precision": accelerator.mixed_precision,
        },
    )


def train(run: Run, state: TrainState, stop: StopSignal) -> dict:
    """Epochs of updates, and after each what is due: log, evaluate, save, stop.

    Returns:
        Throughput, as console.Meter measured it.
    """
    config, accelerator = run.config, run.accelerator
    meter = console.Meter(run, state)
    if is_over(run, state):  # resumed after the last update
        return meter.close()
    first_epoch, first_update = run.timetable.position(state.step)
    for epoch in range(first_epoch, run.timetable.num_epochs):
        plan = plan_epoch(
            run.windows["train"].lengths,
            seed=config.seed,
            epoch=epoch,
            global_batch_size=run.global_batch_size,
            group_by_length=config.group_by_length,
        )
        train_dataloader = build_dataloader(
            run.windows["train"], plan, accelerator, config, start=first_update
        )
        first_update = 0
        unread: list[Learned] = []  # updates whose losses are still on the device
        for update in train_dataloader:
            seed_update(config.seed, state.step, accelerator.process_index)
            unread.append(train_step(run, update))
            state.step += 1
            meter.count(update)

            due, is_best = run.timetable.due(state.step), False
            if due:
                read_losses(run, state, unread)
            if due.log:
                console.log_training(run, state)
            if due.end_epoch:
                state.end_epoch()
            if due.evaluate and "validation" in run.windows:
                results, _ = evaluate(run, "validation")
                is_best = state.add_evaluation(results, config.best_metric)
                console.log_evaluation(run, state, results)
            stop_asked = stop.agreed()
            if due.save or stop_asked or (is_best and config.load_best_model_at_end):
                read_losses(run, state, unread)
                save_checkpoint(run, state, epoch=epoch if due.end_epoch else None, is_best=is_best)
            if is_over(run, state):
                return meter.close()
            if stop_asked:
                raise Preempted(
                    f"stopped by a signal after update {state.step}; go on with "
                    f"--output_dir {run.folder} --resume_from_checkpoint auto"
                )
    return meter.close()


def train_step(run: Run, update: dict) -> Learned:
    """Learn from one global batch: forward, backward, clip, step. Every process must call this.

    The loss of an update is its summed cross-entropy over its number of labels, both over the
    whole global batch, so no cut of the batch changes it. DDP and FSDP average gradients over
    processes, hence the factor num_processes. The head's own loss would be the mean of each
    micro-batch instead.

    Args:
        update: micro_batches of this process (int64 tensors [windows, sub-tokens]), and num_labels
            and window_ids of the whole update.
    """
    accelerator, model, optimizer = run.accelerator, run.model, run.optimizer
    model.train()
    scale = accelerator.num_processes / max(update["num_labels"], 1)
    loss_sum = torch.zeros((), dtype=precise_dtype(accelerator), device=accelerator.device)
    for number, batch in enumerate(update["micro_batches"], start=1):
        is_last = number == len(update["micro_batches"])
        batch = {k: v.to(accelerator.device, non_blocking=True) for k, v in batch.items()}
        labels = batch.pop("labels")
        # Gradients travel between processes once an update, in its last backward.
        with contextlib.nullcontext() if is_last else accelerator.no_sync(model):
            logits = model(**batch).logits
            loss = cross_entropy(
                logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE_INDEX, reduction="sum"
            )
            accelerator.backward(loss * scale)
        loss_sum += loss.detach()
    max_norm = run.config.max_grad_norm or math.inf
    grad_norm = accelerator.clip_grad_norm_(model.parameters(), max_norm)
    scaler = accelerator.scaler  # None but for fp16
    scale_before = scaler.get_scale() if scaler else 0.0
    optimizer.step()
    if isinstance(grad_norm, DTensor):  # FSDP2
        grad_norm = grad_norm.full_tensor()
    # Not optimizer_step_was_skipped: fused AdamW skips inside its kernel, unseen by accelerate.
    skipped = scaler is not None and scaler.get_scale() < scale_before
    if not skipped:
        run.lr_scheduler.step()
    optimizer.zero_grad()
    return Learned(update["window_ids"], update["num_labels"], loss_sum, grad_norm, skipped)


def evaluate(run: Run, split: str) -> tuple[dict, np.ndarray]:
    """Scores of a split, and a label id per word (int16), on every process. All must call this."""
    windows = run.windows[split]
    found = predict_split(
        run.accelerator,
        run.model,
        windows,
        batch_size=run.config.per_device_eval_batch_size,
        description=split,
    )

    def score() -> dict:
        scores = TokenScores().compute(
            predictions=to_tags(found.predictions, windows.sentence_offsets, run.id2label),
            references=to_tags(windows.references, windows.sentence_offsets, run.id2label),
            task=run.config.task_name,
            entity_level=run.config.return_entity_level_metrics,
        )
        return scores | {"loss": found.loss}

    return decide(run.accelerator, score), found.predictions


def is_over(run: Run, state: TrainState) -> bool:
    """True after the last update, or when early stopping has seen enough."""
    patience = run.config.early_stopping_patience
    too_long = patience is not None and state.evaluations_without_gain >= patience
    return state.step >= run.timetable.num_updates or too_long


def save_checkpoint(run: Run, state: TrainState, *, epoch: int | None, is_best: bool) -> None:
    """Publish where the training is, then prune. Every process must call this."""
    by_epoch = run.config.checkpointing_steps == "epoch" and epoch is not None
    folder = run.folder / (f"epoch_{epoch}" if by_epoch else f"step_{state.step}")
    if is_best:
        state.best_checkpoint = folder.name
    checkpoint.save_checkpoint(
        run.accelerator,
        folder,
        model=run.model,
        optimizer=run.optimizer,
        lr_scheduler=run.lr_scheduler,
        tokenizer=run.tokenizer,
        facts={
            "step": state.step,
            "state": dataclasses.asdict(state),
            "global_batch_size": run.global_batch_size,
            "identity": run.identity,
        },
    )
    # Checkpoints that only the best model needs make room for each other.
    keep = run.config.checkpoints_total_limit or (0 if run.config.checkpointing_steps else 1)
    if keep and run.accelerator.is_main_process:
        spare = [folder.name, state.best_checkpoint]
        checkpoint.prune(run.folder, keep=keep, spare=spare, say=run.say)


def restore(run: Run, earlier: dict) -> TrainState:
    """Put the run where the earlier one was; refuse if it is not the same run."""
    checkpoint.check_same_run(
        earlier["identity"],
        run.identity,
        defaults=Config().public(),
        may_change=MAY_CHANGE_ON_RESUME,
        where=run.folder,
    )
    if earlier["finished"]:
        return TrainState()
    if earlier["checkpoint"] is None:
        run.say(f"{run.folder}: no checkpoint yet, the run begins anew")
        return TrainState()
    checkpoint.load_weights(run.accelerator, run.model, earlier["checkpoint"])
    checkpoint.load_training_state(run, earlier["checkpoint"])
    return TrainState(**earlier["state"])


def finish(run: Run, state: TrainState, measured: dict) -> dict:
    """Best weights, last scores, predictions; then the main process writes it all."""
    config = run.config
    results = {}
    if config.do_train:
        if state.epoch_num_labels:  # the run ended inside an epoch
            state.end_epoch()
        results["train"] = {"loss": round(state.train_loss, 5)} | measured
        if config.load_best_model_at_end and state.best_checkpoint:
            best = run.folder / state.best_checkpoint
            decide(run.accelerator, lambda: checkpoint.check_best(best))
            checkpoint.load_weights(run.accelerator, run.model, best)
    if "validation" in run.windows:
        best = state.best_results if config.load_best_model_at_end else state.last_results
        results["eval"] = best or evaluate(run, "validation")[0]
    predictions = {}
    for split in ("test", "predict"):
        if split in run.windows:
            scores, predictions[split] = evaluate(run, split)
            if split == "test":
                results["test"] = scores
    weights = run.accelerator.get_state_dict(run.model) if config.do_train else None
    return decide(run.accelerator, lambda: run_folder.finish(run, weights, results, predictions))


def cli(argv: list[str] | None = None) -> int:
    """main(), with an exit code and one message instead of a traceback for what a user can mend."""
    try:
        main(argv)
    except (InputError, RunStopped, Preempted) as error:
        console.report_error(error)
        if torch.distributed.is_initialized():  # a process that leaves its group open aborts
            torch.distributed.destroy_process_group()
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(cli())
