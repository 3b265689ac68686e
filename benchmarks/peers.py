"""The loops users would pick instead of tagloop, as they write them.

    loss_and_norm = measure_trainer(cut, folder)   # equivalence.py, in every process of a launch
    train_course(inputs, gate, options)            # worker.py, one process

A folder holds model/ (with its tokenizer) and train.jsonl (tokens and ner_tags; or texts, and
rows.json says which rows a language model learns, see language_models.py). For
equivalence.py that is one global batch, and `cut` says how to compute it. Under worker.py a loop
calls `gate.update()` before each update, and is otherwise what its authors wrote.
"""

import itertools
import json
from pathlib import Path

import accelerate
import torch
import transformers
from datasets import load_dataset
from measuring import best_precision
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    DataCollatorForTokenClassification,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
)

SEED = 42
ON_CPU = not torch.cuda.is_available()


def measure_trainer(cut, folder: Path) -> dict[str, float]:
    """What Trainer logs after its first update."""
    model, tokenizer, dataset, data_collator = build_usual_parts(folder)
    args = TrainingArguments(
        output_dir=folder / "trainer",
        per_device_train_batch_size=cut.batch_size,
        gradient_accumulation_steps=cut.accumulation,
        max_steps=1,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        seed=SEED,
        use_cpu=ON_CPU,
        ddp_backend="gloo" if cut.num_processes > 1 else None,
    )
    trainer = Trainer(model, args, data_collator, train_dataset=dataset, processing_class=tokenizer)
    trainer.train()
    logged = trainer.state.log_history[0]
    return {name: logged[name] for name in ("loss", "grad_norm")}


def measure_course(cut, folder: Path) -> dict[str, float]:
    """The course's loop, with accelerate's own accumulation."""
    accelerate.utils.set_seed(SEED)
    model, _, dataset, data_collator = build_usual_parts(folder)
    train_dataloader = DataLoader(
        dataset, shuffle=True, collate_fn=data_collator, batch_size=cut.batch_size
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5)
    lr_scheduler = transformers.get_scheduler("linear", optimizer, 0, num_training_steps=1)
    accelerator = accelerate.Accelerator(cpu=ON_CPU, gradient_accumulation_steps=cut.accumulation)
    model, optimizer, train_dataloader, lr_scheduler = accelerator.prepare(
        model, optimizer, train_dataloader, lr_scheduler
    )
    model.train()
    losses = []
    for batch in train_dataloader:
        with accelerator.accumulate(model):
            outputs = model(**batch)
            loss = outputs.loss
            losses.append(loss.item())
            accelerator.backward(loss)
            if accelerator.sync_gradients:  # the optimizer is about to step
                gradients = [p.grad for p in model.parameters() if p.grad is not None]
                grad_norm = torch.nn.utils.get_total_norm(gradients).item()
            optimizer.step()
            lr_scheduler.step()
            optimizer.zero_grad()
    assert len(losses) == cut.accumulation
    return {"loss": sum(losses) / len(losses), "grad_norm": grad_norm}


def train_course(inputs: Path, gate, options) -> None:
    """The Hugging Face course's loop (chapter 7, token classification), without evaluation."""
    transformers.set_seed(options.seed)
    model, _, dataset, data_collator = build_usual_parts(inputs)
    train_dataloader = DataLoader(
        dataset, shuffle=True, collate_fn=data_collator, batch_size=options.batch_size
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5)
    accelerator = accelerate.Accelerator()
    model, optimizer, train_dataloader = accelerator.prepare(model, optimizer, train_dataloader)
    lr_scheduler = transformers.get_scheduler(
        "linear", optimizer=optimizer, num_warmup_steps=0, num_training_steps=options.max_steps
    )
    progress_bar = tqdm(range(options.max_steps))
    model.train()
    while progress_bar.n < options.max_steps:
        for batch in train_dataloader:
            gate.update()
            gate.count(batch["attention_mask"])
            outputs = model(**batch)
            loss = outputs.loss
            accelerator.backward(loss)
            optimizer.step()
            lr_scheduler.step()
            optimizer.zero_grad()
            progress_bar.update(1)


def train_run_ner(
    inputs: Path, gate, options, *, learning_rate: float = 5e-5, max_length: int | None = None
) -> PreTrainedModel:
    """The loop of transformers' run_ner_no_trainer.py, with its defaults; the trained model."""
    accelerate.utils.set_seed(options.seed)
    accelerator = accelerate.Accelerator()
    model, _, dataset, data_collator = build_usual_parts(inputs, max_length=max_length)
    train_dataloader = DataLoader(
        dataset, shuffle=True, collate_fn=data_collator, batch_size=options.batch_size
    )
    no_decay = ["bias", "LayerNorm.weight"]
    named = list(model.named_parameters())
    decayed = [p for n, p in named if not any(nd in n for nd in no_decay)]
    others = [p for n, p in named if any(nd in n for nd in no_decay)]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.0}, {"params": others, "weight_decay": 0.0}],
        lr=learning_rate,
    )
    lr_scheduler = transformers.get_scheduler(
        name="linear",
        optimizer=optimizer,
        num_warmup_steps=0,
        num_training_steps=options.max_steps,
    )
    model, optimizer, train_dataloader, lr_scheduler = accelerator.prepare(
        model, optimizer, train_dataloader, lr_scheduler
    )
    progress_bar = tqdm(range(options.max_steps), disable=not accelerator.is_local_main_process)
    while progress_bar.n < options.max_steps:
        model.train()
        for batch in train_dataloader:
            gate.update()
            gate.count(batch["attention_mask"])
            outputs = model(**batch)
            loss = outputs.loss / 1  # gradient_accumulation_steps
            accelerator.backward(loss)
            optimizer.step()
            lr_scheduler.step()
            optimizer.zero_grad()
            progress_bar.update(1)
    return accelerator.unwrap_model(model)


def train_trainer(inputs: Path, gate, options, **tuned) -> PreTrainedModel:
    """Trainer; its training_step is where an update begins, since it accumulates nothing here.

    Returns:
        The trained model.
    """

    class GatedTrainer(Trainer):
        def training_step(self, model, batch, *args, **kwargs):
            gate.update()
            gate.count(batch["attention_mask"])
            return super().training_step(model, batch, *args, **kwargs)

    model, tokenizer, dataset, data_collator = build_usual_parts(inputs)
    args = TrainingArguments(
        output_dir=inputs / "trainer",
        per_device_train_batch_size=options.batch_size,
        max_steps=options.max_steps,
        save_strategy="no",
        report_to="none",
        seed=options.seed,
        use_cpu=ON_CPU,
        torch_compile=options.compile,
        **tuned,
    )
    GatedTrainer(
        model, args, data_collator, train_dataset=dataset, processing_class=tokenizer
    ).train()
    return model


def train_trainer_tuned(
    inputs: Path, gate, options, train_sampling_strategy: str = "group_by_length", **further
) -> PreTrainedModel:
    """Trainer with all that its documentation offers for speed."""
    return train_trainer(
        inputs,
        gate,
        options,
        train_sampling_strategy=train_sampling_strategy,
        bf16=best_precision() == "bf16",
        optim="adamw_torch_fused",
        dataloader_pin_memory=not ON_CPU,
        **further,
    )


def train_trainer_not_grouped(inputs: Path, gate, options) -> None:
    """The same with examples in random order, whose updates do not differ in length."""
    train_trainer_tuned(inputs, gate, options, train_sampling_strategy="random")


def evaluate_course(inputs: Path, gate, options) -> None:
    """The course's evaluation, again and again; what its metric computes is called directly."""
    model, _, dataset, data_collator = build_usual_parts(inputs, "validation")
    label_names = [model.config.id2label[index] for index in range(model.config.num_labels)]
    eval_dataloader = DataLoader(dataset, collate_fn=data_collator, batch_size=8)
    accelerator = accelerate.Accelerator()
    model, eval_dataloader = accelerator.prepare(model, eval_dataloader)

    def postprocess(predictions, labels):
        predictions = predictions.detach().cpu().clone().numpy()
        labels = labels.detach().cpu().clone().numpy()
        true_labels = [[label_names[i] for i in label if i != -100] for label in labels]
        true_predictions = [
            [label_names[p] for (p, i) in zip(prediction, label, strict=True) if i != -100]
            for prediction, label in zip(predictions, labels, strict=True)
        ]
        return true_labels, true_predictions

    while True:
        gate.update()
        model.eval()
        all_labels, all_predictions = [], []
        for batch in eval_dataloader:
            gate.count(batch["attention_mask"])
            with torch.no_grad():
                outputs = model(**batch)
            predictions = outputs.logits.argmax(dim=-1)
            labels = batch["labels"]
            predictions = accelerator.pad_across_processes(predictions, dim=1, pad_index=-100)
            labels = accelerator.pad_across_processes(labels, dim=1, pad_index=-100)
            predictions_gathered = accelerator.gather(predictions)
            labels_gathered = accelerator.gather(labels)
            true_labels, true_predictions = postprocess(predictions_gathered, labels_gathered)
            all_labels += true_labels
            all_predictions += true_predictions
        gate.notes["f1"] = score_as_seqeval(all_labels, all_predictions)


def score_as_seqeval(labels: list[list[str]], predictions: list[list[str]]) -> float:
    """F1 by the calls that evaluate's seqeval makes; evaluate would fetch it from the hub."""
    import seqeval.metrics

    report = seqeval.metrics.classification_report(
        y_true=labels, y_pred=predictions, output_dict=True, zero_division=0
    )
    seqeval.metrics.accuracy_score(y_true=labels, y_pred=predictions)
    return float(report["micro avg"]["f1-score"])


def build_usual_parts(folder: Path, split: str = "train", max_length: int | None = None) -> tuple:
    """Model, tokenizer, dataset and collator as tutorials build them: first sub-tokens labelled.

    Args:
        max_length: sub-tokens of a sentence that are kept; None: as many as the model can see.
    """
    if (folder / "rows.json").exists():
        return build_language_parts(folder, **json.loads((folder / "rows.json").read_text()))
    model = AutoModelForTokenClassification.from_pretrained(folder / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")

    def tokenize_and_align_labels(examples: dict) -> dict:
        tokenized_inputs = tokenizer(
            examples["tokens"], truncation=True, max_length=max_length, is_split_into_words=True
        )
        new_labels = []
        for index, tags in enumerate(examples["ner_tags"]):
            labels, previous = [], None
            for word_id in tokenized_inputs.word_ids(index):
                is_first = word_id is not None and word_id != previous
                labels.append(model.config.label2id[tags[word_id]] if is_first else -100)
                previous = word_id
            new_labels.append(labels)
        tokenized_inputs["labels"] = new_labels
        return tokenized_inputs

    raw_dataset = load_dataset("json", data_files=str(folder / f"{split}.jsonl"), split="train")
    dataset = raw_dataset.map(
        tokenize_and_align_labels, batched=True, remove_columns=raw_dataset.column_names
    )
    return model, tokenizer, dataset, DataCollatorForTokenClassification(tokenizer)


def build_language_parts(folder: Path, *, task: str, length: int, in_blocks: bool) -> tuple:
    """The same for a language model, as run_clm_no_trainer.py and run_mlm_no_trainer.py build them.

    Args:
        in_blocks: True joins all texts and cuts blocks of `length` sub-tokens, the rest is dropped;
            False makes a row of each text, cut off at `length`.
    """
    auto = AutoModelForCausalLM if task == "clm" else AutoModelForMaskedLM
    model = auto.from_pretrained(folder / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")

    def tokenize(examples: dict) -> dict:
        cut = {} if in_blocks else {"truncation": True, "max_length": length}
        return tokenizer(examples["text"], **cut)

    def group_texts(examples: dict) -> dict:
        joined = {name: [*itertools.chain(*rows)] for name, rows in examples.items()}
        total = len(joined["input_ids"]) // length * length
        return {
            name: [ids[at : at + length] for at in range(0, total, length)]
            for name, ids in joined.items()
        }

    raw_dataset = load_dataset("json", data_files=str(folder / "train.jsonl"), split="train")
    dataset = raw_dataset.map(tokenize, batched=True, remove_columns=["text"])
    if in_blocks:
        dataset = dataset.map(group_texts, batched=True)
    return model, tokenizer, dataset, DataCollatorForLanguageModeling(tokenizer, mlm=task == "mlm")
