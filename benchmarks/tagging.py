"""Words a second: predict.py's tagger beside transformers.pipeline, on the same file and model.

    python benchmarks/tagging.py runs/mine data/conll2003/eng.testb [--sentences 500] [--threads 2]

The file has CoNLL columns; the pipeline gets each sentence as words joined by blanks, in the order
of the file, as its documentation shows, once a sentence at a time (its default) and once in
batches. Every system has its own warm-up, then they take turns, and the best round of each
counts. The tagger gets the same texts, and splits them itself.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import transformers

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for tagloop

from tagloop.data.documents.reading import read_documents
from tagloop.tasks.tagging.tagger import load_tagger


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("file", type=Path, help="CoNLL columns, the word first")
    parser.add_argument("--sentences", type=int, default=500, help="the first so many")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with options.file.open("rb") as file:
        documents = read_documents(file, str(options.file), "conll")
        sentences = [document.content for document in documents if document.content]
    texts = [" ".join(words) for words in sentences[: options.sentences]]
    num_words = sum(len(words) for words in sentences[: options.sentences])

    systems = build_systems(options.model_dir, options.batch_size)
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for _, tag in systems.items():
        tag(texts[:20])
    for _ in range(options.rounds):
        for name, tag in systems.items():
            start = time.perf_counter()
            tag(texts)
            seconds[name].append(time.perf_counter() - start)
    slowest = min(seconds["transformers.pipeline"])
    device = "cuda" if torch.cuda.is_available() else f"cpu, {torch.get_num_threads()} threads"
    print(f"{len(texts):,} sentences, {num_words:,} words, {device}, best of {options.rounds}")
    print("| system | words/s | times the pipeline |\n|---|---:|---:|")
    for name, taken in seconds.items():
        print(f"| {name} | {num_words / min(taken):,.0f} | {slowest / min(taken):.2f} |")


def build_systems(folder: Path, batch_size: int) -> dict[str, Callable[[list[str]], object]]:
    """Ways to tag a list of texts, by name."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pipeline = transformers.pipeline(
        "token-classification", str(folder), aggregation_strategy="first", device=device
    )
    tagger = load_tagger(folder, batch_size=batch_size, device=device)
    half = load_tagger(folder, batch_size=batch_size, device=device, mixed_precision="bf16")
    return {
        "transformers.pipeline": lambda texts: list(pipeline(texts)),
        f"transformers.pipeline, batch_size={batch_size}": lambda texts: list(
            pipeline(texts, batch_size=batch_size)
        ),
        "predict.py": tagger,
        "predict.py --mixed_precision bf16": half,
    }


if __name__ == "__main__":
    main()
