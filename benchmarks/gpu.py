"""Everything on one GPU, in one call (or in several: what is done is not repeated).

    python benchmarks/gpu.py --minutes 9
    python benchmarks/gpu.py --dry-run          # tiny, on the CPU: does it start?

For encoders of BERT-base's and XLM-R-base's size, with random weights and without network, the
most wanted first: peaks of the GPU; the kernels that an update of each loop launches; the time of
an update of a narrow model, whose arithmetic vanishes (host.py); throughput with the loop's own
kernels and without; throughput and memory of all loops at batch 16; the loop compiled for few
shapes; the time to prepare an update; where the host waits for the GPU between two logs; the table
of equivalence.py; whether two runs end with the same bytes; and throughput at batch 8 to 256. Each
writes results/gpu-PART.json and .md; gpu.md has them all. No part is begun after --minutes; call
again to go on. Without CoNLL-2003 the built-in sample's sentences are taken.
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
import host
import measuring
import roofline
import throughput
import torch
from inputs import SAMPLE, build_inputs, find_corpus
from measuring import REPO, WORKER, Measurement, add_common_options, progress, table, write_results

COMPILED_SIZES = (16, 256)  # compiling takes a minute each
COMPILED = {"ACCELERATE_DYNAMO_BACKEND": "inductor", "ACCELERATE_DYNAMO_USE_DYNAMIC": "true"}
STATIC = {"ACCELERATE_DYNAMO_BACKEND": "inductor", "ACCELERATE_DYNAMO_USE_DYNAMIC": "false"}
GRAPHS = STATIC | {"ACCELERATE_DYNAMO_MODE": "reduce-overhead"}
FEW_SHAPES = "--static_shapes=8"  # A shape is compiled once, and a graph replays one shape.
NO_KERNELS = {"TAGLOOP_KERNELS": "off"}
MAIN_LOOPS = ("tagloop", "tagloop, torch's dropout", "Trainer, tuned", "course loop")
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
    prefix, encoders, first = options.prefix, options.encoders, options.encoders[0]
    yield f"{prefix}-peaks", lambda: measure_peaks(options)
    yield f"{prefix}-launches", lambda: measure_launches(options, folder, first)
    yield f"{prefix}-narrow", lambda: measure_narrow(options, folder)
    yield f"{prefix}-kernels", lambda: measure_kernels(options, folder, first)
    sizes = sorted(options.batch_sizes, key=lambda size: (size != 16, size))
    yield throughput_part(options, folder, first, sizes[0])
    yield f"{prefix}-compiled-16", lambda: measure_compiled(options, folder, first, 16)
    yield f"{prefix}-prepare", lambda: measure_prepare(options, folder)
    yield f"{prefix}-waits", lambda: measure_waits(options, folder, first)
    yield f"{prefix}-equivalence", lambda: measure_equivalence(folder)
    yield f"{prefix}-repeats", lambda: measure_repeats(options, folder, first)
    for size in sizes:
        for encoder in encoders:
            if (size, encoder) != (sizes[0], first):
                yield throughput_part(options, folder, encoder, size)
    for size in COMPILED_SIZES[1:]:
        if size in sizes:
            yield (
                f"{prefix}-compiled-{size}",
                lambda size=size: measure_compiled(options, folder, first, size),
            )


def throughput_part(
    options: argparse.Namespace, folder: Path, encoder: str, size: int
) -> tuple[str, Callable]:
    """Name and measurement of one encoder at one batch size."""
    name = f"{options.prefix}-throughput-{encoder}-{size}"
    return name, lambda: measure_throughput(options, folder, encoder, size)


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
    """The commands of all loops."""
    options.peers_python, options.variants = sys.executable, None
    all_of_them = throughput.build_variants(options, inputs, size)
    names = (*MAIN_LOOPS, "tagloop, whole vocabulary")
    return {name: all_of_them[name] for name in names if name in all_of_them}


def measure_compiled(
    options: argparse.Namespace, folder: Path, encoder: str, size: int
) -> tuple[str, dict]:
    """The fastest loops compiled, and tagloop as it is beside them."""
    eager = build_variants(options, inputs_of(encoder, folder, options.data), size)
    own, trainer = eager["tagloop"], eager["Trainer, tuned"]
    torch_dropout = eager["tagloop, torch's dropout"]
    *command, tagloop_options = own["command"]
    few_shapes = [*command, f"{tagloop_options} {FEW_SHAPES}"]
    # A dry run goes the same way with a backend that compiles nothing.
    backend = {"ACCELERATE_DYNAMO_BACKEND": "eager"} if options.dry_run else {}
    variants = {"tagloop": own}
    if throughput.has_option(FEW_SHAPES):
        few = own | {"command": few_shapes}
        variants["tagloop, few shapes"] = few
        variants["tagloop, few shapes, compiled"] = few | {"env": STATIC | backend}
        variants["tagloop, few shapes, CUDA graphs"] = few | {"env": GRAPHS | backend}
    variants["tagloop, compiled"] = own | {"env": COMPILED | backend}
    variants["tagloop, compiled, torch's dropout"] = torch_dropout | {"env": COMPILED | backend}
    if not options.dry_run:  # Trainer knows no such backend
        compiled = {"command": [*trainer["command"], "--compile"]}
        variants["Trainer, tuned, compiled"] = trainer | compiled
    with Measurement(folder, options.threads) as measurement:
        blocks = measurement.interleave(variants, repeats=options.repeats)
    return throughput.describe(blocks, variants), {"blocks": blocks}


def measure_launches(
    options: argparse.Namespace, folder: Path, encoder: str
) -> tuple[str, dict[str, list[dict]]]:
    """The kernels that the GPU ran for an update at batch 16, counted by torch's profiler."""
    variants = build_variants(options, inputs_of(encoder, folder, options.data), 16)
    variants = {
        name: variants[name] | {"command": [*variants[name]["command"], "--count_kernels"]}
        for name in MAIN_LOOPS
    }
    variants["tagloop, no kernels of its own"] = variants["tagloop"] | {"env": NO_KERNELS}
    with Measurement(folder, options.threads) as measurement:
        blocks = measurement.interleave(variants, repeats=1)
    rows = []
    for name, (report,) in blocks.items():
        number = sum(report["kernels"].values()) / report["updates"]
        most = sorted(report["kernels"].items(), key=lambda item: -item[1])[:4]
        often = ", ".join(f"{kernel} ({times / report['updates']:.0f})" for kernel, times in most)
        rows.append([name, f"{number:,.0f}", often])
    return table(["loop", "kernels an update", "the most frequent"], rows), blocks


def measure_narrow(options: argparse.Namespace, folder: Path) -> tuple[str, dict]:
    """An update of a model whose arithmetic vanishes: host.py, in bf16."""
    narrow = argparse.Namespace(**vars(options) | {"batch_size": 16, "precisions": ["bf16"]})
    blocks = host.measure_narrow(narrow, folder, inputs_of("narrow", folder, options.data))
    return host.describe_narrow(blocks, narrow), blocks


def measure_kernels(
    options: argparse.Namespace, folder: Path, encoder: str
) -> tuple[str, dict[str, list[dict]]]:
    """Throughput at batch 16 with the loop's own kernels, and with plain torch instead."""
    variants = build_variants(options, inputs_of(encoder, folder, options.data), 16)
    chosen = {name: variants[name] for name in MAIN_LOOPS[:2]}
    chosen["tagloop, no kernels of its own"] = chosen["tagloop"] | {"env": NO_KERNELS}
    with Measurement(folder, options.threads) as measurement:
        blocks = measurement.interleave(chosen, repeats=options.repeats)
    return throughput.describe(blocks, chosen), blocks


def measure_prepare(options: argparse.Namespace, folder: Path) -> tuple[str, dict]:
    """The time to prepare an update: host.py."""
    measured = host.measure_prepare(inputs_of("narrow", folder, options.data))
    return host.describe_prepare(measured), measured


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
