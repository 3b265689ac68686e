"""How many bytes does a process need for a parameter, and for a cell of an update?

    python benchmarks/memory.py
    python benchmarks/memory.py --encoder tiny --json memory.json   # to see that it runs

Measured on the CPU with tagloop's own loop, by counting the bytes of tensors, so the figures hardly
depend on the machine: with one process, and with two under DDP and under FSDP2 (gloo), in float32
and in bf16. "A parameter" is one of the whole model, also where a process holds a part of them.

- weights, gradients, moments: what the process holds of them when the optimizer takes its step;
- low-precision copies: weights in bf16 that autocast makes in a forward pass and keeps until its
  end;
- gathered at once: under FSDP2, the most bytes of whole weights that a process holds in a forward
  pass, in the precision of the pass;
- a cell: what an update keeps for its backward pass, from the difference of two updates whose rows
  have 128 columns;
- checkpoint copy: what is copied between two updates, to be written beside training. Under FSDP2 a
  process also puts one tensor at a time together.

Projected, not measured, in bf16, with P parameters, n processes, L parameters of the two largest
layers, and T parameters of the largest tensor. C cells of a micro-batch add C x the bytes of a
cell, which are the encoder's own.

    DDP:    16 P + 2 P bytes a GPU; copy of a checkpoint 12 P on the main process
    FSDP2:  16 P / n + 2 L bytes a GPU; copy of a checkpoint 12 P / n + 4 T on each process
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from inputs import ENCODERS, build_inputs
from measuring import REPO, about, add_common_options, progress, table, write_results
from torch.utils._python_dispatch import TorchDispatchMode

sys.path.insert(0, str(REPO))  # for train_loop
KINDS = {"one process": (1, "cpu.yaml"), "DDP": (2, "cpu_2proc.yaml"), "FSDP2": (2, "fsdp2.yaml")}
FORMULA = """\
P parameters, n GPUs, L parameters of the two largest layers, T of the largest tensor, in bf16:
DDP 16 P + 2 P bytes a GPU, FSDP2 16 P / n + 2 L; copy of a checkpoint 12 P with DDP, on the main
process, and 12 P / n + 4 T with FSDP2, on each. Cells of a micro-batch come on top."""
COLUMNS = 128
ROWS = (2, 6)  # of a micro-batch: two updates, whose difference is that of their cells
PAPER = {  # parameters, those of the two largest layers, those of the largest tensor
    "BERT-base, 110 M": (110e6, 31e6, 23e6),
    "XLM-R large, 560 M": (560e6, 269e6, 256e6),
    "a decoder of 7,000 M": (7e9, 0.4e9, 0.13e9),
}


def main() -> None:
    """Measure every kind of launch in processes of its own, then project."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
    )
    parser.add_argument("--encoder", default="minilm", choices=ENCODERS, help="see inputs.py")
    parser.add_argument("--json", type=Path, help="also write what was measured to this file")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--precision", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    add_common_options(parser)
    options = parser.parse_args()
    if options.worker:
        measure(options)
        return
    measured = {}
    with tempfile.TemporaryDirectory() as name:
        build_inputs(Path(name) / "inputs", options.encoder, options.data or Path("sample"))
        for kind in KINDS:
            for precision, title in (("no", "float32"), ("bf16", "bf16")):
                progress(f"{kind}, {title}")
                measured[f"{kind}, {title}"] = launch(kind, precision, Path(name), options)
    markdown = "\n\n".join([of_parameters(measured), of_cells(measured), projected(measured)])
    write_results("memory", options.results, markdown, measured, threads=1)
    if options.json:
        text = json.dumps({"about": about(1), "measured": measured}, indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")


def launch(kind: str, precision: str, folder: Path, options: argparse.Namespace) -> list[dict]:
    """What each process of a launch measures, by the index of the process."""
    processes, file = KINDS[kind]
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", "0",
        "--config_file", str(REPO / "accelerate_configs" / file),
        "--num_processes", str(processes), "--mixed_precision", precision,
        __file__, f"--worker={kind}", f"--precision={precision}", f"--folder={folder}",
    ]  # fmt: skip
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "none" if processes > 1 else "",
        "HF_HUB_OFFLINE": "1",
        "TAGLOOP_CACHE": str(folder / "cache"),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{kind}, {precision}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    reports = [folder / f"{index}.json" for index in range(processes)]
    return [json.loads(report.read_text(encoding="utf-8")) for report in reports]


def measure(options: argparse.Namespace) -> None:
    """In a process of the launch: take two updates and count bytes."""
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType

    begin = PartialState.__init__

    def begin_as_gpus(self, *arguments, **named) -> None:
        """Without a GPU accelerate does not shard, but torch can."""
        begin(self, *arguments, **named)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_GPU

    if options.worker == "FSDP2":
        PartialState.__init__ = begin_as_gpus
    import train_loop
    from tagloop.processes.launch import closing_group

    inputs = options.folder / "inputs"
    with closing_group():
        config = train_loop.parse_config(
            [
                "--do_train", f"--train_file={inputs}/train.jsonl", "--max_train_samples=64",
                f"--model_name_or_path={inputs}/model", f"--output_dir={options.folder}/run",
                "--full_vocabulary", "--no_packing", "--pad_to_max_length",
                f"--max_length={COLUMNS}", f"--per_device_train_batch_size={max(ROWS)}",
            ]
        )  # fmt: skip
        accelerator = train_loop.build_accelerator(mixed_precision=options.precision, log_with=None)
        run = train_loop.build(config, accelerator, options.folder / "run", None)
        report = count(run)
    path = options.folder / f"{accelerator.process_index}.json"
    path.write_text(json.dumps(report), encoding="utf-8")


def count(run) -> dict:
    """The bytes that a process holds, by their use."""
    import train_loop
    from tagloop.batches.dataloader import Updates
    from tagloop.checkpoints.packed import pack_state

    model, processes = run.accelerator.unwrap_model(run.model), run.accelerator.num_processes
    report = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "largest": max(p.numel() for p in model.parameters()),
        "weights": num_bytes(model.parameters()),
    }
    real_step, kept = run.optimizer.step, []

    def step() -> None:
        report["gradients"] = num_bytes(p.grad for p in model.parameters() if p.grad is not None)
        real_step()

    run.optimizer.step = step
    with Casts(model) as casts:
        for rows in ROWS:
            update = Updates(
                run.task.examples["train"], [np.arange(rows * processes)],
                num_processes=processes, process_index=run.accelerator.process_index,
                per_device_batch_size=rows,
            )[0]  # fmt: skip
            storages = {}

            def keep(tensor, storages=storages):
                storage = tensor.untyped_storage()
                storages[storage.data_ptr()] = storage.nbytes()
                return tensor

            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                train_loop.train_step(run, update)
            kept.append(sum(storages.values()))
    # Weights are kept, too, and as many by either update.
    report["cell"] = (kept[1] - kept[0]) / ((ROWS[1] - ROWS[0]) * COLUMNS)
    report["copies"] = sum(casts.copies.values())
    report["gathered"] = casts.gathered if run.accelerator.is_fsdp2 else 0
    report["moments"] = num_bytes(t for m in run.optimizer.state.values() for t in m.values())
    packed = pack_state(run)
    moments = packed.training.optimizer.get("state", {}).values()
    report["checkpoint copy"] = num_bytes(packed.weights.values())
    report["checkpoint copy"] += num_bytes(t for each in moments for t in each.values())
    return report


def num_bytes(tensors) -> int:
    """The bytes of tensors, or of the slices of them that this process holds."""
    return sum((t.to_local() if hasattr(t, "to_local") else t).nbytes for t in tensors)


class Casts(TorchDispatchMode):
    """Notes which weights are copied in another dtype, and how many FSDP2 has put together.

    Attributes:
        copies: bytes of the copy of a weight, by its address.
        gathered: the most bytes of whole weights that modules found when they were called; without
            FSDP2 all weights.
    """

    def __init__(self, model):
        super().__init__()
        self.model, self.copies, self.gathered = model, {}, 0
        for module in model.modules():
            module.register_forward_pre_hook(self._note_whole)

    def _note_whole(self, *_) -> None:
        whole = [p for p in self.model.parameters() if not hasattr(p, "to_local")]
        self.gathered = max(self.gathered, num_bytes(whole))

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        result = function(*arguments, **(named or {}))
        is_copy = function is torch.ops.aten._to_copy.default
        if is_copy and isinstance(arguments[0], torch.nn.Parameter):
            self.copies[arguments[0].data_ptr()] = result.nbytes
        return result


def of_parameters(measured: dict[str, list[dict]]) -> str:
    """A table of the bytes of a process for each parameter of the model."""
    names = ("weights", "gradients", "moments", "copies", "gathered", "checkpoint copy")
    rows = []
    for title, reports in measured.items():
        for index, report in enumerate(reports):
            values = [report[name] / report["parameters"] for name in names]
            where = f"{title}, process {index}" if len(reports) > 1 else title
            rows.append([where, *(f"{value:.2f}" for value in values)])
    header = ["bytes a parameter", *names]
    header[4:6] = ["low-precision copies", "gathered at once"]
    return table(header, rows)


def of_cells(measured: dict[str, list[dict]]) -> str:
    """A table of the bytes that an update keeps for each cell."""
    rows = [[title, f"{reports[0]['cell']:,.0f}"] for title, reports in measured.items()]
    return table(["", "bytes a cell"], rows)


def projected(measured: dict[str, list[dict]]) -> str:
    """A table of what 8 and 64 GPUs would need, by the formula above."""
    rows = []
    for name, (parameters, two_layers, largest) in PAPER.items():
        for processes in (1, 8, 64):
            ddp, fsdp = 18 * parameters, 16 * parameters / processes + 2 * two_layers
            copies = (12 * parameters, 12 * parameters / processes + 4 * largest)
            values = (ddp, fsdp, *copies)
            rows.append([name, processes, *(f"{value / 2**30:,.1f}" for value in values)])
    header = ["projected, GiB, without cells", "GPUs", "DDP, a GPU", "FSDP2, a GPU"]
    header += ["copy of DDP, main process", "copy of FSDP2, a process"]
    return f"{table(header, rows)}\n\n{FORMULA}"


if __name__ == "__main__":
    main()
