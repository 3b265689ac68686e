"""Keeps in the model only those rows of its input embedding whose ids occur in the data.

The other rows are stored on the CPU.

    vocabulary = compact_vocabulary(model, examples.shown_ids())  # in place
    vocabulary.after_update(optimizer)                # after each update that was not skipped
    weights = vocabulary.whole(state_dict)            # what is written: always the whole table
    state_dict = vocabulary.compact(weights, shrink)  # what is read

A row that no training example contains has no gradient: AdamW only decays it, so after updates with
the rates lr_1 ... lr_n it is what it was, times the product of (1 - lr_t * weight_decay). It need
not be in the model, its gradients, the optimizer or the checkpoints' moments. The model still sees
the tokenizer's ids, so what it reads from them (RoBERTa's positions, padding, separators) is as it
was; only the lookup knows of fewer rows.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

ROWS = "vocabulary_rows"  # beside the optimizer's state: the rows that its moments are of


class CompactEmbedding(nn.Embedding):
    """An embedding that takes the ids of the whole table and holds some of its rows.

    `weight` is [num_kept, dim]; `num_embeddings` and `padding_idx` stay those of the whole table.

    Attributes:
        row_of: int32 [num_embeddings], where an id's row is in `weight`; num_kept for one that is
            not there, which is beyond the end everywhere (a compiler reads -1 as the last row).
        padding_row: the row of `padding_idx`, which gets no gradient; None if there is none.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Rows of ids, int [...] -> [..., dim]. IndexError: no such row (CUDA: its assertion)."""
        try:
            # Not row_of[input], which would take a negative id for one from the end.
            rows = self.row_of.index_select(0, input.reshape(-1)).view(input.shape)
            return functional.embedding(rows, self.weight, self.padding_row)
        except IndexError:
            raise IndexError(
                f"an input id is not among the {len(self.weight)} of {self.num_embeddings} rows of "
                "the vocabulary that this run's data and special tokens showed"
            ) from None


class Vocabulary:
    """Which rows of the input embedding a run holds, and the others, waiting.

    Attributes:
        name: the table's name in a state dict; None where the table has to stay whole.
        rows, absent: int64, ascending: the rows that the model holds, and the others.
        waiting: [len(absent), dim] on the CPU, the others as they were when `shrink` was 1; None on
            a process that dropped them, which can load but not write.
        shrink: what weight decay has made of them since, a factor in double precision.
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
        """For the header: `17,041 of 30,522 rows`."""
        if self.is_compact:
            return f"{len(self.rows):,} of {self.num_rows:,} rows"
        return f"all rows ({self.why_full})" if self.why_full else f"all {self.num_rows:,} rows"

    @property
    def num_waiting(self) -> int:
        """Parameters in the rows that wait."""
        return len(self.absent) * self.embedding.embedding_dim if self.is_compact else 0

    def after_update(self, optimizer: torch.optim.Optimizer) -> None:
        """Decay the waiting rows as AdamW did the others: after a step, before the schedule's."""
        if not self.is_compact or not self.embedding.weight.requires_grad:
            return
        groups, weight = optimizer.param_groups, self.embedding.weight
        group = next(group for group in groups if any(p is weight for p in group["params"]))
        self.shrink *= 1.0 - float(group["lr"]) * group["weight_decay"]

    def whole(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The model's own state dict, but for a new and whole table on the CPU, [num_rows, dim]."""
        if not self.is_compact or not weights:  # FSDP gives only one process any
            return weights
        assert self.name in weights, "the table has another name here"
        assert self.waiting is not None, "this process dropped the waiting rows"
        kept = weights[self.name].detach().cpu()
        table = kept.new_empty(self.num_rows, kept.shape[1])
        table[self.rows] = kept
        table[self.absent] = self.waiting * self.shrink
        return weights | {self.name: table}

    def find_non_finite(self) -> str | None:
        """The table's name, if a row that waits outside of the model is not finite; else None."""
        if self.waiting is None or bool(torch.isfinite(self.waiting).all()):
            return None
        return self.name

    def compact(self, weights: dict[str, Tensor], shrink: float = 1.0) -> dict[str, Tensor]:
        """The model's own state dict, from one with the whole table, whose other rows now wait.

        Args:
            shrink: that of the run that wrote the weights. Where its waiting rows are ours times
                that factor, ours go on from where they began, so a run that was interrupted ends
                with the bits of one that was not.
        """
        if not self.is_compact or self.name not in weights:
            return weights
        table = weights[self.name]
        if len(table) != self.num_rows:
            raise ValueError(f"{self.name} has {len(table)} rows instead of {self.num_rows}")
        if self.waiting is not None:
            read, self.shrink = table[self.absent].cpu(), shrink
            if not torch.equal(self.waiting * shrink, read):
                self.waiting, self.shrink = read, 1.0
        return weights | {self.name: table[self.rows]}

    def pack_moments(self, optimizer_state: dict) -> dict:
        """torch's `get_optimizer_state_dict`, with the rows that its moments are of added."""
        return optimizer_state | ({ROWS: self.rows} if self.is_compact else {})

    def unpack_moments(self, saved: dict) -> dict:
        """A packed state for the rows of this run, whatever its rows are; new ones have zeros.

        Raises:
            ValueError: moments of a row that is not here, which would have gone on moving.
        """
        state = {key: value for key, value in saved.items() if key != ROWS}
        saved_rows = saved.get(ROWS, torch.arange(self.num_rows))
        if self.name not in state["state"] or torch.equal(saved_rows, self.rows):
            return state

        def fit(moments: Tensor) -> Tensor:
            if moments.ndim == 0:  # the count of steps
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
    """Leave in the model's input embedding, in place, only the rows that a run can need.

    Every process must call this with the same ids, before the optimizer is built. A table that is
    tied to another weight, or no plain `nn.Embedding`, stays whole and `why_full` says why.

    Args:
        shown_ids: integers of any shape, all that the model may be shown; None: keep every row.
            The ids that the model's configuration names are added: some models pad by themselves.
        keep_waiting: False saves memory on a process that never writes a model.
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
    # The module stays the same object, with its hooks and whoever else refers to it.
    embedding.__class__ = CompactEmbedding
    embedding.weight = nn.Parameter(weight[rows.to(weight.device)], requires_grad=trained)
    embedding.register_buffer("row_of", row_of.to(weight.device), persistent=False)
    embedding.padding_row = None if padding is None else int(row_of[padding])
    return vocabulary


def used_rows(arrays: Iterable[np.ndarray], num_rows: int, *, at_once: int = 2**22) -> np.ndarray:
    """Which of `num_rows` ids occur, int64: [7, 2, 7] -> [2, 7]. ValueError: an id is no row."""
    seen = np.zeros(num_rows, dtype=bool)
    for array in arrays:
        for start in range(0, array.size, at_once):  # memory-mapped: in pieces
            ids = array.reshape(-1)[start : start + at_once]
            if ids.min() < 0 or ids.max() >= num_rows:
                raise ValueError(f"ids from {ids.min()} to {ids.max()}: the table has {num_rows}")
            seen[ids] = True
    return np.flatnonzero(seen)


def _find_table(model: nn.Module) -> tuple[str | None, nn.Embedding | None, str]:
    """Name of the input embedding's weight, its module, and why it has to stay whole, if so."""
    try:
        table = model.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        return None, None, "the model has no input embedding"
    if type(table) is not nn.Embedding:  # it may scale or quantise
        return None, None, f"the input embedding is a {type(table).__name__}"
    if table.max_norm is not None or table.scale_grad_by_freq or table.sparse:
        return None, None, "the embedding renormalises rows, or its gradients"
    names = [n for n, p in model.named_parameters(remove_duplicate=False) if p is table.weight]
    tied = getattr(model, "all_tied_weights_keys", {})
    if len(names) != 1 or names[0] in {*tied.keys(), *tied.values()}:
        return None, None, "the table is tied to another weight"
    return names[0], table, ""


def _configured_ids(model: nn.Module) -> list[int]:
    """Every `..._token_id` of a model's configuration; one may be a list or None."""
    config = model.config.to_dict() if hasattr(model, "config") else {}
    values = [value for key, value in config.items() if key.endswith("_token_id")]
    return [x for value in values for x in np.ravel(value).tolist() if isinstance(x, int)]
