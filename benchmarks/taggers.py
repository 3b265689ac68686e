"""Train one system and tag the validation and test split with it: scores.py starts this.

    python benchmarks/taggers.py flair --inputs FOLDER --output FILE --task ner --epochs 3 --seed 1

A folder of inputs (inputs.py) has model/, train.jsonl, validation.jsonl and test.jsonl. The output
is one JSON file: for every split the sentences as words and tags (null for a word that the system
has no prediction for), the seconds of CPU that this process took, and the versions of what it
imported. It appears whole or not at all. Only the modules of the asked system are imported, as
flair and spaCy live in an environment of their own.
"""

import argparse
import json
import math
import os
import shlex
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from other_peers import flair_sentences, read_sentences, train_flair
from worker import NoGate

SPLITS = ("validation", "test")
REPO = Path(__file__).resolve().parent.parent
Tags = list[list[str | None]]


def main() -> None:
    """Train, tag, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("system", choices=SYSTEMS)
    parser.add_argument("--inputs", type=Path, required=True, help="folder made by inputs.py")
    parser.add_argument("--output", type=Path, required=True, help="file to write")
    parser.add_argument("--task", choices=("ner", "pos"), default="ner")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--learning_rate", type=float, default=5e-5)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--tagloop", default="", help="options of tagloop, separated by blanks")
    parser.add_argument("--best_output", type=Path,
                        help="file for the tags of the same model by --decoding best")  # fmt: skip
    options = parser.parse_args()
    num_sentences = len(read_sentences(options.inputs))
    options.max_steps = options.epochs * math.ceil(num_sentences / options.batch_size)
    options.compile = False
    write_run(options.output, options.inputs, SYSTEMS[options.system](options.inputs, options))
    if options.best_output:
        write_run(options.best_output, options.inputs, tag_with_likeliest(options.inputs))


def write_run(output: Path, inputs: Path, tags: dict[str, Tags]) -> None:
    """The file of one run."""
    sentences = {
        split: [
            {"words": row["tokens"], "tags": predicted}
            for row, predicted in zip(read_sentences(inputs, split), tags[split], strict=True)
        ]
        for split in SPLITS
    }
    found = {
        "cpu_seconds": sum(os.times()[:4]),
        "versions": versions(),
        "predictions": sentences,
    }
    unfinished = output.with_suffix(".unfinished")
    with unfinished.open("w", encoding="utf-8") as file:
        json.dump(found, file, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(output)


def versions() -> dict[str, str]:
    """The versions of the large libraries that were imported."""
    names = ("torch", "transformers", "accelerate", "flair", "spacy", "spacy_transformers")
    return {name: metadata.version(name) for name in names if name in sys.modules}


def tag_with_tagloop(inputs: Path, options: argparse.Namespace) -> dict[str, Tags]:
    """train_loop.py, which scores the validation split after each epoch, then predict.py."""
    sys.path.insert(0, str(REPO))
    import train_loop

    # The labels that inputs.py wrote are for the loops that do not collect them from the data.
    file = inputs / "model/config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    without = {key: config[key] for key in config if key not in ("id2label", "label2id")}
    file.write_text(json.dumps(without), encoding="utf-8")
    train_loop.main([
        f"--train_file={inputs}/train.jsonl", f"--validation_file={inputs}/validation.jsonl",
        "--text_column_name=tokens", "--label_column_name=ner_tags", f"--task_name={options.task}",
        f"--model_name_or_path={inputs}/model", f"--output_dir={inputs}/run", "--no_report",
        f"--per_device_train_batch_size={options.batch_size}", f"--seed={options.seed}",
        f"--num_train_epochs={options.epochs}", f"--learning_rate={options.learning_rate}",
        *shlex.split(options.tagloop),
    ])  # fmt: skip
    return predict_with_tagloop(inputs)


def tag_with_likeliest(inputs: Path) -> dict[str, Tags]:
    """The tags of the finished run with --decoding best, which changes nothing in training."""
    file = inputs / "run/config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["tagloop"]["decoding"] = "best"
    file.write_text(json.dumps(config), encoding="utf-8")
    return predict_with_tagloop(inputs)


def predict_with_tagloop(inputs: Path) -> dict[str, Tags]:
    """What predict.py finds with the model of the run."""
    import predict

    folder, tags = inputs / "run", {}
    for split in SPLITS:
        output = inputs / f"{split}-tagged.jsonl"
        predict.main([str(folder), f"--file={inputs}/{split}.jsonl", f"--output={output}"])
        lines = output.read_text(encoding="utf-8").split("\n")
        tags[split] = [json.loads(line)["tags"] for line in lines if line]
    return tags


def tag_with_run_ner(inputs: Path, options: argparse.Namespace) -> dict[str, Tags]:
    """The loop of run_ner_no_trainer.py, which cuts sentences off after 128 sub-tokens."""
    from peers import train_run_ner

    model = train_run_ner(
        inputs, NoGate(), options, learning_rate=options.learning_rate, max_length=128
    )
    return predict_first_sub_tokens(model, inputs, max_length=128)


def tag_with_trainer(
    inputs: Path, options: argparse.Namespace, *, tuned: bool = False
) -> dict[str, Tags]:
    """Trainer as run_ner.py calls it, or tuned for speed; see peers.py."""
    import transformers
    from peers import train_trainer, train_trainer_tuned

    transformers.set_seed(options.seed)  # before the head is drawn
    train = train_trainer_tuned if tuned else train_trainer
    model = train(inputs, NoGate(), options, learning_rate=options.learning_rate)
    return predict_first_sub_tokens(model, inputs)


def predict_first_sub_tokens(model, inputs: Path, max_length: int | None = None) -> dict[str, Tags]:
    """The best label of the first sub-token of every word, as in the scripts of transformers.

    A word that was cut off, or that the tokenizer makes nothing of, has no prediction.
    """
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(inputs / "model")
    model.eval()
    tags: dict[str, Tags] = {}
    for split in SPLITS:
        rows, tags[split] = read_sentences(inputs, split), []
        for start in range(0, len(rows), 8):
            words = [row["tokens"] for row in rows[start : start + 8]]
            batch = tokenizer(
                words, is_split_into_words=True, truncation=True, max_length=max_length,
                padding=True, return_tensors="pt",
            ).to(model.device)  # fmt: skip
            with torch.no_grad():
                labels = model(**batch).logits.argmax(-1).tolist()
            for number, sentence in enumerate(words):
                found: list[str | None] = [None] * len(sentence)
                for column, word in enumerate(batch.word_ids(number)):
                    if word is not None and found[word] is None:
                        found[word] = model.config.id2label[labels[number][column]]
                tags[split].append(found)
    return tags


def tag_with_flair(
    inputs: Path, options: argparse.Namespace, *, context: bool = False
) -> dict[str, Tags]:
    """flair, and with `context` FLERT; see other_peers.py."""
    spans = options.task == "ner"
    tagger = train_flair(
        inputs, NoGate(), options, epochs=options.epochs,
        learning_rate=options.learning_rate, spans=spans, context=context,
    )  # fmt: skip
    tags: dict[str, Tags] = {}
    for split in SPLITS:
        rows = read_sentences(inputs, split)
        sentences = flair_sentences(rows, context=context)
        tagger.predict(sentences, mini_batch_size=16)
        tags[split] = []
        for row, sentence in zip(rows, sentences, strict=True):
            if spans:
                found: list[str | None] = ["O"] * len(row["tokens"])
                for span in sentence.get_spans("ner"):
                    places = [token.idx - 1 for token in span]
                    kind = span.get_label("ner").value
                    for place in places:
                        found[place] = f"{'B' if place == places[0] else 'I'}-{kind}"
            else:
                found = [token.get_label("pos").value for token in sentence]
            tags[split].append(found)
    return tags


def tag_with_spacy(inputs: Path, options: argparse.Namespace) -> dict[str, Tags]:
    """The config that `spacy init config --gpu --optimize accuracy` writes, and `spacy train`.

    Encoder, epochs, batch and learning rate are those of all systems; the share of warm-up is the
    config's. The validation split is scored after each epoch, and the last model is taken.
    """
    import spacy
    from spacy.cli.init_config import init_config
    from spacy.cli.train import train
    from spacy.tokens import Doc, DocBin

    component = "ner" if options.task == "ner" else "tagger"
    blank = spacy.blank("en")
    for split in ("train", "validation"):
        docs = [
            Doc(
                blank.vocab,
                words=row["tokens"],
                **{"ents" if component == "ner" else "tags": row["ner_tags"]},
            )
            for row in read_sentences(inputs, split)
        ]
        DocBin(docs=docs).to_disk(inputs / f"{split}.spacy")
    config = init_config(lang="en", pipeline=[component], optimize="accuracy", gpu=True)
    config["paths"] |= {
        "train": str(inputs / "train.spacy"),
        "dev": str(inputs / "validation.spacy"),
    }
    config["components"]["transformer"]["model"]["name"] = str(inputs / "model")
    training = config["training"]
    schedule = training["optimizer"]["learn_rate"]
    warmup_share = schedule["warmup_steps"] / schedule["total_steps"]
    schedule["initial_rate"] = options.learning_rate
    schedule["total_steps"] = options.max_steps
    schedule["warmup_steps"] = math.ceil(warmup_share * options.max_steps)
    training["seed"] = config["system"]["seed"] = options.seed
    training["batcher"] = {"@batchers": "spacy.batch_by_sequence.v1", "size": options.batch_size}
    training |= {
        "accumulate_gradient": 1, "max_epochs": options.epochs, "max_steps": 0, "patience": 0,
        "eval_frequency": options.max_steps // options.epochs,
    }  # fmt: skip
    config.to_disk(inputs / "config.cfg")
    train(inputs / "config.cfg", inputs / "spacy")
    nlp = spacy.load(inputs / "spacy" / "model-last")
    tags: dict[str, Tags] = {}
    for split in SPLITS:
        docs = [Doc(nlp.vocab, words=row["tokens"]) for row in read_sentences(inputs, split)]
        tags[split] = [
            [
                token.tag_
                if component == "tagger"
                else f"{token.ent_iob_}-{token.ent_type_}".removesuffix("-") or "O"
                for token in doc
            ]
            for doc in nlp.pipe(docs)
        ]
    return tags


def with_option(function: Callable, **chosen: bool) -> Callable:
    """The same system with an option of its own."""
    return lambda inputs, options: function(inputs, options, **chosen)


SYSTEMS: dict[str, Callable[[Path, argparse.Namespace], dict[str, Tags]]] = {
    "tagloop": tag_with_tagloop,
    "run_ner": tag_with_run_ner,
    "trainer": tag_with_trainer,
    "trainer-tuned": with_option(tag_with_trainer, tuned=True),
    "flair": tag_with_flair,
    "flair-context": with_option(tag_with_flair, context=True),
    "spacy": tag_with_spacy,
}

if __name__ == "__main__":
    main()
