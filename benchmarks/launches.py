"""How many operations does an update launch on a GPU? Counted on a CPU, not timed on a GPU.

    python benchmarks/launches.py
    python benchmarks/launches.py --encoders minilm --loops tagloop --by_op

At small batches a GPU waits for the host, which launches one kernel after another; then the number
of launches decides how fast an update is. One update is counted from its forward pass to the end
of zero_grad; the batch is built before. Every operation that torch dispatches counts one, but for
views and allocations. Where a CPU computes otherwise than a GPU, the count follows the GPU:

- attention is one operation forward and one backward (what `scaled_dot_product_attention` does),
  and so is torch's dropout;
- layer norms, softmax and losses compute in float32 under bf16, as autocast has it on GPUs;
- AdamW takes all parameters at once where its author left the choice to torch;
- tensors that stay on the host, as the seeds of a mask do until they are copied, do not count;
- a Triton kernel of tagloop counts one, and so does an operator of tagloop. The kernels do not run:
  Triton must be installed (`pip install triton`), else the operations of plain torch are counted.

An operation on a list of tensors counts one, too, although a GPU may take a few kernels for it.
Matrix products are replaced by zeros, as values do not change the count.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import statistics
import sys
import tempfile
from collections import Counter
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # The loops are counted on the CPU.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["TRITON_INTERPRET"] = "1"  # Only Triton's interpreter takes tensors of a CPU.

import peers
import throughput
import torch
from accelerate.state import AcceleratorState, GradientState
from inputs import SAMPLE, build_inputs, find_corpus
from measuring import about, progress, table
from own_loops import arguments
from torch.nn import functional as F
from torch.optim import optimizer
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.data.dataloader import _BaseDataLoaderIter

import train_loop

HAS_TRITON = importlib.util.find_spec("triton") is not None
LOOPS = (
    "tagloop",
    "tagloop, torch's dropout",
    "tagloop, rows padded",
    "Trainer, tuned",
    "course loop",
)
PRECISIONS = ("no", "bf16")
WARM_UPDATES = 1  # The first update allocates the moments of AdamW.
COUNTED_UPDATES = 3  # The median counts, as another length may cut an update otherwise.
SENTENCES = 1000  # of the training data: enough for these updates

aten = torch.ops.aten
PRODUCTS = {aten.mm.default, aten.addmm.default, aten.bmm.default, aten.baddbmm.default}
ALLOCATIONS = {
    "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "empty_permuted",
}  # fmt: skip
NO_LAUNCH = ALLOCATIONS | {
    "_unsafe_view", "_reshape_alias", "lift_fresh", "set_", "resize_", "record_stream", "is_pinned",
    "is_same_size", "promote_types",
}  # fmt: skip
# On a GPU autocast computes these in float32; on a CPU it would leave them in bf16.
IN_FLOAT32 = {
    F.layer_norm, F.group_norm, F.softmax, F.log_softmax, F.cross_entropy, F.nll_loss,
    torch.softmax, torch.log_softmax, torch.sum, torch.Tensor.softmax, torch.Tensor.log_softmax,
    torch.Tensor.sum, torch.rsqrt, torch.Tensor.pow, torch.pow,
}  # fmt: skip
# Without `device`, these make a tensor on the host.
FACTORIES = {
    torch.tensor, torch.as_tensor, torch.from_numpy, torch.arange, torch.full, torch.zeros,
    torch.ones, torch.empty,
}  # fmt: skip


class Counted(Exception):
    """All updates that were asked for are counted."""


class LikeAGpu(TorchFunctionMode):
    """Makes a CPU take the operations that a GPU takes, as far as their number differs.

    Args:
        gate: counts no operation whose tensors all lie on the host.
    """

    def __init__(self, gate: "Count"):
        super().__init__()
        self.gate = gate

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if not on_host(function, args, kwargs):
            result = self._compute(function, args, kwargs)
            if function is torch.Tensor.to and hasattr(result, "is_on_host"):
                del result.is_on_host
            return result
        with self.gate.pausing():
            result = function(*args, **kwargs)
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                tensor.is_on_host = True
        return result

    def _compute(self, function, args: tuple, kwargs: dict):
        if function is F.scaled_dot_product_attention:
            # Without dropout, a CPU has one operation for attention, too.
            args, kwargs["dropout_p"] = args[:4], 0.0
        elif function is F.dropout:
            return self._dropout(*args, **kwargs)
        elif function in IN_FLOAT32 and torch.is_autocast_enabled("cpu"):
            first = args[0] if args else kwargs.pop("input")
            if first.dtype == torch.bfloat16 and kwargs.get("dtype") is None:
                first = first.float()
            args = (first, *args[1:])
        return function(*args, **kwargs)

    @staticmethod
    def _dropout(input, p=0.5, training=True, inplace=False):
        if not training or p in (0, 1) or inplace:
            return F.dropout(input, p, training, inplace)
        return torch.native_dropout(input, p, True)[0]


def on_host(function, args: tuple, kwargs: dict) -> bool:
    """Whether a call would compute on the host, although the model were on a GPU."""
    if function in FACTORIES:  # `device="cpu"` is the host; the model's device is no text.
        return kwargs.get("device") is None or isinstance(kwargs["device"], str)
    tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
    to_device = function is torch.Tensor.to and any(
        isinstance(each, torch.device) for each in tree_leaves((args, kwargs))
    )
    return bool(tensors) and not to_device and all(hasattr(t, "is_on_host") for t in tensors)


class Count(TorchDispatchMode):
    """Counts the operations of an update by name; stands in for the gate of measuring.py.

    Attributes:
        updates: for every update that is complete, how often each operation was launched.
        notes: as those of a gate.
    """

    def __init__(self):
        super().__init__()
        self.updates: list[Counter] = []
        self.notes: dict = {}
        self.running: Counter | None = None
        self.paused = False
        self.num_kernels = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function.namespace == "tagloop":
            return self._own_operator(function, args, kwargs)
        if launches(function):
            self.count_kernel(str(function))
        if function in PRODUCTS:
            left, right = args[-2:]
            return left.new_zeros(*left.shape[:-1], right.shape[-1])
        result = function(*args, **kwargs)
        # A kernel that does not run leaves its output as it is, and a loss must be a number.
        return result.zero_() if function.overloadpacket.__name__ in ALLOCATIONS else result

    def _own_operator(self, function, args: tuple, kwargs: dict):
        """An operator of tagloop counts as the kernels that it launches."""
        before = self.num_kernels
        result = function(*args, **kwargs)
        if self.num_kernels == before:
            self.count_kernel(str(function))
        for tensor in tree_leaves(result):
            tensor.zero_()
        return result

    def count_kernel(self, name: str) -> None:
        """Count an operation, or a Triton kernel."""
        self.num_kernels += 1
        if self.running is not None and not self.paused:
            self.running[name] += 1

    def update(self) -> None:
        """The loops call this before every update; the update before ends here."""
        self.end_update()
        self.running = Counter()

    def end_update(self) -> None:
        """End the update. A loop whose updates end with their zero_grad need not call this."""
        if self.running is not None:
            self.updates.append(self.running)
            self.running = None
        if len(self.updates) == WARM_UPDATES + COUNTED_UPDATES:
            raise Counted

    @contextlib.contextmanager
    def pausing(self):
        """Count nothing inside this context."""
        before, self.paused = self.paused, True
        try:
            yield
        finally:
            self.paused = before

    def count(self, mask) -> None:
        """A gate counts cells; here they do not matter."""

    def add(self, *counts) -> None:
        """A gate counts cells; here they do not matter."""

    def result(self) -> Counter:
        """The update in the middle, by its number of launches."""
        counted = sorted(self.updates[WARM_UPDATES:], key=Counter.total)
        assert counted[0].total() > 0
        middle = statistics.median_low(update.total() for update in counted)
        return next(update for update in counted if update.total() == middle)


def launches(function) -> bool:
    """Whether an operation computes or copies values."""
    name = function.overloadpacket.__name__
    return function.namespace != "profiler" and not function.is_view and name not in NO_LAUNCH


def count_loop(name: str, precision: str, inputs: Path, batch_size: int) -> Counter:
    """How often a loop launches each operation in one update."""
    options = argparse.Namespace(
        batch_size=batch_size,
        max_steps=1000,
        seed=42,
        compile=False,
        address=f"{inputs}/{name}-{precision}".replace(" ", "-"),  # names the output folder
        tagloop=f"--mixed_precision={precision} {throughput.LEVERS.get(name, '')}",
    )
    gate = Count()
    with (
        contextlib.suppress(Counted),
        fresh_state(name, precision),
        without_batches(gate),
        counting_kernels(gate),
        LikeAGpu(gate),
        gate,
    ):
        if name in throughput.LEVERS:
            train_tagloop(inputs, gate, options)
        elif name == "course loop":
            peers.train_course(inputs, gate, options)
        else:
            peers.train_trainer_tuned(inputs, gate, options)
    return gate.result()


def train_tagloop(inputs: Path, gate: Count, options: argparse.Namespace) -> None:
    """Train as `train_loop.py` does; an update is a call of train_step."""
    real_step = train_loop.train_step

    def counted_step(run, update):
        gate.update()
        result = real_step(run, update)
        gate.end_update()
        return result

    train_loop.train_step = counted_step
    try:
        train_loop.main(arguments(inputs, options))
    finally:
        train_loop.train_step = real_step


@contextlib.contextmanager
def fresh_state(name: str, precision: str):
    """Let a loop begin as in a process of its own, with a precision."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    real_devices = optimizer._get_foreach_kernels_supported_devices
    optimizer._get_foreach_kernels_supported_devices = lambda: ["cpu"]
    if name not in throughput.LEVERS:  # tagloop has an option of its own.
        os.environ["ACCELERATE_MIXED_PRECISION"] = precision
    try:
        yield
    finally:
        optimizer._get_foreach_kernels_supported_devices = real_devices
        os.environ.pop("ACCELERATE_MIXED_PRECISION", None)


@contextlib.contextmanager
def without_batches(gate: Count):
    """Leave out of the count the operations by which a dataloader builds a batch."""
    real_next = _BaseDataLoaderIter.__next__

    def paused_next(self):
        with gate.pausing():
            return real_next(self)

    _BaseDataLoaderIter.__next__ = paused_next
    try:
        yield
    finally:
        _BaseDataLoaderIter.__next__ = real_next


@contextlib.contextmanager
def counting_kernels(gate: Count):
    """Count the launches of Triton kernels, and run none."""
    if not HAS_TRITON:
        yield
        return
    from triton.runtime.interpreter import InterpretedFunction

    real_run = InterpretedFunction.run
    InterpretedFunction.run = lambda self, *_, **__: gate.count_kernel(self.__name__)
    try:
        yield
    finally:
        InterpretedFunction.run = real_run


def main() -> None:
    """Count every loop, and print a table for each encoder."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    found: dict[str, dict[str, dict[str, int]]] = {}
    for encoder in options.encoders:
        found[encoder], by_op = {}, {}
        with tempfile.TemporaryDirectory() as folder:
            os.environ["TAGLOOP_CACHE"] = f"{folder}/cache"
            inputs = Path(folder) / "inputs"
            build_inputs(inputs, encoder, find_corpus(options.data) or SAMPLE)
            shorten(inputs / "train.jsonl")
            for name in options.loops:
                for precision in options.precisions:
                    progress(f"{encoder}, {name}, {precision}")
                    with contextlib.redirect_stdout(sys.stderr):
                        counted = count_loop(name, precision, inputs, options.batch_size)
                    found[encoder].setdefault(name, {})[precision] = counted.total()
                    by_op[f"{name}, {precision}"] = counted
        print(f"### {encoder}, batch {options.batch_size}\n\n{describe(found[encoder])}\n")
        if options.by_op:
            print(describe_by_op(by_op) + "\n")
    print("Operations an update, counted on a CPU as a GPU would launch them; not timed on a GPU.")
    facts = about()
    print("; ".join(f"{module} {version}" for module, version in facts["versions"].items()))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoders", nargs="+", default=["minilm", "bert-base"])
    parser.add_argument("--loops", nargs="+", choices=LOOPS, default=LOOPS)
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--by_op", action="store_true", help="list the operations by their count")
    parser.add_argument("--json", type=Path, help="write {encoder: {loop: {precision: count}}}")
    parser.add_argument("--data", type=Path, help="folder of CoNLL-2003's eng.*, or `sample`")
    return parser.parse_args()


def shorten(path: Path) -> None:
    """Keep the first sentences of a file; the others would only take time to read."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:SENTENCES]), encoding="utf-8")


def describe(counts: dict[str, dict[str, int]]) -> str:
    """One row for each loop: launches in each precision, and beside them the share of tagloop's."""
    precisions = list(next(iter(counts.values())))
    names = {"no": "float32", "bf16": "bf16"}
    header = ["loop", *(names[precision] for precision in precisions)]
    own = counts.get("tagloop")
    if own:
        header += [f"tagloop / this, {names[precision]}" for precision in precisions]
    rows = []
    for name, found in counts.items():
        ratios = [f"{own[precision] / found[precision]:.2f}" for precision in found] if own else []
        rows.append([name, *(f"{number:,}" for number in found.values()), *ratios])
    return table(header, rows)


def describe_by_op(by_op: dict[str, Counter]) -> str:
    """One row for each operation, the most frequent first; one column for each loop."""
    together = sum(by_op.values(), Counter())
    rows = [
        [operation, *(counter[operation] or "" for counter in by_op.values())]
        for operation, _ in together.most_common()
    ]
    return table(["operation", *by_op], rows)


if __name__ == "__main__":
    main()
