"""Keeps in the model only those rows of its input embedding whose ids occur in the data.

The other rows are stored on the CPU.

    vocabulary = compact_vocabulary(model, examples.shown_ids())  # changes the model in place
    vocabulary.after_update(optimizer)                # after each update that was not skipped
    weights = vocabulary.whole(state_dict)            # the whole table in parts, for a file
    state_dict = vocabulary.compact(weights, shrink)  # the rows of this run, from a file

A row that no example contains has no gradient, so AdamW only decays it. After updates with the
learning rates lr_1 ... lr_n the row is its first value times the product of all
(1 - lr_t * weight_decay). So the row can wait outside of the model, its gradients, the optimizer
and the moments of a checkpoint. The model still gets the ids of the tokenizer. All that it derives
from these ids (RoBERTa's positions, padding, separators) is unchanged; only the lookup has fewer
rows.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tagloop.models.tensor_file import TensorInParts

ROWS = "vocabulary_rows"  # The key, in an optimizer's state, for the rows that have moments.
BLOCK = 2**13  # rows of the table that are copied at once


class CompactEmbedding(nn.Embedding):
    """An embedding that takes the ids of the whole table and holds some of its rows.

    `weight` is [num_kept, dim]; `num_embeddings` and `padding_idx` stay those of the whole table.
    A model's own embedding becomes an object of this class by an assignment to `__class__`. That
    works only for a plain nn.Embedding: a subclass would lose its own `forward`.

    Attributes:
        row_of: int32 [num_embeddings], the number of an id's row in `weight`; num_kept for an id
            without a row. This number is always beyond the end, whereas a compiler would read -1
            as the last row.
        padding_row: the row of `padding_idx`, which gets no gradient; None if the embedding has
            no `padding_idx`.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Look up the rows of ids.

        Args:
            input: int [...], ids of the whole table.

        Returns:
            [..., dim], in the dtype of `weight`.

        Raises:
            IndexError: an id has no row here. CUDA fails with an assertion instead.
        """
        try:
            # row_of[input] would read a negative id as a place from the end.
            rows = self.row_of.index_select(0, input.reshape(-1)).view(input.shape)
            return functional.embedding(rows, self.weight, self.padding_row)
        except IndexError:
            raise IndexError(
                f"an input id is not among the {len(self.weight)} of {self.num_embeddings} rows of "
                "the vocabulary that this run's data and special tokens showed"
            ) from None


class Vocabulary:
    """The rows of the input embedding that a run's model holds, and the waiting rows.

    Attributes:
        embedding: the embedding of the model; None if the model has none.
        name: the name of the table in a state dict; None if the table has to stay whole.
        why_full: the reason why the table has to stay whole; empty if it need not.
        rows: int64, ascending, the rows of the whole table that the model holds.
        absent: int64, ascending, all other rows of the whole table.
        waiting: [len(absent), dim] on the CPU, the values of the absent rows at the moment when
            `shrink` was 1. None on a process that dropped them; this process can read a file, but
            cannot write one.
        shrink: the factor by which weight decay has multiplied the absent rows since that moment,
            in double precision.
    """

    def __init__(
        self,
        embedding: nn.Embedding | None,
        name: str | None,
        rows: Tensor | None = None,
        why_full: str = "",
    ):
        self.embedding, self.name, self.why_full = embedding, name, why_full
        self.num_rows = embedding.num_embeddings if name else 0
        self.rows = torch.arange(self.num_rows) if rows is None else rows
        is_absent = torch.ones(self.num_rows, dtype=torch.bool).index_fill_(0, self.rows, False)
        self.absent = is_absent.nonzero().squeeze(1)
        self.is_compact = len(self.absent) > 0
        self.waiting, self.shrink = None, 1.0

    def __str__(self) -> str:
        """The text for the header: `17,041 of 30,522 rows`."""
        if self.is_compact:
            return f"{len(self.rows):,} of {self.num_rows:,} rows"
        return f"all rows ({self.why_full})" if self.why_full else f"all {self.num_rows:,} rows"

    @property
    def num_waiting(self) -> int:
        """The number of parameters in the waiting rows."""
        return len(self.absent) * self.embedding.embedding_dim if self.is_compact else 0

    def after_update(self, optimizer: torch.optim.Optimizer) -> None:
        """Decay the waiting rows as AdamW decayed the rows of the model.

        This comes after the optimizer's step and before the schedule's step. If no row waits, only
        the factor is updated, because a resumed run may let rows wait.
        """
        if self.name is None or not self.embedding.weight.requires_grad:
            return
        groups, weight = optimizer.param_groups, self.embedding.weight
        group = next(group for group in groups if any(p is weight for p in group["params"]))
        self.shrink *= 1.0 - float(group["lr"]) * group["weight_decay"]

    def whole(
        self, weights: dict[str, Tensor | TensorInParts], shrink: float | None = None
    ) -> dict[str, Tensor | TensorInParts]:
        """Put the whole table into a state dict of the model, in parts that a file is written of.

        Args:
            weights: the state dict. Its table must not change until the parts have been made.
            shrink: the factor of the waiting rows in these weights; None: the present one.

        Returns:
            A state dict with a new table, [num_rows, dim] on the CPU, and the other tensors as
            they are.
        """
        if not self.is_compact:
            return weights
        assert self.name in weights, "the table has another name here"
        assert self.waiting is not None, "this process dropped the waiting rows"
        kept, waiting = weights[self.name], self.waiting
        factor = self.shrink if shrink is None else shrink

        def parts() -> Iterator[Tensor]:
            rows = (kept.whole() if isinstance(kept, TensorInParts) else kept).detach().cpu()
            for start, stop in _blocks(self.num_rows):
                block = rows.new_empty(stop - start, rows.shape[1])
                here = _between(self.rows, start, stop)
                block[self.rows[here] - start] = rows[here]
                here = _between(self.absent, start, stop)
                block[self.absent[here] - start] = waiting[here] * factor
                yield block

        shape = (self.num_rows, kept.shape[1])
        return weights | {self.name: TensorInParts(shape, kept.dtype, parts)}

    def find_non_finite(self) -> str | None:
        """The name of the table if a waiting row is not finite; else None."""
        if self.waiting is None:
            return None
        blocks = (self.waiting[start:stop] for start, stop in _blocks(len(self.waiting)))
        return None if all(bool(torch.isfinite(block).all()) for block in blocks) else self.name

    def compact(self, weights: dict[str, Tensor], shrink: float = 1.0) -> dict[str, Tensor]:
        """Keep only the rows of this run in a state dict with the whole table.

        The other rows of the table become the waiting rows. If they are equal to the present
        waiting rows times `shrink`, the present rows stay and this factor is kept beside them. So
        a resumed run ends with the same bits as an uninterrupted run.

        Args:
            weights: the state dict, as `whole` returned it.
            shrink: the factor of the run that wrote the weights.

        Raises:
            ValueError: the table has another number of rows.
        """
        if self.waiting is None:
            self.shrink = shrink
        if not self.is_compact or self.name not in weights:
            return weights
        table = weights[self.name]
        if len(table) != self.num_rows:
            raise ValueError(f"{self.name} has {len(table)} rows instead of {self.num_rows}")
        if self.waiting is not None:
            self.shrink = shrink
            same = all(
                torch.equal(self.waiting[start:stop] * shrink, table[self.absent[start:stop]].cpu())
                for start, stop in _blocks(len(self.absent))
            )
            if not same:
                self.waiting, self.shrink = table[self.absent].cpu(), 1.0
        return weights | {self.name: table[self.rows]}

    def pack_moments(self, optimizer_state: dict) -> dict:
        """Add the rows that have moments to an optimizer's state.

        Args:
            optimizer_state: the result of torch's `get_optimizer_state_dict`.
        """
        return optimizer_state | ({ROWS: self.rows} if self.is_compact else {})

    def unpack_moments(self, saved: dict) -> dict:
        """Fit a packed state of an optimizer to the rows of this run.

        A row that the packed state does not have gets moments of zero.

        Args:
            saved: the state, as `pack_moments` returned it, maybe in a run with other rows.

        Raises:
            ValueError: a row has moments that are not zero, but this run does not hold the row.
        """
        state = {key: value for key, value in saved.items() if key != ROWS}
        saved_rows = saved.get(ROWS, torch.arange(self.num_rows))
        if self.name not in state["state"] or torch.equal(saved_rows, self.rows):
            return state

        def fit(moments: Tensor) -> Tensor:
            if moments.ndim == 0:  # This scalar counts the steps.
                return moments
            whole = moments.new_zeros(self.num_rows, *moments.shape[1:])
            whole[saved_rows] = moments
            if whole[self.absent].any():
                raise ValueError(f"{self.name}: rows were trained that this run's data lacks")
            return whole[self.rows]

        fitted = {key: fit(value) for key, value in state["state"][self.name].items()}
        return state | {"state": state["state"] | {self.name: fitted}}


def compact_vocabulary(
    model: nn.Module,
    shown_ids: Iterable[np.ndarray] | None,
    *,
    keep_waiting: bool = True,
) -> Vocabulary:
    """Keep in the model's input embedding only the rows that a run can need; changes the model.

    Every process must call this with the same ids, before the optimizer is built. The table stays
    whole if it is tied to another weight, or if it is no plain `nn.Embedding`; `why_full` of the
    result then gives the reason.

    Args:
        shown_ids: integer arrays of any shape with all ids that the model may get; None keeps
            every row. The function adds the ids in the model's configuration, because some models
            add padding themselves.
        keep_waiting: False drops the waiting rows, which saves memory on a process that never
            writes a model.

    Raises:
        ValueError: an id is beyond the end of the table.
    """
    name, embedding, why_full = _find_table(model)
    if why_full or shown_ids is None:
        return Vocabulary(embedding, name, why_full=why_full)
    padding, num_rows = embedding.padding_idx, embedding.num_embeddings
    special = [*_configured_ids(model), *([] if padding is None else [padding])]
    special = np.array([row for row in special if 0 <= row < num_rows], np.int64)
    rows = torch.from_numpy(used_rows([special, *shown_ids], num_rows))
    vocabulary = Vocabulary(embedding, name, rows)
    if not vocabulary.is_compact:
        return vocabulary
    weight, trained = embedding.weight.detach(), embedding.weight.requires_grad
    if keep_waiting:
        vocabulary.waiting = weight.cpu()[vocabulary.absent]
    row_of = torch.full((num_rows,), len(rows), dtype=torch.int32)
    row_of[rows] = torch.arange(len(rows), dtype=torch.int32)
    # The module must stay the same object, because hooks and other modules refer to it.
    embedding.__class__ = CompactEmbedding
    embedding.weight = nn.Parameter(weight[rows.to(weight.device)], requires_grad=trained)
    embedding.register_buffer("row_of", row_of.to(weight.device), persistent=False)
    embedding.padding_row = None if padding is None else int(row_of[padding])
    _leave_file(model)
    return vocabulary


def _leave_file(model: nn.Module) -> None:
    """Copy weights that lie in a mapped file, so that the file need not stay in memory.

    On a CPU, transformers loads weights without a copy. As long as one of them lies in the file,
    the whole file is memory of the process, with the table that is no longer needed.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        if not tensor.untyped_storage().resizable():  # The memory is not torch's own.
            tensor.data = tensor.data.clone()


def used_rows(arrays: Iterable[np.ndarray], num_rows: int, *, at_once: int = 2**22) -> np.ndarray:
    """The distinct ids in some arrays, int64, ascending: [7, 2, 7] -> [2, 7].

    Args:
        arrays: integers of any shape.
        num_rows: ids are below this number.
        at_once: how many ids of a memory-mapped array are read into memory at once.

    Raises:
        ValueError: an id is negative, or not below num_rows.
    """
    seen = np.zeros(num_rows, dtype=bool)
    for array in arrays:
        for start in range(0, array.size, at_once):
            ids = array.reshape(-1)[start : start + at_once]
            if ids.min() < 0 or ids.max() >= num_rows:
                raise ValueError(f"ids from {ids.min()} to {ids.max()}: the table has {num_rows}")
            seen[ids] = True
    return np.flatnonzero(seen)


def _blocks(num_rows: int) -> Iterator[tuple[int, int]]:
    """Ranges (start, stop) that together are all rows, so that no copy of all rows is made."""
    for start in range(0, num_rows, BLOCK):
        yield start, min(start + BLOCK, num_rows)


def _between(rows: Tensor, start: int, stop: int) -> slice:
    """Where the numbers from start to stop - 1 lie in ascending numbers."""
    begin, end = torch.searchsorted(rows, torch.tensor([start, stop])).tolist()
    return slice(begin, end)


def _find_table(model: nn.Module) -> tuple[str | None, nn.Embedding | None, str]:
    """The name of the input embedding's weight, its module, and why the table must stay whole.

    The reason is empty if the table need not stay whole.
    """
    try:
        table = model.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        return None, None, "the model has no input embedding"
    if type(table) is not nn.Embedding:  # A subclass may scale or quantise its rows.
        return None, None, f"the input embedding is a {type(table).__name__}"
    if table.max_norm is not None or table.scale_grad_by_freq or table.sparse:
        return None, None, "the embedding renormalises rows, or its gradients"
    names = [n for n, p in model.named_parameters(remove_duplicate=False) if p is table.weight]
    tied = getattr(model, "all_tied_weights_keys", {})
    if len(names) != 1 or names[0] in {*tied.keys(), *tied.values()}:
        return None, None, "the table is tied to another weight"
    return names[0], table, ""


def _configured_ids(model: nn.Module) -> list[int]:
    """All ids in a model's configuration under a name that ends in `_token_id`."""
    config = model.config.to_dict() if hasattr(model, "config") else {}
    values = [value for key, value in config.items() if key.endswith("_token_id")]
    return [x for value in values for x in np.ravel(value).tolist() if isinstance(x, int)]
