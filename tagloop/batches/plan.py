"""The batch plan: which windows every update learns from. Pure numpy.

A position in training is two integers, epoch and update in epoch. What lies there depends on the
seed, the lengths and the global batch size, and on nothing else: the number of processes and of
micro-batches only decides who computes which part of it.
"""

import heapq

import numpy as np

CHUNK_UPDATES = 50  # global batches in a chunk that is sorted by length: 96% real tokens on CoNLL
WORTH_A_ROUND = 256  # cells (rows x columns) that a further micro-batch must spare each process


def plan_epoch(
    lengths: np.ndarray, *, seed: int, epoch: int, global_batch_size: int, group_by_length: bool
) -> list[np.ndarray]:
    """Cut one epoch into global batches.

    The windows are shuffled, sorted by length inside large shuffled chunks, cut into global
    batches, and the full batches are shuffled. A short batch, if any, comes last.

    Args:
        lengths: sub-tokens of every window, [num_windows].
        seed, epoch: the same pair always gives the same plan.
        global_batch_size: windows of one update, over all processes and micro-batches.

    Returns:
        One array of window ids per update; each window is in exactly one of them.

    >>> plan_epoch(np.array([3, 9, 4, 8, 5]), seed=0, epoch=0, global_batch_size=2,
    ...            group_by_length=True)
    [array([4, 2]), array([1, 3]), array([0])]
    """
    order = _random_order(len(lengths), seed, epoch, 0)
    if group_by_length:
        chunk_size = CHUNK_UPDATES * global_batch_size
        chunks = [order[at : at + chunk_size] for at in range(0, len(order), chunk_size)]
        order = np.concatenate([_longest_first(chunk, lengths) for chunk in chunks])
    batches = [order[at : at + global_batch_size] for at in range(0, len(order), global_batch_size)]
    num_full = len(order) // global_batch_size
    shuffled = [batches[index] for index in _random_order(num_full, seed, epoch, 1)]
    return shuffled + batches[num_full:]


def deal_update(
    window_ids: np.ndarray,
    lengths: np.ndarray,
    *,
    num_processes: int,
    process_index: int,
    per_device_batch_size: int,
    equal_lengths: bool = False,
    packed: bool = False,
) -> list[np.ndarray]:
    """The micro-batches of one process for one global batch.

    Windows are sorted by length and cut into `num_processes x num_micro_batches` neighbouring
    slices, so that the processes pad to similar lengths in every round. The slices' sizes differ
    by one at most; where there are fewer windows than slices, some are empty. A round of very
    different lengths is cut once more, as no cut changes what an update learns.

    Args:
        window_ids: the global batch, [num_windows_of_update].
        lengths: columns that every window of the corpus needs.
        equal_lengths: only windows of one length in a micro-batch, for models that see padding.
        packed: any lengths go together, as nothing is padded; every micro-batch has about as many
            sub-tokens.

    Returns:
        One array of window ids per micro-batch; every process gets equally many micro-batches.

    >>> deal_update(np.array([4, 1, 3]), np.array([0, 5, 0, 9, 7]), num_processes=2,
    ...             process_index=0, per_device_batch_size=1)
    [array([3]), array([1])]
    """
    if equal_lengths:
        slices = _cut_by_length(window_ids, lengths, per_device_batch_size)
        slices += [window_ids[:0]] * (-len(slices) % num_processes)
        return slices[process_index::num_processes]
    num_slices = -(-len(window_ids) // (num_processes * per_device_batch_size)) * num_processes
    order = _longest_first(window_ids, lengths)
    if packed:
        parts = deal_evenly(lengths[order], num_slices, most=per_device_batch_size)
        return [order[part] for part in parts[process_index::num_processes]]
    slices = np.array_split(order, num_slices)
    share = []
    for at in range(0, num_slices, num_processes):
        dealt = slices[at : at + num_processes]
        rounds = _cut_ragged(np.concatenate(dealt), lengths, num_processes)
        share += [np.array_split(ids, num_processes)[process_index] for ids in rounds]
    return share


def plan_evaluation(
    lengths: np.ndarray, *, batch_size: int, equal_lengths: bool = False
) -> list[np.ndarray]:
    """Evaluation batches, longest first, the same for every number of processes.

    Args:
        lengths, equal_lengths: as in `deal_update`.
        batch_size: of the longest windows; of shorter ones as many as make no more cells
            (rows x columns), so that no batch computes more than the first.

    >>> plan_evaluation(np.array([3, 9, 4, 3, 2, 3]), batch_size=2)
    [array([1, 2]), array([0, 3, 5, 4])]
    """
    if equal_lengths:
        return _cut_by_length(np.arange(len(lengths)), lengths, batch_size)
    order = _longest_first(np.arange(len(lengths)), lengths)
    batches = []
    while len(order):
        size = batch_size * int(lengths.max()) // max(int(lengths[order[0]]), 1)
        batches.append(order[:size])
        order = order[size:]
    return batches


def deal_evenly(lengths: np.ndarray, parts: int, *, most: int | None = None) -> list[np.ndarray]:
    """Deal windows so that every part has about as many sub-tokens: LPT (Graham 1969).

    Each window, longest first, goes to the part that is shortest so far.

    Args:
        lengths: int [num_windows].
        most: windows in a part.

    Returns:
        For every part its windows, by number.

    >>> deal_evenly(np.array([3, 9, 4, 1]), 2)
    [array([1]), array([2, 0, 3])]
    """
    open_parts = [(0, part) for part in range(parts)]  # a heap
    dealt: list[list[int]] = [[] for _ in open_parts]
    sizes = lengths.tolist()
    for number in _longest_first(np.arange(len(lengths)), lengths).tolist():
        size, part = open_parts[0]
        dealt[part].append(number)
        if len(dealt[part]) == most:
            heapq.heappop(open_parts)
        else:
            heapq.heapreplace(open_parts, (size + sizes[number], part))
    return [np.array(numbers, dtype=np.int64) for numbers in dealt]


def _cut_by_length(window_ids: np.ndarray, lengths: np.ndarray, size: int) -> list[np.ndarray]:
    """Slices of at most `size` windows, each of one length, longest first."""
    order = _longest_first(window_ids, lengths)
    groups = np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1)
    return [group[at : at + size] for group in groups for at in range(0, len(group), size)]


def _cut_ragged(window_ids: np.ndarray, lengths: np.ndarray, parts: int) -> list[np.ndarray]:
    """A round, longest first, in one piece or in as many as are worth their time.

    Args:
        parts: into which every piece will be split again, one for each process.
    """
    columns = lengths[window_ids].astype(np.int64)
    behind = np.arange(len(columns) - 1, 0, -1)  # windows behind every place for a cut
    spared = behind * (columns[0] - columns[1:]) // parts
    if not len(spared) or spared.max() < WORTH_A_ROUND:
        return [window_ids]
    at = spared.argmax() + 1
    pieces = (window_ids[:at], window_ids[at:])
    return [round_ids for piece in pieces for round_ids in _cut_ragged(piece, lengths, parts)]


def _longest_first(window_ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return window_ids[np.argsort(-lengths[window_ids], kind="stable")]


def _random_order(length: int, *entropy: int) -> np.ndarray:
    """A permutation of range(length) that no numpy version changes: it sorts raw generator bits."""
    return np.argsort(np.random.PCG64(entropy).random_raw(length), kind="stable")
