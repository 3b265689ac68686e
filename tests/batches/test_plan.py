"""plan.py: the plan of an epoch, how updates are dealt, how evaluation is cut."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from launches import REPO

from tagloop.batches import plan as plan_module
from tagloop.batches.plan import deal_update, plan_epoch, plan_evaluation

LENGTHS = np.array([3, 9, 4, 8, 5, 12, 7, 1, 6, 2, 11, 10, 3])

# As planned when the format of a run was settled: old runs must resume with these batches.
GOLDEN = {
    True: [[2, 0, 12, 9], [3, 6, 8, 4], [5, 10, 11, 1], [7]],
    False: [[1, 12, 3, 9], [4, 0, 5, 7], [10, 8, 6, 11], [2]],
}


def plan(lengths=LENGTHS, *, seed=7, epoch=2, size=4, group=True) -> list[list[int]]:
    batches = plan_epoch(
        lengths, seed=seed, epoch=epoch, global_batch_size=size, group_by_length=group
    )
    return [batch.tolist() for batch in batches]


def corpus_like_lengths(number: int) -> np.ndarray:
    """Sentence lengths as news has them: mean about 20, most short, a long tail."""
    return np.random.default_rng(3).lognormal(2.8, 0.65, number).clip(3, 120).astype(int)


def padding_share(batches, lengths: np.ndarray) -> float:
    cells = sum(len(batch) * lengths[batch].max() for batch in batches)
    return 1 - lengths.sum() / cells


def deal(window_ids, lengths, num_processes, per_device) -> list[list[np.ndarray]]:
    """The micro-batches of all processes."""
    return [
        deal_update(
            window_ids,
            lengths,
            num_processes=num_processes,
            process_index=process,
            per_device_batch_size=per_device,
        )
        for process in range(num_processes)
    ]


@pytest.mark.parametrize("group", [True, False])
def test_golden_plan(group):
    assert plan(group=group) == GOLDEN[group]


@pytest.mark.parametrize("group", [True, False])
@pytest.mark.parametrize(("number", "size"), [(1000, 16), (1001, 16), (15, 16), (16, 16), (1, 1)])
def test_each_window_once_an_epoch_and_only_the_last_batch_short(number, size, group):
    batches = plan(corpus_like_lengths(number), size=size, group=group)
    assert sorted(itertools.chain(*batches)) == list(range(number))
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    assert len(batches[-1]) == (number % size or size)


@pytest.mark.parametrize("group", [True, False])
def test_epochs_and_seeds_differ(group):
    lengths = corpus_like_lengths(400)
    plans = [
        plan(lengths, seed=seed, epoch=epoch, size=8, group=group)
        for seed in range(3)
        for epoch in range(3)
    ]
    together = [{frozenset(batch) for batch in batches} for batches in plans]
    for number, sets in enumerate(together):
        for others in together[:number]:
            assert len(sets & others) < len(sets) / 2  # other batches, not the same ones shuffled


@pytest.mark.parametrize("epoch", [0, 1])
def test_long_batches_are_not_bunched(epoch):
    lengths = corpus_like_lengths(2000)
    longest = [lengths[batch].max() for batch in plan(lengths, epoch=epoch, size=10)]
    halves = np.mean(longest[:100]), np.mean(longest[100:])
    assert max(halves) < 1.3 * min(halves)


def test_another_process_plans_the_same():
    script = (
        "import numpy as np; from tagloop.batches.plan import plan_epoch;"
        "print([b.tolist() for b in plan_epoch(np.arange(500) % 37, seed=5, epoch=1,"
        " global_batch_size=8, group_by_length=True)])"
    )
    output = subprocess.run(
        [sys.executable, "-c", script],
        cwd=REPO,
        env=os.environ | {"PYTHONHASHSEED": "123"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert output.strip() == str(plan(np.arange(500) % 37, seed=5, epoch=1, size=8))


@pytest.mark.parametrize("num_processes", [1, 2, 3, 8])
@pytest.mark.parametrize("per_device", [1, 2, 3, 4, 7, 16])
@pytest.mark.parametrize("num_windows", [1, 2, 5, 16, 23])
def test_processes_share_an_update_without_loss(num_processes, per_device, num_windows):
    lengths = corpus_like_lengths(100)
    (window_ids, *_) = plan_epoch(
        lengths, seed=1, epoch=0, global_batch_size=num_windows, group_by_length=True
    )
    shares = deal(window_ids, lengths, num_processes, per_device)
    dealt = [window for share in shares for micro_batch in share for window in micro_batch]
    assert sorted(dealt) == sorted(window_ids)
    num_rounds = {len(share) for share in shares}
    # As many as are needed, the same for all: every process joins every collective.
    assert num_rounds == {-(-num_windows // (num_processes * per_device))}
    sizes = [len(micro_batch) for share in shares for micro_batch in share]
    assert max(sizes) <= per_device
    assert max(sizes) - min(sizes) <= 1


def test_processes_pad_to_similar_lengths():
    lengths = corpus_like_lengths(2000)
    waste = unsorted_waste = 0
    for window_ids in plan_epoch(
        lengths, seed=1, epoch=0, global_batch_size=64, group_by_length=False
    ):
        shares = [
            deal_update(
                window_ids,
                lengths,
                num_processes=2,
                process_index=process,
                per_device_batch_size=8,
            )
            for process in range(2)
        ]
        for one, other in zip(*shares, strict=True):
            if not (len(one) and len(other)):
                continue
            waste += abs(int(lengths[one].max()) - int(lengths[other].max()))
        rows = [window_ids[at : at + 8] for at in range(0, len(window_ids), 8)]
        for one, other in zip(rows[::2], rows[1::2], strict=False):
            unsorted_waste += abs(int(lengths[one].max()) - int(lengths[other].max()))
    assert waste < 0.7 * unsorted_waste


@pytest.mark.parametrize("size", [8, 16, 32])
def test_grouping_by_length_saves_padding(size):
    lengths = corpus_like_lengths(5000)
    share = {
        group: padding_share(
            plan_epoch(lengths, seed=1, epoch=0, global_batch_size=size, group_by_length=group),
            lengths,
        )
        for group in (True, False)
    }
    print(f"padding, batches of {size}: {share[True]:.1%} grouped, {share[False]:.1%} random")
    assert share[True] < 0.08
    assert share[False] > 0.5


@pytest.mark.parametrize("size", [8, 16, 32, 64, 128])
def test_padding_of_an_epoch(size):
    lengths = corpus_like_lengths(14000)
    plan = plan_epoch(lengths, seed=1, epoch=0, global_batch_size=size, group_by_length=True)
    shares = [deal(window_ids, lengths, 1, size)[0] for window_ids in plan]
    assert padding_share([ids for share in shares for ids in share], lengths) < 0.05
    assert sum(len(share) for share in shares) < 1.15 * len(plan)  # and few more micro-batches


@pytest.mark.parametrize("num_processes", [1, 2, 3])
@pytest.mark.parametrize("per_device", [3, 8, 100])
def test_one_long_sentence_does_not_pad_all_others(num_processes, per_device):
    lengths = np.full(300, 20)
    lengths[[5, 70]] = 500, 300
    update = np.random.default_rng(1).permutation(100)
    shares = deal(update, lengths, num_processes, per_device)
    dealt = [ids for share in shares for ids in share]
    assert sorted(np.concatenate(dealt)) == list(range(100))
    assert len({len(share) for share in shares}) == 1
    assert max(map(len, dealt)) <= per_device
    cells = sum(len(ids) * lengths[ids].max() for ids in dealt if len(ids))
    assert cells < lengths[:100].sum() + 2 * num_processes * plan_module.WORTH_A_ROUND
    alike = deal(update, np.full(300, 500), num_processes, per_device)  # padded to one length
    assert len(alike[0]) == -(-100 // (num_processes * per_device))


@pytest.mark.parametrize("batch_size", [1, 3, 5, 13, 20])
def test_evaluation_takes_every_window_once_longest_first(batch_size):
    batches = plan_evaluation(LENGTHS, batch_size=batch_size)
    order = np.concatenate(batches)
    assert sorted(order) == list(range(len(LENGTHS)))
    cells = [len(batch) * LENGTHS[batch].max() for batch in batches]
    assert max(cells) <= batch_size * LENGTHS.max()
    assert len(batches) <= -(-len(LENGTHS) // batch_size)
    assert (np.diff(LENGTHS[order]) <= 0).all()


# Batches of one length


@pytest.mark.parametrize("num_processes", [1, 2, 3, 7])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_equal_lengths_deal_each_window_once_and_rounds_alike(num_processes, batch_size):
    lengths = corpus_like_lengths(200)
    update = np.random.default_rng(1).permutation(200)[:90]
    shares = [
        deal_update(
            update,
            lengths,
            num_processes=num_processes,
            process_index=process,
            per_device_batch_size=batch_size,
            equal_lengths=True,
        )
        for process in range(num_processes)
    ]
    assert len({len(share) for share in shares}) == 1  # as many micro-batches on every process
    slices = [ids for share in shares for ids in share]
    assert sorted(np.concatenate(slices).tolist()) == sorted(update.tolist())
    assert all(len(ids) <= batch_size for ids in slices)
    assert all(len(set(lengths[ids])) <= 1 for ids in slices)
    assert all(ids.dtype == update.dtype for ids in slices)
    num_needed = sum(-(-n // batch_size) for n in np.bincount(lengths[update]))
    assert len(slices) == -(-num_needed // num_processes) * num_processes


def test_equal_lengths_cut_an_evaluation():
    lengths = np.array([3, 9, 3, 9, 9, 4])
    batches = plan_evaluation(lengths, batch_size=2, equal_lengths=True)
    assert [batch.tolist() for batch in batches] == [[1, 3], [4], [5], [0, 2]]
    assert plan_evaluation(lengths[:0], batch_size=2, equal_lengths=True) in ([], [[]])
