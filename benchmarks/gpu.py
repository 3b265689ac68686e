"""Everything on one GPU, in one call (or in several: what is done is not repeated).

    python benchmarks/gpu.py --minutes 9
    python benchmarks/gpu.py --dry-run          # tiny, on the CPU: does it start?

For encoders of BERT-base's and XLM-R-base's size, with random weights and without network: peaks
of the GPU; throughput and memory of all loops at batch 8 to 256, eager and compiled; the table of
equivalence.py; whether two runs end with the same bytes; and where the host waits for the GPU
between two logs. Each writes results/gpu-PART.json and .md; gpu.md has them all. No part is begun
after --minutes; call again to go on. Without CoNLL-2003 the built-in sample's sentences are taken.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import equivalence
import measuring
import roofline
import throughput
import torch
from inputs import SAMPLE, build_inputs, find_corpus
from measuring import REPO, WORKER, Measurement, add_common_options, progress, table, write_results

COMPILED_SIZES = (16, 256)  # compiling takes a minute each
COMPILED = {"ACCELERATE_DYNAMO_BACKEND": "inductor", "ACCELERATE_DYNAMO_USE_DYNAMIC": "true"}
GRAPHS = {"ACCELERATE_DYNAMO_BACKEND": "inductor", "ACCELERATE_DYNAMO_MODE": "reduce-overhead"}
STATIC = "--pad_to_max_length --max_length=64"  # graphs replay one shape
DETERMINISTIC = (
    "import sys, torch; torch.use_deterministic_algorithms(True); import train_loop; "
    "sys.exit(train_loop.cli(sys.argv[1:]))"
)


def main() -> None:
    """Do the parts that are not done, until the time is over; then put the tables together."""
    options = parse_options()
    if not torch.cuda.is_available() and not options.dry_run:
        sys.exit("there is no GPU here; --dry-run shows on the CPU whether this starts")
    measuring.SLOWEST = 240  # a loop that compiles for ever is left out
    deadline = time.monotonic() + 60 * options.minutes
    options.results.mkdir(parents=True, exist_ok=True)
    order, missing = [], []
    with tempfile.TemporaryDirectory() as name:
        for part, measure in parts(options, Path(name)):
            order.append(part)
            if (options.results / f"{part}.json").exists():
                progress(f"{part}: done before")
            elif time.monotonic() > deadline:
                missing.append(part)
            else:
                progress(part)
                text, data = measure()
                write_results(part, options.results, f"## {part}\n\n{text}", data)
    done = [options.results / f"{part}.md" for part in order if part not in missing]
    together = "\n".join(path.read_text(encoding="utf-8") for path in done)
    (options.results / f"{options.prefix}.md").write_text(together, encoding="utf-8")
    if missing:
        progress(f"not done, call again: {', '.join(missing)}")


def parse_options() -> argparse.Namespace:
    """The command line; --dry-run makes everything tiny."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1e6, help="begin no part after that")
    parser.add_argument("--encoders", nargs="+", default=["bert-base", "xlm-r-base"])
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[8, 16, 32, 64, 128, 256])
    parser.add_argument("--updates", type=int, default=30, help="in a block")
    parser.add_argument("--dry-run", action="store_true", help="tiny, without a GPU")
    add_common_options(parser)
    options = parser.parse_args()
    options.prefix = "gpu"
    if options.dry_run:
        options.encoders, options.batch_sizes = ["tiny", "tiny-multilingual"], [16]
        options.updates, options.repeats, options.prefix = 2, 1, "gpu-dry-run"
    options.data = find_corpus(options.data) or SAMPLE
    return options


def parts(options: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Callable]]:
    """Name and measurement of every part, the most wanted first."""
    prefix = options.prefix
    yield f"{prefix}-peaks", lambda: measure_peaks(options)
    yield f"{prefix}-equivalence", lambda: measure_equivalence(folder)
    encoders = options.encoders
    yield f"{prefix}-waits", lambda: measure_waits(options, folder, encoders[0])
    yield f"{prefix}-repeats", lambda: measure_repeats(options, folder, encoders[0])
    middle_first = sorted(options.batch_sizes, key=lambda size: (size != 16, size))
    for size in middle_first:
        for encoder in encoders:

            def measure(encoder: str = encoder, size: int = size) -> tuple[str, dict]:
                return measure_throughput(options, folder, encoder, size)

            yield f"{prefix}-throughput-{encoder}-{size}", measure


def inputs_of(encoder: str, folder: Path, data: Path) -> Path:
    """The encoder's folder, made once."""
    inputs = folder / encoder
    if not inputs.exists():
        build_inputs(inputs, encoder, data)
    return inputs


def measure_peaks(options: argparse.Namespace) -> tuple[str, dict]:
    """Matrix products and copies."""
    device, sizes = ("cpu", (64,)) if options.dry_run else ("cuda", (4096, 8192))
    peaks = roofline.measure_machine(device, 1 if options.dry_run else 20, sizes)
    return roofline.describe_machine(peaks), peaks


def measure_throughput(
    options: argparse.Namespace, folder: Path, encoder: str, size: int
) -> tuple[str, dict]:
    """All loops at one batch size, and how near they come to the peak."""
    inputs = inputs_of(encoder, folder, options.data)
    variants = build_variants(options, inputs, size)
    with Measurement(folder, options.threads) as measurement:
        blocks = measurement.interleave(variants, repeats=options.repeats)
    shape = roofline.model_shape(inputs / "model")
    peak = measure_peaks(options)[1]
    in_bf16 = {f"bf16, {name}": blocks[name] for name in blocks if name.startswith("tagloop")}
    text = throughput.describe(blocks, variants)
    text += "\n\n" + roofline.describe_updates(peak, shape, in_bf16)
    return text, {"blocks": blocks, "shape": shape, "peak": peak}


def build_variants(options: argparse.Namespace, inputs: Path, size: int) -> dict[str, dict]:
    """The commands of all loops; at two sizes the fastest are compiled, too."""
    options.peers_python, options.variants = sys.executable, None
    all_of_them = throughput.build_variants(options, inputs, size)
    names = ("tagloop", "Trainer, tuned", "course loop", "tagloop, torch's dropout")
    variants = {name: all_of_them[name] for name in (*names, "tagloop, whole vocabulary")
                if name in all_of_them}  # fmt: skip
    if size not in COMPILED_SIZES:
        return variants
    own, trainer = variants["tagloop"], variants["Trainer, tuned"]
    *command, tagloop_options = own["command"]
    static = [*command, f"{tagloop_options} {STATIC}"]
    # A dry run goes the same way with a backend that compiles nothing.
    backend = {"ACCELERATE_DYNAMO_BACKEND": "eager"} if options.dry_run else {}
    variants["tagloop, compiled"] = own | {"env": COMPILED | backend}
    torch_dropout = variants["tagloop, torch's dropout"] | {"env": COMPILED | backend}
    variants["tagloop, compiled, torch's dropout"] = torch_dropout
    variants["tagloop, CUDA graphs"] = own | {"command": static, "env": GRAPHS | backend}
    if not options.dry_run:  # Trainer knows no such backend
        compiled = {"command": [*trainer["command"], "--compile"]}
        variants["Trainer, tuned, compiled"] = trainer | compiled
    return variants


def measure_equivalence(folder: Path) -> tuple[str, dict]:
    """The cuts that one process can compute, without and with dropout."""
    on_gpu = torch.cuda.is_available()
    texts, data = [], {}
    for dropout in (0.0, 0.1):
        inputs = folder / f"equivalence-{dropout}"
        inputs.mkdir()
        equivalence.write_inputs(inputs, dropout)
        measured = {
            system: equivalence.launch(system, inputs, 1, on_gpu=on_gpu)
            for system in equivalence.SYSTEMS
        }
        texts.append(equivalence.describe(measured, dropout))
        data[str(dropout)] = {
            system: {str(cut): values for cut, values in rows.items()}
            for system, rows in measured.items()
        }
    return "\n\n".join(texts), data


def measure_repeats(
    options: argparse.Namespace, folder: Path, encoder: str
) -> tuple[str, dict[str, list[str]]]:
    """The bytes of the model after two runs, with deterministic algorithms and without."""
    from tagloop.options.config import Config

    inputs = inputs_of(encoder, folder, options.data)
    own_option = "deterministic" in Config.__dataclass_fields__
    plain = [sys.executable, "train_loop.py"]
    deterministic = (
        [*plain, "--deterministic"] if own_option else [sys.executable, "-c", DETERMINISTIC]
    )
    digests: dict[str, list[str]] = {"as it is": [], "deterministic": []}
    for number in range(2):
        for title, command in (("as it is", plain), ("deterministic", deterministic)):
            output = folder / f"repeat-{title.replace(' ', '-')}-{number}"
            arguments = [
                "--do_train", f"--train_file={inputs}/train.jsonl",
                f"--model_name_or_path={inputs}/model", f"--output_dir={output}",
                f"--max_train_steps={options.updates}", "--per_device_train_batch_size=16",
                "--mixed_precision=bf16",
            ]  # fmt: skip
            environment = os.environ | {
                "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
                "HF_HUB_OFFLINE": "1",
                "TAGLOOP_CACHE": str(folder / "tagloop"),
            }
            done = subprocess.run(
                [*command, *arguments],
                cwd=REPO,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                digests[title].append(f"failed: {done.stderr.strip()[-300:]}")
                continue
            weights = (output / "model.safetensors").read_bytes()
            digests[title].append(hashlib.sha256(weights).hexdigest()[:16])
    rows = [
        [title, *found, "yes" if found[0] == found[1] and "failed" not in found[0] else "no"]
        for title, found in digests.items()
    ]
    return table([f"{options.updates} updates", "first", "second", "same bytes"], rows), digests


def measure_waits(
    options: argparse.Namespace, folder: Path, encoder: str
) -> tuple[str, dict[str, list[dict]]]:
    """Waits of the host for the GPU in a block without a log, counted by torch."""
    if not torch.cuda.is_available():
        return "not without a GPU", {}
    inputs = inputs_of(encoder, folder, options.data)
    common = ["--inputs", str(inputs), "--updates", str(options.updates), "--sync_debug"]
    variants = {
        "tagloop": {
            "command": [
                *WORKER, "tagloop", *common,
                "--tagloop=--mixed_precision=bf16 --logging_steps=1000000",
            ]
        },
        "course loop": {"command": [*WORKER, "course", *common]},
        "Trainer, tuned": {"command": [*WORKER, "trainer-tuned", *common]},
    }  # fmt: skip
    with Measurement(folder, options.threads) as measurement:
        blocks = measurement.interleave(variants, repeats=1)
    rows = []
    for name, (report,) in blocks.items():
        places = sorted(report["syncs"].items(), key=lambda item: -item[1])
        per_update = f"{sum(report['syncs'].values()) / report['updates']:.2f}"
        rows.append([name, per_update, ", ".join(f"{p} ({n})" for p, n in places[:6]) or "none"])
    return table(["loop", "waits per update", "where (times in the block)"], rows), blocks


if __name__ == "__main__":
    main()
