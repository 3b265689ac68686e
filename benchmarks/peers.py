"""The loops users would pick instead of tagloop, as they write them, for equivalence.py.

    loss_and_norm = measure_trainer(cut, folder)   # in every process of a launch

`folder` holds model/ (with its tokenizer) and train.jsonl (tokens and ner_tags), which is one
global batch; `cut` says how to compute it.
"""

import json
from pathlib import Path

import accelerate
import torch
import transformers
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    Trainer,
    TrainingArguments,
)

SEED = 42


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
        use_cpu=True,
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
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=cut.accumulation)
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


def build_usual_parts(folder: Path) -> tuple:
    """Model, tokenizer, dataset and collator as tutorials build them: first sub-tokens labelled."""
    model = AutoModelForTokenClassification.from_pretrained(folder / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")

    def tokenize_and_align_labels(example: dict) -> dict:
        encoding = tokenizer(example["tokens"], is_split_into_words=True)
        labels, previous = [], None
        for word_id in encoding.word_ids():
            is_first = word_id is not None and word_id != previous
            tag = example["ner_tags"][word_id] if is_first else None
            labels.append(model.config.label2id[tag] if is_first else -100)
            previous = word_id
        return {**encoding, "labels": labels}

    lines = (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()
    dataset = Dataset.from_list([tokenize_and_align_labels(json.loads(line)) for line in lines])
    return model, tokenizer, dataset, DataCollatorForTokenClassification(tokenizer)
