"""Chooses the few shapes that packed rows have with --static_shapes.

A compiler compiles a model once for each shape, and a CUDA graph replays one shape. Packed rows of
random batches have dozens of shapes. With a short list of shapes a micro-batch takes the cheapest
shape that holds its examples; the rest of the rows is padding, which costs time but changes no
update.
"""

from collections.abc import Iterable

import numpy as np

from tagloop.batches.packing import Packing, cost_of, fill_rows, numbers_of_rows
from tagloop.batches.plan import deal_update, longest_first, plan_epoch

GRID = 8  # Shapes differ by at least this many columns, else there were too many to choose from.
# So many examples are put into rows for the choice, in about two seconds. An example counts once
# for each number of rows that is tried.
ENOUGH = 3_000_000
ROUNDS = 4  # How often every shape of the list may be exchanged for a better one.


def choose_shapes(
    lengths: np.ndarray,
    packing: Packing,
    *,
    num_shapes: int,
    num_epochs: int,
    seed: int,
    global_batch_size: int,
    num_processes: int,
    per_device_batch_size: int,
    group_by_length: bool,
) -> tuple[tuple[tuple[int, int], ...], float]:
    """Choose shapes that together hold all micro-batches of a run, and that cost little.

    The shapes are found one after another: the next shape is the one that saves most. Then each
    shape is exchanged as long as another one costs less. Of a long run only the first micro-batches
    are looked at; then one of the shapes holds any micro-batch: a row for each example, as long as
    the longest example. The result depends on the arguments only, so all processes choose the same
    shapes.

    Args:
        lengths: int [num_examples], sub-tokens of every example of the training data.
        packing: how the rows of the model may be packed.
        num_shapes: shapes, at most.
        num_epochs, seed, global_batch_size, num_processes, per_device_batch_size,
            group_by_length: as the run has them.

    Returns:
        Shapes (rows, columns), the cheapest first; and the share of padding among the cells of the
        micro-batches that were looked at.

    >>> choose_shapes(np.array([3, 9, 4, 1] * 8), Packing(0, multiple=1, max_columns=16),
    ...               num_shapes=2, num_epochs=1, seed=0, global_batch_size=4, num_processes=1,
    ...               per_device_batch_size=4, group_by_length=False)
    (((1, 16), (2, 16)), 0.29166666666666663)
    """
    micro_batches, is_all = _sample(
        
            lengths[longest_first(ids, lengths)]
            for epoch in range(num_epochs)
            for update in plan_epoch(
                lengths, seed=seed, epoch=epoch, global_batch_size=global_batch_size,
                group_by_length=group_by_length,
            )
            for process in range(num_processes)
            for ids in deal_update(
                update, lengths, num_processes=num_processes, process_index=process,
                per_device_batch_size=per_device_batch_size, packed=True,
            )
            if len(ids)
        
    )  # fmt: skip
    any_batch = per_device_batch_size, _round_up(int(lengths.max()), packing)
    candidates, costs = _candidates(micro_batches, any_batch, packing)
    chosen = _choose(costs, num_shapes, [] if is_all else [0])
    shapes = sorted({candidates[index] for index in chosen}, key=lambda shape: cost_of(*shape))
    cells = np.array([rows * columns for rows, columns in candidates])[chosen]
    computed = cells[costs[chosen].argmin(0)].sum()
    return tuple(shapes), float(1 - sum(batch.sum() for batch in micro_batches) / computed)


def _sample(micro_batches: Iterable[np.ndarray]) -> tuple[list[np.ndarray], bool]:
    """The micro-batches that the choice looks at, and whether these are all of them."""
    taken: list[np.ndarray] = []
    work = 0
    for batch in micro_batches:
        if work > ENOUGH:
            return taken, False
        taken.append(batch)
        work += len(batch) * len(numbers_of_rows(batch))
    return taken, True


def _candidates(
    micro_batches: list[np.ndarray], any_batch: tuple[int, int], packing: Packing
) -> tuple[list[tuple[int, int]], np.ndarray]:
    """The shapes among which a choice is made, and what each micro-batch costs in each of them.

    Args:
        micro_batches: int [num_examples], the lengths of the examples of every micro-batch.
        any_batch: the shape that holds every micro-batch; it is the first candidate.

    Returns:
        Shapes (rows, columns), and float [num_candidates, num_micro_batches], infinite where the
        shape is too small for the micro-batch.
    """
    numbers = sorted({rows for batch in micro_batches for rows in numbers_of_rows(batch)})
    needed = np.array(
        [[fill_rows(batch.tolist(), rows)[1] for rows in numbers] for batch in micro_batches]
    )
    shapes, columns_of = [any_batch], [np.zeros(len(micro_batches))]
    for number, rows in enumerate(numbers):
        for columns in sorted({_round_up(int(width), packing) for width in needed[:, number]}):
            shapes.append((rows, columns))
            columns_of.append(needed[:, number])
    costs = [
        np.where(width <= columns, cost_of(rows, columns), np.inf)
        for (rows, columns), width in zip(shapes, columns_of, strict=True)
    ]
    return shapes, np.array(costs)


def _choose(costs: np.ndarray, count: int, fixed: list[int]) -> list[int]:
    """Choose rows of a table so that the sum of the smallest cost of every column is small.

    Args:
        costs: float [num_candidates, num_micro_batches]; infinite where a shape is too small. No
            cost in row 0 is infinite.
        count: rows to choose, at most.
        fixed: rows that are chosen in any case.
    """
    chosen = fixed or [int(costs.sum(1).argmin())]  # Every micro-batch has a shape from now on.
    while len(chosen) < min(count, len(costs)):
        best = costs[chosen].min(0)
        chosen.append(int(np.minimum(best, costs).sum(1).argmin()))
    for _ in range(ROUNDS):
        for place in range(len(fixed), len(chosen)):
            rest = costs[chosen[:place] + chosen[place + 1 :]]
            without = rest.min(0) if len(rest) else np.full(costs.shape[1], np.inf)
            chosen[place] = int(np.minimum(without, costs).sum(1).argmin())
    return chosen


def _round_up(columns: int, packing: Packing) -> int:
    """The columns of the narrowest shape that has at least so many of them."""
    grid = max(packing.multiple, GRID)
    return min(-(-columns // grid) * grid, packing.max_columns)
