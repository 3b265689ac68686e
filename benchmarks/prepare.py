"""How fast is data prepared, and in how much memory?

    python benchmarks/prepare.py --sentences 1000000 --tokenizer FOLDER

Made-up sentences, their words as frequent as in text (Zipf), are read from a column file, then
cut to windows: the slow way (word by word, as in the tests), the run's way, and with two processes.
Each stage is a process of its own, so that its peak memory is known; all must give the same bytes.
"""

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
STAGES = {
    "read": "read the file",
    "slow": "windows, word by word",
    "1": "windows, 1 process",
    "2": "windows, 2 processes",
}
SHOWN = "| {:<22} | {:>8} | {:>9} | {:>9} |"


def main() -> None:
    """Make the data, run every stage, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sentences", type=int, default=50_000)
    parser.add_argument("--tokenizer", required=True, help="folder of a fast tokenizer")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stage:
        print(json.dumps(measure(options.stage, options.tokenizer)))
        return
    with tempfile.TemporaryDirectory() as folder:
        num_words = write_corpus(Path(folder, "train.conll"), options.sentences)
        print(f"{options.sentences:,} sentences, {num_words:,} words, {os.cpu_count()} cores\n")
        print(SHOWN.format("stage", "seconds", "words/s", "peak GiB"))
        print(SHOWN.format(*("---", "---:", "---:", "---:")))
        digests = set()
        for stage, name in STAGES.items():
            command = [sys.executable, __file__, "--stage", stage, "--tokenizer", options.tokenizer]
            answer = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
            seconds, memory, digest = json.loads(answer.stdout)
            digests |= {digest} - {None}
            speed = f"{num_words / seconds:,.0f}"
            print(SHOWN.format(name, f"{seconds:.1f}", speed, f"{memory:.2f}"), flush=True)
        assert len(digests) == 1, "the ways give different bytes"


def write_corpus(path: Path, num_sentences: int) -> int:
    """Write sentences of 1 to 28 words, one word in six tagged; return the number of words."""
    random = np.random.default_rng(0)
    num_words = 0
    with path.open("w", encoding="utf-8") as file:
        for length in random.integers(1, 29, num_sentences):
            ranks = random.zipf(1.3, length) % 1_000_000
            is_name = random.random(length) < 1 / 6
            for rank, tag in zip(ranks, np.where(is_name, "B-PER", "O"), strict=True):
                file.write(f"{spelled(int(rank))} {tag}\n")
            file.write("\n")
            num_words += length
    return int(num_words)


def spelled(rank: int) -> str:
    """A word of its own for every rank, shorter for the frequent."""
    syllables = ""
    while rank or not syllables:
        rank, digit = divmod(rank, 80)
        syllables += "bcdfghklmnprstvz"[digit // 5] + "aeiou"[digit % 5]
    return syllables


def measure(stage: str, tokenizer_folder: str) -> tuple[float, float, str | None]:
    """Seconds, peak memory in GiB of the largest process, and a hash of the windows."""
    os.environ.update(HF_HUB_OFFLINE="1", TAGLOOP_CACHE="cache")
    from transformers import AutoTokenizer

    from tagloop.data.words.corpus import load_corpus
    from tagloop.options.command_line import parse_config
    from tagloop.tasks.tagging.kinds import read_choices

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    config = parse_config(["--train_file=train.conll", f"--model_name_or_path={tokenizer_folder}"])
    started, digest = time.perf_counter(), None
    choices = read_choices(config)
    corpus = load_corpus(config, choices, ["train"])  # all stages but the first find it done
    if stage != "read":
        Path(stage).mkdir()
        started = time.perf_counter()
        write_windows(stage, corpus, tokenizer)
    seconds = time.perf_counter() - started
    if stage != "read":
        hashes = [hashlib.sha256(p.read_bytes()).digest() for p in sorted(Path(stage).iterdir())]
        digest = hashlib.sha256(b"".join(hashes)).hexdigest()
    peaks = [resource.getrusage(who).ru_maxrss for who in (0, resource.RUSAGE_CHILDREN)]
    return seconds, max(peaks) / 2**20, digest


def write_windows(stage: str, corpus, tokenizer) -> None:
    """Write the arrays of the training windows into the folder named like the stage."""
    import one_word_at_a_time

    from tagloop.models.tokenizers import probe_template
    from tagloop.tasks.tagging import encoding

    template, dataset = probe_template(tokenizer), corpus.splits["train"]
    labels = {tag: number for number, tag in enumerate(corpus.labels)}
    how = {"label2id": labels, "budget": 126, "stride": 31, "label_all_tokens": False}
    if stage == "slow":
        batches = dataset.iter(batch_size=1000)
        arrays, _ = one_word_at_a_time.encode_sentences(batches, tokenizer, template, **how)
        for name, values in arrays.items():
            np.save(Path(stage, f"{name}.npy"), values)
        return
    encoding.WORTH_PROCESSES = 0
    encoder = encoding.build_encoder(tokenizer, template, **how)
    encoding.encode_sentences(Path(stage), dataset, encoder, num_workers=int(stage))


if __name__ == "__main__":
    main()
