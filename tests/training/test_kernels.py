"""The Triton kernels, run by Triton's interpreter on a CPU, compute what plain torch computes."""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from tagloop.training.dropout import ExampleDropout, recompute_alike
from tagloop.training.hashing import DropFunction, build_keys, drop, drop_operator

HAS_TRITON = importlib.util.find_spec("triton") is not None
INTERPRETED = HAS_TRITON and os.environ.get("TRITON_INTERPRET") == "1"
interpreted = pytest.mark.skipif(not INTERPRETED, reason="runs within the test of the interpreter")

INTS = {4: torch.int32, 2: torch.int16, 8: torch.int64}
OWNERS = torch.tensor([[0, 0, 0, 1, 1, 4, -1], [2, 3, 3, 3, 3, -1, -1]])
POSITIONS = torch.tensor([[0, 1, 2, 0, 1, 0, 0], [0, 0, 1, 2, 3, 0, 0]])


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


class Operations(TorchDispatchMode):
    """The names of all operations that are no views and make no memory."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if not function.is_view and function is not torch.ops.aten.empty.memory_format:
            self.names.append(str(function))
        return function(*args, **(kwargs or {}))


def same_bits(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Equal to the last bit, so that 0 is not -0; no number equals no number."""
    assert (left.dtype, left.shape) == (right.dtype, right.shape)
    ints = INTS[left.itemsize]
    numbers = ~left.isnan()
    bits = torch.equal(
        left.contiguous().view(ints)[numbers], right.contiguous().view(ints)[numbers]
    )
    return bits and torch.equal(left.isnan(), right.isnan())


# Hashed dropout

CALLS = [
    ((5, 16), 0), ((9, 5), 1), ((9, 12), None), ((1, 1), 0),
    ((5, 7, 33), 0), ((7, 5, 33), 1), ((7, 6, 33), None), ((5, 3, 1500), 0),
    ((5, 3, 7, 9), 0), ((3, 5, 7, 9), 1), ((3, 2, 1, 7), None), ((5, 2, 3, 4, 7), 0),
]  # fmt: skip


@interpreted
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize(("shape", "example_dim"), CALLS)
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
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(2, 7, 33), (2, 7, 1), (2, 3, 7, 7), (2, 1, 7, 7)])
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
        output = torch.nn.functional.dropout(inputs, 0.3)
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
        return torch.nn.functional.dropout(layer(x), 0.3).tanh()

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
        return torch.nn.functional.dropout(layer(x), 0.3)

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


# Made for a GPU

ARCHITECTURES = [80, 90, 100]


@pytest.mark.slow
@pytest.mark.skipif(not HAS_TRITON, reason="Triton is not installed")
@pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_kernels_compile_for_gpus(architecture):
    """Down to machine code, which needs no GPU."""
    from tagloop.training.kernels.drop import _drop_kernel

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
