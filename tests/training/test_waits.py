"""Between two logs the host never waits for the device: no value is read in an update.

A GPU computes behind the host. An operation whose result the host has to know (a number, or the
size of a tensor) stops the host until the GPU has caught up. Here, on a CPU, these operations are
refused while whole updates are computed.

One read is known and let through: for padded rows transformers looks whether the attention mask
hides anything, once in each forward pass. Packed rows come with a mask that it takes as it is.
"""

import sys

import pytest
import torch
from launches import SMALL
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import train_loop
from tagloop.batches.dataloader import UpdatesAhead
from tagloop.batches.plan import plan_epoch

# Operators that read values from the device, or whose result has a size that depends on values.
READS = {
    "_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2",
    "unique_dim", "unique_consecutive", "bincount", "allclose", "linalg_check_errors",
}  # fmt: skip
COPIES = {torch.Tensor.cpu, torch.Tensor.numpy, torch.Tensor.tolist, torch.Tensor.__array__}
INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_"}


class Waited(AssertionError):
    """The host would have waited."""


def inside(function: str) -> bool:
    """True if a function of this name is being called."""
    frame = sys._getframe()
    while frame and frame.f_code.co_name != function:
        frame = frame.f_back
    return frame is not None


class RefuseReads(TorchDispatchMode):
    known = 0  # reads that are let through

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        name = operator.overloadpacket.__name__
        by_mask = name in INDEXED and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        by_counts = str(operator) == "aten.repeat_interleave.Tensor" and not (kwargs or {}).get(
            "output_size"
        )
        if name in READS or by_mask or by_counts:
            if not inside("_ignore_bidirectional_mask_sdpa"):
                raise Waited(str(operator))
            self.known += 1
        return operator(*args, **(kwargs or {}))


class RefuseCopies(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in COPIES:
            raise Waited(str(function))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "read",
    [
        lambda values: values.sum().item(),
        lambda values: float(values[0]),
        lambda values: bool(values.any()),
        lambda values: values[values > 0],
        lambda values: values.nonzero(),
        lambda values: values.tolist(),
        lambda values: values.cpu(),
        lambda values: values.numpy(),
        lambda values: values.masked_select(values > 0),
        lambda values: torch.equal(values, values + 1),
        lambda values: values.repeat_interleave(values.long()),
    ],
)
def test_reading_a_value_is_refused(read):
    values = torch.ones(3)
    with pytest.raises(Waited), RefuseReads(), RefuseCopies():
        read(values)


@pytest.mark.medium
@pytest.mark.parametrize("task", ["ner", "classification"])
@pytest.mark.parametrize(
    "options",
    [
        ["--mixed_precision=bf16", "--weight_decay=0.01"],
        ["--no_packing", "--gradient_checkpointing"],
        ["--dropout=per_process", "--mixed_precision=bf16", "--max_grad_norm=0"],
        ["--full_vocabulary", "--lr_scheduler_type=cosine", "--num_warmup_steps=2"],
    ],
    ids=" ".join,
)
def test_an_update_reads_nothing_from_the_device(task, options, tmp_path, no_accelerator):
    cut = ["--per_device_train_batch_size=4", "--gradient_accumulation_steps=3"]
    config = train_loop.parse_config(
        [*SMALL, *cut, *options, f"--task_name={task}", f"--output_dir={tmp_path}"]
    )
    accelerator = train_loop.build_accelerator(
        mixed_precision=config.mixed_precision, log_with=None
    )
    run = train_loop.build(config, accelerator, tmp_path, None)
    examples = run.task.examples["train"]
    plan = plan_epoch(
        examples.lengths, seed=1, epoch=0, global_batch_size=12, group_by_length=False
    )
    updates = train_loop.build_dataloader(
        examples, plan[:3], accelerator, per_device_batch_size=4, packing=run.packing
    )
    assert isinstance(updates, UpdatesAhead)
    results = []
    for update in updates:
        with RefuseReads() as reads, RefuseCopies():
            results.append(train_loop.train_step(run, update))
        assert reads.known == (0 if run.packing else len(update.micro_batches))
        run.state.step += 1
    assert all(torch.isfinite(result.loss_sum) for result in results)
