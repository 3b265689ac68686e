"""dataloader.py: a thread prepares the next update, and the loop sees nothing of that."""

import itertools
import threading

import numpy as np
import pytest
import tiny
import torch
from launches import HANG, SMALL, wait_until

import train_loop
from tagloop.batches.dataloader import Updates, UpdatesAhead
from tagloop.batches.packing import Packing

CPU = torch.device("cpu")


class Noted(Updates):
    """Notes which updates were prepared, and by which thread; can fail at one of them."""

    fails_at: int | None = None

    def __getitem__(self, number):
        if number == self.fails_at:
            raise OSError(5, "the disk is gone")
        update = super().__getitem__(number)
        self.noted = [*getattr(self, "noted", []), (number, threading.current_thread())]
        return update


def updates(kind=Updates, number=12):
    tokens = tiny.sentences(5, number)
    tags = tiny.random_tags(6, tokens, ["O", "B-PER"])
    examples = tiny.build_windows(tiny.tokenizer_like("word_piece"), tokens, tags, ["O", "B-PER"])
    plan = np.split(np.arange(len(examples)), [3, 6, 9])
    return kind(
        examples, plan, num_processes=1, process_index=0, per_device_batch_size=2,
        packing=Packing(0, 1, 64),
    )  # fmt: skip


def tensors(update) -> list[torch.Tensor]:
    layouts = [batch.layout for batch in update.micro_batches]
    return [
        *itertools.chain(*(batch.inputs.values() for batch in update.micro_batches)),
        *(batch.labels for batch in update.micro_batches),
        *itertools.chain(*((each.owners, each.positions, each.cells) for each in layouts)),
    ]


@pytest.mark.parametrize("start", [0, 2, 4])
def test_the_updates_are_those_of_the_plan_in_order(start):
    plain = updates()
    ahead = list(UpdatesAhead(plain, start, CPU))
    assert len(ahead) == len(plain) - start == len(UpdatesAhead(plain, start, CPU))
    for found, number in zip(ahead, range(start, len(plain)), strict=True):
        expected = plain[number]
        assert found.example_ids.tolist() == expected.example_ids.tolist()
        assert (found.num_cells, found.target_weight) == (
            expected.num_cells, expected.target_weight,
        )  # fmt: skip
        pairs = zip(tensors(found), tensors(expected), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)


def test_one_update_is_prepared_ahead_by_another_thread():
    noted = updates(Noted)
    loader = iter(UpdatesAhead(noted, 0, CPU))
    for number in range(len(noted)):
        next(loader)
        known = min(number + 2, len(noted))
        wait_until(lambda known=known: len(noted.noted) == known, "the next update is prepared")
        assert [each for each, _ in noted.noted] == list(range(known))
    assert threading.main_thread() not in [thread for _, thread in noted.noted]
    assert next(loader, None) is None


def test_an_error_arrives_at_its_update():
    noted = updates(Noted)
    noted.fails_at = 2
    loader = iter(UpdatesAhead(noted, 0, CPU))
    assert [len(next(loader).example_ids) for _ in range(2)] == [3, 3]
    with pytest.raises(OSError, match="the disk is gone"):
        next(loader)


def test_no_thread_is_left_when_the_loop_leaves_early():
    before = threading.active_count()

    def leave() -> None:
        for _ in UpdatesAhead(updates(), 0, CPU):
            return

    leave()
    assert threading.active_count() == before


@pytest.mark.medium
@pytest.mark.parametrize("reason", ["error", "early stopping"])
def test_no_thread_is_left_when_a_run_leaves_early(tmp_path, monkeypatch, reason):
    options = ["--eval_steps=1", "--early_stopping_patience=1", f"--output_dir={tmp_path}"]
    if reason == "error":

        def fail(run, update):
            raise ZeroDivisionError

        monkeypatch.setattr(train_loop, "train_step", fail)
        with pytest.raises(ZeroDivisionError):
            train_loop.main([*SMALL, *options])
    else:
        train_loop.main([*SMALL, *options, "--learning_rate=1e-9"])
    for thread in threading.enumerate():
        if thread.name.startswith("update "):
            thread.join(HANG)
            assert not thread.is_alive()
