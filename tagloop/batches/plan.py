"""The batch plan: which examples every update learns from. This file needs only numpy.

A position in training is a pair of integers: the epoch, and the update in the epoch. The examples
of an update depend only on this position, the seed, the lengths of all examples and the global
batch size. The numbers of processes and of micro-batches decide only which process computes which
of these examples.
"""

import heapq

import numpy as np

# A chunk of this many global batches is sorted by length. On CoNLL-2003, 4% of the cells are then
# padding.
CHUNK_UPDATES = 50
# A round becomes two only if each process then computes at least this many padding cells less.
WORTH_A_ROUND = 256


def plan_epoch(
    lengths: np.ndarray, *, seed: int, epoch: int, global_batch_size: int, group_by_length: bool
) -> list[np.ndarray]:
    """Cut one epoch into global batches.

    The examples are shuffled and cut into global batches. With group_by_length the shuffled
    examples are cut into large chunks, and each chunk is sorted by length before it is cut into
    global batches. Then the full batches are shuffled. A batch that is not full comes last.

    Args:
        lengths: int [num_examples], sub-tokens of every example.
        seed, epoch: the same seed and epoch always give the same plan.
        global_batch_size: examples of one update, over all processes and micro-batches.
        group_by_length: True puts examples of similar length into one batch.

    Returns:
        For every update the ids of its examples, int64; each example is in exactly one update.

    >>> plan_epoch(np.array([3, 9, 4, 8, 5]), seed=0, epoch=0, global_batch_size=2,
    ...            group_by_length=True)
    [array([4, 2]), array([1, 3]), array([0])]
    """
    order = _random_order(len(lengths), seed, epoch, 0)
    if group_by_length:
        chunk_size = CHUNK_UPDATES * global_batch_size
        chunks = [order[at : at + chunk_size] for at in range(0, len(order), chunk_size)]
        order = np.concatenate([longest_first(chunk, lengths) for chunk in chunks])
    batches = [order[at : at + global_batch_size] for at in range(0, len(order), global_batch_size)]
    num_full = len(order) // global_batch_size
    shuffled = [batches[index] for index in _random_order(num_full, seed, epoch, 1)]
    return shuffled + batches[num_full:]


def deal_update(
    example_ids: np.ndarray,
    lengths: np.ndarray,
    *,
    num_processes: int,
    process_index: int,
    per_device_batch_size: int,
    equal_lengths: bool = False,
    packed: bool = False,
) -> list[np.ndarray]:
    """The micro-batches of one process for one global batch.

    The examples are sorted by length and cut into `num_processes x num_micro_batches` slices, so
    that all processes pad to similar lengths in a round. The sizes of the slices differ by at most
    one; if the batch has fewer examples than slices, some slices are empty. If the lengths in one
    round differ much, it becomes two rounds. This is allowed because an update does not depend on
    the cut.

    Args:
        example_ids: int64 [examples of the update], the global batch.
        lengths: int [num_examples], the columns that every example of the split needs.
        per_device_batch_size: examples in a micro-batch, at most.
        equal_lengths: True if a micro-batch may hold only examples of one length, for a model
            whose outputs depend on padding.
        packed: True if rows are packed, so that lengths need not be similar. All micro-batches
            then have about the same number of sub-tokens.

    Returns:
        For every micro-batch the ids of its examples, int64. Every process gets the same number of
        micro-batches.

    >>> deal_update(np.array([4, 1, 3]), np.array([0, 5, 0, 9, 7]), num_processes=2,
    ...             process_index=0, per_device_batch_size=1)
    [array([3]), array([1])]
    """
    if equal_lengths:
        slices = _cut_by_length(example_ids, lengths, per_device_batch_size)
        slices += [example_ids[:0]] * (-len(slices) % num_processes)
        return slices[process_index::num_processes]
    num_slices = -(-len(example_ids) // (num_processes * per_device_batch_size)) * num_processes
    order = longest_first(example_ids, lengths)
    if packed:
        parts = deal_evenly(lengths[order], num_slices, per_device_batch_size)
        return [order[part] for part in parts[process_index::num_processes]]
    slices = np.array_split(order, num_slices)
    share = []
    for at in range(0, num_slices, num_processes):
        round_slices = slices[at : at + num_processes]
        rounds = _cut_ragged(np.concatenate(round_slices), lengths, num_processes)
        share += [np.array_split(ids, num_processes)[process_index] for ids in rounds]
    return share


def plan_evaluation(
    lengths: np.ndarray, *, batch_size: int, equal_lengths: bool = False
) -> list[np.ndarray]:
    """Cut a split into evaluation batches, in the same way for every number of processes.

    Args:
        lengths: int [num_examples], the columns that every example of the split needs.
        batch_size: the number of examples in the first batch, which holds the longest examples.
            Batches of shorter examples hold more, but never have more cells than the first batch.
        equal_lengths: True if a batch may hold only examples of one length.

    Returns:
        For every batch the ids of its examples, int64; the longest examples come first.

    >>> plan_evaluation(np.array([3, 9, 4, 3, 2, 3]), batch_size=2)
    [array([1, 2]), array([0, 3, 5, 4])]
    """
    if equal_lengths:
        return _cut_by_length(np.arange(len(lengths)), lengths, batch_size)
    order = longest_first(np.arange(len(lengths)), lengths)
    batches = []
    while len(order):
        size = batch_size * int(lengths.max()) // max(int(lengths[order[0]]), 1)
        batches.append(order[:size])
        order = order[size:]
    return batches


def deal_evenly(lengths: np.ndarray, parts: int, most: int) -> list[np.ndarray]:
    """Deal examples into parts with about equal numbers of sub-tokens: LPT (Graham 1969).

    The longest example comes first. Each example goes to the part that has the fewest sub-tokens
    so far and is not full.

    Args:
        lengths: int [num_examples], sub-tokens of every example, in descending order.
        parts: how many parts to make.
        most: examples in a part, at most.

    Returns:
        For every part the numbers of its examples, int64.

    >>> deal_evenly(np.array([9, 4, 3, 1, 1, 1]), parts=2, most=4)
    [array([0, 5]), array([1, 2, 3, 4])]
    """
    open_parts = [(0, part) for part in range(parts)]  # a heap of (sub-tokens so far, part)
    members: list[list[int]] = [[] for _ in open_parts]
    for example, length in enumerate(lengths.tolist()):
        size, part = open_parts[0]
        members[part].append(example)
        if len(members[part]) == most:
            heapq.heappop(open_parts)
        else:
            heapq.heapreplace(open_parts, (size + length, part))
    return [np.array(numbers, dtype=np.int64) for numbers in members]


def _cut_by_length(example_ids: np.ndarray, lengths: np.ndarray, size: int) -> list[np.ndarray]:
    """Cut examples into slices of at most `size`, each of one length; the longest come first."""
    order = longest_first(example_ids, lengths)
    groups = np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1)
    return [group[at : at + size] for group in groups for at in range(0, len(group), size)]


def _cut_ragged(example_ids: np.ndarray, lengths: np.ndarray, parts: int) -> list[np.ndarray]:
    """Cut the examples of a round, sorted from long to short, into one round or several.

    A cut is made only if it saves at least WORTH_A_ROUND padding cells for each process.

    Args:
        parts: the number of processes, among which the examples of each round are divided.
    """
    columns = lengths[example_ids].astype(np.int64)
    num_behind = np.arange(len(columns) - 1, 0, -1)  # examples behind each possible cut
    spared = num_behind * (columns[0] - columns[1:]) // parts
    if not len(spared) or spared.max() < WORTH_A_ROUND:
        return [example_ids]
    at = spared.argmax() + 1
    pieces = (example_ids[:at], example_ids[at:])
    return [round_ids for piece in pieces for round_ids in _cut_ragged(piece, lengths, parts)]


def longest_first(example_ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Sort examples by length, the longest first; examples of one length keep their order.

    Args:
        example_ids: int64 [examples].
        lengths: int [num_examples], the length of every example of the split.
    """
    return example_ids[np.argsort(-lengths[example_ids], kind="stable")]


def _random_order(length: int, *entropy: int) -> np.ndarray:
    """A permutation of range(length) that is the same with every numpy version.

    The permutation sorts the raw bits of a generator, because numpy may change its shuffling.
    """
    return np.argsort(np.random.PCG64(entropy).random_raw(length), kind="stable")
