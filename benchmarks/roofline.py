"""How fast could this machine be, and which share of that does an update reach?

    python benchmarks/roofline.py

The peak is the best of many matrix products, the bandwidth the best of many copies, measured here.
Useful arithmetic of an update counts real sub-tokens only: 6 × weights of all linear layers for
each (forward 2, backward 4), and 12 × layers × hidden size × length² per sentence for attention.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch
from inputs import build_inputs
from measuring import (
    WORKER,
    Measurement,
    add_common_options,
    spread,
    synchronize,
    table,
    write_results,
)

SIZES = (1024, 2048, 4096)
COPIED = 2**28  # bytes
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}


def main() -> None:
    """Measure the machine, then updates in both precisions."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="minilm", help="see inputs.py")
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[16])
    parser.add_argument("--updates", type=int, default=50, help="in a block")
    parser.add_argument("--products", type=int, default=10, help="of every size; the best counts")
    add_common_options(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    machine = measure_machine("cpu", options.products)
    with tempfile.TemporaryDirectory() as name:
        inputs = Path(name) / "inputs"
        build_inputs(inputs, options.encoder, options.data)
        shape = model_shape(inputs / "model")
        blocks = {}
        for size in options.batch_sizes:
            variants = {
                f"{precision}, batch {size}": {
                    "command": [
                        *WORKER, "tagloop", "--inputs", str(inputs), "--batch_size", str(size),
                        "--updates", str(options.updates),
                        f"--tagloop=--mixed_precision={'bf16' if precision == 'bf16' else 'no'}",
                    ]
                }
                for precision in DTYPES
            }  # fmt: skip
            with Measurement(Path(name), options.threads) as measurement:
                blocks |= measurement.interleave(variants, repeats=options.repeats)
    text = describe_machine(machine) + "\n\n" + describe_updates(machine, shape, blocks)
    measured = {"machine": machine, "shape": shape, "blocks": blocks}
    write_results(f"roofline-{options.encoder}", options.results, text, measured, options.threads)


def measure_machine(device: str, times: int, sizes: tuple[int, ...] = SIZES) -> dict[str, float]:
    """Peaks of matrix products (FLOP/s, by precision) and of a copy (bytes/s, read and written)."""
    peaks = {}
    for name, dtype in DTYPES.items():
        speeds = []
        for size in sizes:
            left = torch.randn(size, size, device=device).to(dtype)
            right, result = torch.randn_like(left), torch.empty_like(left)
            seconds = best_time(lambda a=left, b=right, c=result: torch.mm(a, b, out=c), times)
            speeds.append(2 * size**3 / seconds)
        peaks[name] = max(speeds)
    source = torch.zeros(COPIED // 4, device=device)
    target = torch.empty_like(source)
    peaks["copy"] = 2 * COPIED / best_time(lambda: target.copy_(source), times)
    return peaks


def best_time(action, times: int) -> float:
    """Seconds of the fastest of some calls, after two that warm up."""
    seconds = []
    for _ in range(times + 2):
        synchronize()
        started = time.perf_counter()
        action()
        synchronize()
        seconds.append(time.perf_counter() - started)
    return min(seconds[2:])


def model_shape(folder: Path) -> dict[str, int]:
    """What the arithmetic of an update depends on: weights of linear layers, layers, width."""
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = transformers.AutoModelForTokenClassification.from_config(config)
    linear = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    return {
        "linear_weights": sum(module.weight.numel() for module in linear),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "layers": config.num_hidden_layers,
        "hidden": config.hidden_size,
    }


def useful_flops(block: dict, shape: dict[str, int]) -> float:
    """Arithmetic that the real sub-tokens of a block need.

    Forward: 2 per weight and sub-token, and 2 products of length² × hidden in each layer's
    attention (2 × 2 × length² × hidden); backward twice that.
    """
    attention = 12 * shape["layers"] * shape["hidden"] * block["squares"]
    return 6 * shape["linear_weights"] * block["sub_tokens"] + attention


def describe_machine(machine: dict[str, float]) -> str:
    """The peaks."""
    rows = [
        *([f"matrix product, {name}", f"{machine[name] / 1e9:,.0f} GFLOP/s"] for name in DTYPES),
        ["copy (read and write)", f"{machine['copy'] / 1e9:,.1f} GB/s"],
    ]
    return table(["machine", "peak"], rows)


def describe_updates(machine: dict, shape: dict, blocks: dict[str, list[dict]]) -> str:
    """One row per precision and batch size; the name of a row begins with its precision."""
    rows = []
    # AdamW reads weight, gradient and two moments, and writes all but the gradient: 7 × 4 bytes.
    for name, reports in blocks.items():
        peak = machine[name.partition(",")[0]]
        speeds = [useful_flops(report, shape) / report["seconds"] for report in reports]
        trained = reports[0].get("trained", shape["parameters"])
        rows.append(
            [
                name,
                spread([1000 * report["seconds"] / report["updates"] for report in reports], 1),
                spread([speed / 1e9 for speed in speeds]),
                spread([100 * speed / peak for speed in speeds], 1),
                f"{28 * trained / machine['copy'] * 1000:.1f}",
            ]
        )
    header = ["update", "ms", "useful GFLOP/s", "% of peak", "AdamW's bytes at copy speed, ms"]
    note = (
        f"{shape['linear_weights'] / 1e6:.1f} M weights in linear layers, {shape['layers']} layers "
        f"of {shape['hidden']}. Useful: real sub-tokens only."
    )
    return table(header, rows) + "\n\n" + note


if __name__ == "__main__":
    main()
