"""The Triton kernels, run by Triton's interpreter on a CPU, compute what plain torch computes."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest
import torch
from exact import OWNERS, POSITIONS, Operations, same_bits
from launches import SMALL, assert_same_metrics, launch, read_metrics
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from tagloop.batches.packing import Layout, Packing
from tagloop.training.dropout import ExampleDropout, recompute_alike
from tagloop.training.masks.hashing import build_keys, drop
from tagloop.training.masks.operators import DropFunction, drop_operator

HAS_TRITON = importlib.util.find_spec("triton") is not None
INTERPRETED = HAS_TRITON and os.environ.get("TRITON_INTERPRET") == "1"
interpreted = pytest.mark.skipif(not INTERPRETED, reason="runs within the test of the interpreter")


@pytest.mark.slow
@pytest.mark.skipif(not HAS_TRITON, reason="Triton is not installed")
@pytest.mark.skipif(INTERPRETED, reason="this is the interpreter")
def test_under_the_interpreter():
    """The variable must be set before Triton is imported, so the tests below have a process."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__],
        env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


# Hashed dropout

CALLS = [
    ((5, 16), 0), ((9, 5), 1), ((9, 12), None), ((1, 1), 0),
    ((5, 7, 33), 0), ((7, 5, 33), 1), ((7, 6, 33), None), ((5, 3, 1500), 0),
    ((5, 3, 7, 9), 0), ((3, 5, 7, 9), 1), ((3, 2, 1, 7), None), ((5, 2, 3, 4, 7), 0),
]  # fmt: skip


@interpreted
@pytest.mark.parametrize(
    ("shape", "example_dim", "dtype"),
    [(*call, torch.float32) for call in CALLS]  # In each other dtype a third of them.
    + [(*call, torch.bfloat16) for call in CALLS[::3]]
    + [(*call, torch.float16) for call in CALLS[1::3]]
    + [(*call, torch.float64) for call in CALLS[2::3]],
)
def test_dropout_of_padded_rows(shape, example_dim, dtype):
    keys, call_keys = build_keys(1, 2, [7, 2**40, 0, 3, 11], None)
    if example_dim is not None:
        keys = keys[: shape[example_dim]]
    values = (torch.randn(shape) * 3).to(dtype)
    values.view(-1)[:3] = torch.tensor([torch.inf, torch.nan, -0.0])[: values.numel()]
    for number, p in enumerate((0.1, 0.5, 0.93)):
        call = keys, None, call_keys[number], example_dim, p
        found = drop_operator(values, *call)
        assert same_bits(found, drop(values, *call))
        assert found.is_contiguous()


@interpreted
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [(shape, torch.float32) for shape in ((2, 7, 33), (2, 7, 1), (2, 3, 7, 7), (2, 1, 7, 7))]
    + [((2, 7, 33), torch.bfloat16), ((2, 3, 7, 7), torch.bfloat16)]
    + [((2, 7, 1), torch.float16), ((2, 1, 7, 7), torch.float16)],
)
def test_dropout_of_packed_rows(shape, dtype):
    keys, call_keys = build_keys(1, 2, [7, 2**40, 0, 3, 11], None)
    call = keys[OWNERS], POSITIONS, call_keys[5], 0, 0.3
    values = torch.randn(shape).to(dtype)
    assert same_bits(drop_operator(values, *call), drop(values, *call))
    no_example = keys[OWNERS], POSITIONS, call_keys[5], None, 0.3
    assert same_bits(drop_operator(values, *no_example), drop(values, *no_example))


@interpreted
@pytest.mark.parametrize(
    "values",
    [
        torch.randn(9, 5, 4).transpose(0, 1), torch.randn(5, 40)[:, ::3],
        torch.randn(1).expand(5, 9),
        torch.randn(5, 4, 3, 8).permute(0, 2, 3, 1), torch.randn(6, 20)[1:, 3:],
    ],
    ids=["transposed", "strided", "expanded", "permuted", "offset"],
)  # fmt: skip
def test_dropout_of_tensors_with_gaps(values):
    keys, call_keys = build_keys(0, 0, range(5), None)
    call = keys, None, call_keys[0], 0, 0.4
    assert same_bits(drop_operator(values, *call), drop(values, *call))


@interpreted
def test_dropout_of_more_elements_than_a_program_computes():
    keys, call_keys = build_keys(0, 0, range(3), None)
    for shape in ((3, 130, 70), (3, 7, 2500), (3, 2, 40, 41)):
        values = torch.randn(shape)
        call = keys, None, call_keys[0], 0, 0.4
        assert same_bits(drop_operator(values, *call), drop(values, *call))


@interpreted
def test_dropout_is_one_operation_forward_and_one_backward():
    inputs = torch.randn(3, 7, 16, requires_grad=True)
    weights = torch.randn(3, 7, 16)
    keys, call_keys = build_keys(0, 0, range(3), None)
    with ExampleDropout(0, 0, range(3)), Operations() as operations:
        output = F.dropout(inputs, 0.3)
    assert operations.names == ["tagloop.drop.default"]
    with Operations() as operations:
        output.backward(weights)
    assert operations.names.count("tagloop.drop.default") == 1
    assert len(operations.names) <= 2  # The other one stores the gradient.
    call = keys, None, call_keys[0], 0, 0.3
    assert same_bits(output, drop(inputs.detach(), *call))
    assert same_bits(inputs.grad, drop(weights, *call))


@interpreted
def test_dropout_that_is_recomputed():
    layer, gradients = torch.nn.Linear(8, 8), []

    def forward(x):
        return F.dropout(layer(x), 0.3).tanh()

    for again in (False, True):
        with ExampleDropout(0, 0, [4, 5]):
            x = torch.linspace(-1, 1, 2 * 3 * 8).view(2, 3, 8)
            for _ in range(2):
                options = {"use_reentrant": False, "context_fn": recompute_alike}
                x = checkpoint(forward, x, **options) if again else forward(x)
        gradients.append(torch.autograd.grad(x.square().sum(), layer.weight)[0])
    assert same_bits(*gradients)


@interpreted
def test_dropout_that_is_compiled():
    """Dynamo and AOTAutograd see the operator; no compiler for C++ is needed."""
    layer = torch.nn.Linear(8, 8)

    def forward(x):
        return F.dropout(layer(x), 0.3)

    compiled, x = torch.compile(forward, backend="aot_eager"), torch.randn(3, 7, 8)
    found = []
    for function in (forward, compiled):
        with ExampleDropout(0, 5, [4, 5, 6]):
            output = function(x)
        found.append([output, *torch.autograd.grad(output.square().sum(), layer.weight)])
    assert all(map(same_bits, *found))


def test_the_function_and_the_operator_have_the_same_gradient():
    values = torch.randn(3, 7, 16, requires_grad=True)
    keys, call_keys = build_keys(0, 0, range(3), None)
    found = []
    for compute in (DropFunction.apply, drop_operator):
        output = compute(values, keys, None, call_keys[0], 0, 0.3)
        found.append([output, *torch.autograd.grad(output.sin().sum(), values)])
    assert all(map(same_bits, *found))


# Attention

LAYOUT = Layout(Packing(0, 1, 7), OWNERS, POSITIONS, torch.zeros(5, 4, dtype=torch.int64))
SLIDING = Packing(0, 1, 7, causal=True, sliding_window=2).build_masks(OWNERS)
# Heads, heads of keys, queries, keys, width; then the other options.
ATTENTION = {
    "padded": ((3, 2, 2, 37, 37, 8), {"attn_mask": torch.rand(3, 1, 1, 37) < 0.7}),
    "no mask": ((2, 3, 3, 33, 33, 16), {}),
    "causal": ((2, 1, 1, 40, 40, 12), {"is_causal": True}),
    "bias": ((2, 2, 2, 20, 20, 8), {"attn_mask": torch.randn(1, 2, 20, 20)}),
    "infinite": ((1, 2, 2, 9, 9, 8), {"attn_mask": torch.zeros(9, 9).fill_diagonal_(-torch.inf)}),
    "grouped": ((2, 4, 2, 35, 41, 8), {"enable_gqa": True, "scale": 0.3}),
    "sees nothing": ((2, 2, 2, 5, 35, 8), {"attn_mask": torch.zeros(5, 35, dtype=torch.bool)}),
    "wide": ((1, 1, 1, 18, 18, 80), {}),
    "one": ((1, 1, 1, 1, 1, 4), {}),
    "packed": ((2, 2, 2, 7, 7, 8), {"attn_mask": Packing(0, 1, 7).build_masks(OWNERS)}),
    "packed, causal": ((2, 2, 2, 7, 7, 8), {"attn_mask": SLIDING["full_attention"]}),
    "packed, sliding": ((2, 2, 2, 7, 7, 8), {"attn_mask": SLIDING["sliding_attention"]}),
}


def attention_of(name: str, dtype, p: float, *, kernels: bool):
    """The output and the gradients, by the kernels or by plain torch, and the operations."""
    (rows, heads, key_heads, num_queries, num_keys, width), options = ATTENTION[name]
    torch.manual_seed(0)
    query = torch.randn(rows, num_queries, heads, width).transpose(1, 2)
    key, value = torch.randn(2, rows, key_heads, num_keys, width)
    leaves = [each.to(dtype).requires_grad_() for each in (query, key, value)]
    packed = name.startswith("packed")
    with ExampleDropout(3, 4, range(5 if packed else rows), LAYOUT if packed else None) as mode:
        mode.kernel_dtypes = mode.kernel_dtypes if kernels else []
        with Operations() as operations:
            output = F.scaled_dot_product_attention(*leaves, dropout_p=p, **options)
    names = operations.names
    weights = torch.randn(output.shape).to(dtype)
    with Operations() as operations:
        gradients = torch.autograd.grad(output, leaves, weights)
    return [output, *gradients], names, operations.names


@interpreted
@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, torch.float32) for name in ATTENTION]
    + [(name, torch.bfloat16) for name in ("padded", "grouped", "packed, sliding")]
    + [(name, torch.float16) for name in ("bias", "sees nothing", "packed")],
)
def test_attention_is_that_of_plain_torch(name, dtype):
    """Sums have another order, and half precision is rounded at fewer places."""
    found, forward, backward = attention_of(name, dtype, 0.3, kernels=True)
    assert forward == ["tagloop.attend.default"]
    assert backward == ["tagloop.attend_backward.default"]
    exact, _, _ = attention_of(name, torch.float32, 0.3, kernels=False)
    bound = {torch.float32: 2e-6, torch.bfloat16: 2e-2, torch.float16: 2e-3}[dtype]
    for left, right in zip(found, exact, strict=True):
        assert left.dtype == dtype
        assert (left.float() - right).norm() <= bound * right.norm() + 1e-6
    assert all(map(same_bits, found, attention_of(name, dtype, 0.3, kernels=True)[0]))


@interpreted
@pytest.mark.parametrize("packed", [False, True])
def test_attention_drops_the_same_elements(packed):
    """The value is the identity, so that the output is the dropped probabilities themselves."""
    size, ids = (7, range(5)) if packed else (40, range(2))
    value = torch.eye(size).expand(2, 3, size, size)
    layout = LAYOUT if packed else None
    kept = []
    for kernels in (True, False):
        with ExampleDropout(0, 0, ids, layout) as mode:
            mode.kernel_dtypes = mode.kernel_dtypes if kernels else []
            kept.append(F.scaled_dot_product_attention(value * 0, value, value, dropout_p=0.4) != 0)
    assert torch.equal(*kept)
    assert 0.5 < kept[0].float().mean() < 0.7


@interpreted
def test_a_learned_mask_gets_its_gradient():
    mask = torch.zeros(1, 2, 5, 5, requires_grad=True)
    query = torch.randn(2, 2, 5, 8)
    with ExampleDropout(0, 0, range(2)):
        F.scaled_dot_product_attention(query, query, query, mask, 0.3).sum().backward()
    assert mask.grad.any()


@interpreted
def test_attention_that_is_compiled():
    layer = torch.nn.Linear(8, 8)

    def forward(x):
        heads = layer(x).view(3, 7, 2, 4).transpose(1, 2)
        return F.scaled_dot_product_attention(heads, heads, heads, dropout_p=0.3)

    compiled, x = torch.compile(forward, backend="aot_eager"), torch.randn(3, 7, 8)
    found = []
    for function in (forward, compiled):
        with ExampleDropout(0, 5, [4, 5, 6]):
            output = function(x)
        found.append([output, *torch.autograd.grad(output.square().sum(), layer.weight)])
    assert all(map(same_bits, *found))


# A run

RUN = ["--max_train_steps=2", "--logging_steps=1", "--no_report", "--do_train"]


@pytest.mark.slow
@pytest.mark.skipif(not HAS_TRITON, reason="Triton is not installed")
@pytest.mark.skipif(INTERPRETED, reason="starts the interpreter itself")
def test_a_run_with_kernels_is_the_run_without(tmp_path):
    """And one that is cut otherwise, too."""
    whole = ["--per_device_train_batch_size=4", "--gradient_accumulation_steps=1"]
    cut = ["--per_device_train_batch_size=2", "--gradient_accumulation_steps=2", "--no_packing"]
    folders = [tmp_path / name for name in ("torch", "whole", "cut")]
    runs = [
        [*SMALL, *RUN, *options, f"--output_dir={folder}"]
        for folder, options in zip(folders, (whole, whole, cut), strict=True)
    ]
    launch(*runs[0])
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps(runs[1:]))
    launch(str(plan), script="tests/mains_worker.py", environment={"TRITON_INTERPRET": "1"})
    metrics = [read_metrics(folder) for folder in folders]
    assert_same_metrics(metrics[1], metrics[0])
    assert_same_metrics(metrics[2], metrics[0])


# Made for a GPU

ARCHITECTURES = [80, 90, 100]


@pytest.mark.slow
@pytest.mark.skipif(not HAS_TRITON, reason="Triton is not installed")
@pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_kernels_compile_for_gpus(architecture):
    """Down to machine code, which needs no GPU."""
    from tagloop.training.masks.kernels.drop import _drop_kernel

    sizes = ["num_lines", "size1", "size2", "size3"]
    ints = [*sizes, "stride0", "stride1", "stride2", "stride3", "threshold"]
    for dtype in ("fp32", "bf16", "fp16"):
        for ndim, packed in ((2, False), (3, False), (3, True), (4, False), (4, True)):
            types = {"input": f"*{dtype}", "output": f"*{dtype}", "keys": "*i32"}
            types |= {"positions": "*i64"} if packed else {}
            types |= {"call_key": "*i32", **dict.fromkeys(ints, "i32"), "factor": "fp32"}
            constants = {"NDIM": ndim, "EXAMPLE_DIM": 0, "LINES": 2, "WIDTH": 512}
            constants |= {} if packed else {"positions": None}
            assert_compiles(_drop_kernel, types, constants, architecture)


def assert_compiles(kernel, types: dict, constants: dict, architecture: int) -> None:
    """The kernel is compiled and needs no more shared memory than every such GPU has."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = [parameter.name for parameter in kernel.params]
    signature = {name: types.get(name, "constexpr") for name in names}
    source = ASTSource(kernel, signature, constants)
    made = triton.compile(source, target=GPUTarget("cuda", architecture, 32))
    assert made.asm["cubin"]
    assert made.metadata.shared <= 99 * 1024


@pytest.mark.slow
@pytest.mark.skipif(not HAS_TRITON, reason="Triton is not installed")
@pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")
@pytest.mark.parametrize(("architecture", "width"), [(80, 64), (90, 128), (100, 32)])
def test_attention_compiles_for_gpus(architecture, width):
    from tagloop.training.masks.kernels import attend

    names = ("num_queries", "num_keys", "width", "group", "threshold")
    for dtype, letters, mask, packed in (
        (torch.float32, "fp32", "*fp32", True), (torch.float32, "fp32", None, False),
        (torch.bfloat16, "bf16", "*u8", False), (torch.float16, "fp16", "*fp32", True),
    ):  # fmt: skip
        for kernel in (attend._forward_kernel, attend._backward_kernel):
            types = dict.fromkeys([each.name for each in kernel.params], f"*{letters}")
            strides = [name for name in types if name.endswith("strides")]
            types |= dict.fromkeys(strides, ("i32",) * 4) | dict.fromkeys(names, "i32")
            types |= dict.fromkeys(["scale", "factor"], "fp32")
            types |= dict.fromkeys(["highest", "total"], "*fp32")
            types |= dict.fromkeys(["keys", "call_key"], "*i32")
            types |= {"positions": "*i64", "mask": mask}
            constants = {"CAUSAL": not packed, **attend.block_sizes(width, dtype)}
            constants |= {} if packed else {"positions": None}
            constants |= {} if mask else {"mask": None}
            types = {name: type_ for name, type_ in types.items() if name not in constants}
            assert_compiles(kernel, types, constants, architecture)
