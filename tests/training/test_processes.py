"""Randomness of an update: a function of seed, step and process, and of nothing before it."""

import pytest
import torch
from launches import SMALL, launch
from torch.nn.functional import dropout

from tagloop.training.processes import seed_update


def mask(*position):
    seed_update(*position)
    return dropout(torch.ones(256), p=0.5)


def test_dropout_masks_differ_between_processes_steps_and_seeds():
    torch.manual_seed(1)
    first = mask(42, 7, 0)
    torch.manual_seed(2)
    assert torch.equal(mask(42, 7, 0), first)
    for other in ((42, 7, 1), (42, 8, 0), (43, 7, 0)):
        assert 64 < (mask(*other) != first).sum() < 192


@pytest.mark.slow
def test_two_processes_repeat_bit_for_bit_with_dropout(tmp_path):
    files = []
    for name in ("once", "again"):
        launch(*SMALL, f"--output_dir={tmp_path / name}", processes=2)
        files.append((tmp_path / name / "model.safetensors").read_bytes())
    assert files[0] == files[1]
