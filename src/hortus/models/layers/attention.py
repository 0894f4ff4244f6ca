"""Causal attention with ALiBi through fused kernels, without a (B·heads, T, T) bias.

Paths: on the CPU `alibi_attention` in fp32 and fp64, the flash kernel otherwise; FlexAttention on the GPU.

ALiBi (Press et al. 2022) adds slope × key position to every score; the published form uses the key's
position rather than minus the distance, which differs by a constant a row and so not at all after softmax.
That makes the whole bias, key padding included, a tensor of shape (B or 1, heads, 1, S): it is built once a
forward pass, shared by all layers, and broadcast over the queries by the kernel, which applies the causal
order itself. Packed documents are attended one by one, which costs less than any mask; positions need not
restart, for within a document they are shifted by a constant.

Legend: B batch, T queries, S keys (past and current), n heads, d head width.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from hortus.errors import ConfigError, DataError
from hortus.models.layers.alibi import alibi_attention, alibi_slopes

__all__ = [
    "AttentionPlan",
    "KeyValueStore",
    "Tree",
    "attend",
    "attend_fused",
    "plan_attention",
    "plan_trees",
    "share_of_heads",
    "tree_parts",
]


_SHORTEST = 64  # tokens from which alibi_attention beats the flash kernel


Tree: TypeAlias = "Sequence[int | Tree]"


class KeyValueStore(Protocol):
    """What decoding keeps between calls; `hortus.models.layers.cache` holds the real ones."""

    @property
    def length(self) -> int:
        """Number of positions held before the current call."""

    def update(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Append (B, n, T, d) keys and values of a layer; return those of all positions so far."""


@dataclass(frozen=True)
class AttentionPlan:
    """How every layer of one forward pass attends.

    `bias` is (B or 1, n, 1 or T, S); `causal` says whether the kernel has to hide later keys; `slopes` are
    given where nothing but order, ALiBi and documents matters; `lengths` are the lengths of packed documents
    over the flattened (B·T) tokens, `masks` those of their branches; `flexible` runs FlexAttention.
    """

    bias: Tensor
    causal: bool
    slopes: tuple[float, ...] | None = None
    lengths: tuple[int, ...] | None = None
    flexible: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None
    masks: tuple[Tensor | None, ...] = ()


def plan_attention(
    num_heads: int,
    batch: int,
    length: int,
    *,
    past: int = 0,
    attention_mask: Tensor | None = None,
    segment_ids: Tensor | None = None,
    slopes: tuple[float, ...] | None = None,
    device: torch.device,
    dtype: torch.dtype,
) -> AttentionPlan:
    """Build the bias and the order that all layers share.

    Args:
        slopes: of ALiBi, one for each of the `num_heads`; None for those of that many heads. A process that
            holds some of a network's heads gives theirs.
        past: number of positions in the cache, S = past + length.
        attention_mask: (B, S), nonzero where a key may be seen; positions count its ones.
        segment_ids: (B, T), equal for neighbouring tokens of one packed document.
        dtype: dtype of the weights; the bias is fp32 (fp64 for fp64 weights) whatever the activations are.

    Raises:
        DataError: a mask of another shape, or segments together with a cache.
    """
    total = past + length
    if attention_mask is not None and tuple(attention_mask.shape) != (batch, total):
        raise DataError(
            f"attention_mask has shape {tuple(attention_mask.shape)}",
            allowed=f"({batch}, {total}): one entry for every cached and current token",
            do="extend the mask by the new tokens",
        )
    if segment_ids is not None and (past or tuple(segment_ids.shape) != (batch, length)):
        raise DataError(
            f"segment_ids of shape {tuple(segment_ids.shape)} with {past} cached positions",
            allowed=f"({batch}, {length}) and no cache",
            do="decode packed documents one by one",
        )
    kind = torch.float64 if dtype == torch.float64 else torch.float32
    slopes = alibi_slopes(num_heads) if slopes is None else slopes
    steep = torch.tensor(slopes, device=device, dtype=kind).view(1, -1, 1, 1)
    bias = steep * _key_positions(total, attention_mask, device).to(kind)[:, None, None, :]
    if attention_mask is not None:
        # A finite minimum, not -inf: a row whose keys are all hidden stays finite.
        bias = bias.masked_fill(attention_mask[:, None, None, :] == 0, torch.finfo(kind).min)
    if device.type == "cuda" and length > 1 and not past:
        flexible = _flexible(steep.flatten(), attention_mask, segment_ids, length)
        return AttentionPlan(bias, True, flexible=flexible)
    if length == 1:
        return AttentionPlan(bias, False)
    if past or (segment_ids is not None and attention_mask is not None):
        hidden = _hidden_pairs(past, length, segment_ids, device)
        return AttentionPlan(bias.masked_fill(hidden, torch.finfo(kind).min), False)
    lengths = None if segment_ids is None else _run_lengths(segment_ids)
    return AttentionPlan(bias, True, None if attention_mask is not None else slopes, lengths)


def plan_trees(
    num_heads: int,
    trees: Sequence[Tree],
    length: int,
    *,
    slopes: tuple[float, ...] | None = None,
    device: torch.device,
    dtype: torch.dtype,
) -> AttentionPlan:
    """A plan for one row of packed trees: stems, each followed by branches that continue it one by one.

    A branch sees its stem and itself, at positions that go on from the stem's: what follows a text in several
    ways is computed as if each way stood alone, and the text once. A branch may be a tree again.

    Args:
        trees: the length of each stem, then those of its branches, or trees: (60, 3, (8, 2, 1)).
        length: tokens of the row.
        slopes: as in `plan_attention`.

    Raises:
        DataError: the trees have another number of tokens.
    """
    lengths = tuple(map(_size, trees))
    if sum(lengths) != length:
        raise DataError(f"trees of {sum(lengths)} tokens", allowed=f"{length}, the row's")
    slopes = alibi_slopes(num_heads) if slopes is None else slopes
    steep = torch.tensor(slopes, device=device, dtype=dtype).view(1, -1, 1, 1)
    kind = torch.float64 if dtype == torch.float64 else torch.float32
    bias = steep.to(kind) * torch.arange(max(lengths), device=device)
    masks = tuple(_branch_mask(steep, tree) if len(tree) > 1 else None for tree in trees)
    plain = all(mask is None for mask in masks)
    return AttentionPlan(bias, True, slopes if plain else None, lengths, masks=masks)


def tree_parts(
    tree: Tree, parent: int = -1, start: int = 0, number: int = 0
) -> Iterator[tuple[int, int, int]]:
    """A tree's parts in order: their lengths, numbers of the parts they continue, first tokens' positions.

    >>> list(tree_parts((60, 3, (8, 2, 1))))
    [(60, -1, 0), (3, 0, 60), (8, 0, 60), (2, 2, 68), (1, 2, 68)]
    """
    stem, *branches = tree
    assert isinstance(stem, int)
    yield stem, parent, start
    following = number + 1
    for branch in branches:
        for part in tree_parts(
            (branch,) if isinstance(branch, int) else branch, number, start + stem, following
        ):
            yield part
            following += 1


def _size(tree: Tree) -> int:
    return sum(part if isinstance(part, int) else _size(part) for part in tree)


def _branch_mask(slopes: Tensor, tree: Tree) -> Tensor:
    """(1, n, tokens of all branches, tokens of the tree): ALiBi where a branch's token may look."""
    lengths, parents, starts = zip(*tree_parts(tree), strict=True)
    before = torch.zeros(len(lengths), len(lengths), dtype=torch.bool)
    for number, parent in enumerate(parents[1:], start=1):
        before[number] = before[parent]
        before[number, parent] = True
    before, sizes = before.to(slopes.device), torch.tensor(lengths, device=slopes.device)
    part = torch.arange(len(lengths), device=slopes.device).repeat_interleave(sizes)  # 0 is the stem
    places = torch.arange(part.numel(), device=slopes.device)
    positions = places + (torch.tensor(starts, device=slopes.device) - sizes.cumsum(0) + sizes)[part]
    branches = part[int(lengths[0]) :]
    own = (part == branches[:, None]) & (places <= places[int(lengths[0]) :, None])
    hidden = ~(own | before[branches][:, part])
    return (slopes * positions).masked_fill(hidden, torch.finfo(slopes.dtype).min)


def share_of_heads(num_heads: int, parts: int) -> int:
    """Heads of each of so many processes that divide a network's heads among them.

    Raises:
        ConfigError: they do not divide.
    """
    if num_heads % parts:
        raise ConfigError(
            f"tensor_parallel={parts} does not divide {num_heads} attention heads",
            allowed=", ".join(str(n) for n in range(1, num_heads + 1) if num_heads % n == 0),
        )
    return num_heads // parts


def _key_positions(total: int, attention_mask: Tensor | None, device: torch.device) -> Tensor:
    """(B or 1, S): 0, 1, 2, … over the visible keys, 0 at hidden ones."""
    if attention_mask is None:
        return torch.arange(total, device=device)[None]
    visible = (attention_mask != 0).long()
    return (visible.cumsum(-1) - 1) * visible


def _hidden_pairs(past: int, length: int, segment_ids: Tensor | None, device: torch.device) -> Tensor:
    """(B or 1, 1, T, S) true where a query may not see a key: later ones and those of another document."""
    queries = torch.arange(past, past + length, device=device)[:, None]
    hidden = (torch.arange(past + length, device=device)[None] > queries)[None]
    if segment_ids is not None:
        hidden = hidden | (segment_ids[:, :, None] != segment_ids[:, None, :])
    return hidden[:, None]


def _run_lengths(segment_ids: Tensor) -> tuple[int, ...]:
    """Lengths of runs of equal ids, row by row, over the flattened (B·T) tokens."""
    starts = torch.ones_like(segment_ids, dtype=torch.bool)
    starts[:, 1:] = segment_ids[:, 1:] != segment_ids[:, :-1]
    first = starts.flatten().nonzero().flatten()
    ends = torch.cat([first[1:], first.new_tensor([segment_ids.numel()])])
    return tuple((ends - first).tolist())


def attend_fused(fused: Tensor, plan: AttentionPlan, dropout: float = 0.0) -> Tensor:
    """Attention of a fused projection, as `attend`.

    Args:
        fused: (B, T, n, 3, d).
        dropout: probability of dropping an attention weight (already 0 outside training).

    Returns:
        (B, T, n, d).
    """
    worth = plan.lengths is not None or fused.size(1) >= _SHORTEST
    exact = fused.dtype in (torch.float32, torch.float64) and fused.device.type == "cpu"
    if plan.slopes is not None and worth and exact and not dropout and not torch.compiler.is_compiling():
        return alibi_attention(fused, plan.slopes, plan.lengths)
    # unbind rather than three selections: its backward pass is one stack, not three zero-filled sums.
    query, key, value = (x.transpose(1, 2) for x in fused.unbind(3))
    return attend(query, key, value, plan, dropout)


def attend(query: Tensor, key: Tensor, value: Tensor, plan: AttentionPlan, dropout: float = 0.0) -> Tensor:
    """softmax(q·kᵀ/√d + bias)·v with fp32 softmax.

    Args:
        query: (B, n, T, d). key, value: (B, n, S, d).
        dropout: probability of dropping an attention weight (already 0 outside training).

    Returns:
        (B, T, n, d).
    """
    if dropout or torch.compiler.is_exporting():
        return _attend_written_out(query, key, value, plan, dropout)
    if plan.flexible is not None:
        return plan.flexible(query, key, value).transpose(1, 2)
    if plan.lengths is not None:
        return _attend_by_document(query, key, value, plan)
    return _fused(query, key, value, plan.bias, plan.causal).transpose(1, 2)


def _fused(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, causal: bool) -> Tensor:
    """(B, n, T, d) by the CPU's flash kernel, which takes a broadcast bias and the causal order together.

    The public function refuses that pair, so there the order is written into the mask.
    """
    if query.device.type == "cpu" and bias.size(2) == 1:
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, causal, attn_mask=bias
        )[0]
    return F.scaled_dot_product_attention(query, key, value, attn_mask=_full_mask(bias, causal, query))


def _full_mask(bias: Tensor, causal: bool, query: Tensor) -> Tensor:
    """(B or 1, n, T, S) in the query's dtype; the minimum is that dtype's, for fp32's would round to -inf."""
    if causal:
        later = _hidden_pairs(0, query.size(2), None, query.device)
        bias = bias.masked_fill(later, torch.finfo(bias.dtype).min)
    return bias.clamp_min(torch.finfo(query.dtype).min).to(query.dtype)


def _attend_by_document(query: Tensor, key: Tensor, value: Tensor, plan: AttentionPlan) -> Tensor:
    """Attention of packed rows, one call a document: (B, n, T, d) -> (B, T, n, d)."""
    batch, _, length, _ = query.shape
    assert plan.lengths is not None
    lengths = list(plan.lengths)
    pieces = zip(*(x.transpose(1, 2).flatten(0, 1).split(lengths) for x in (query, key, value)), strict=True)
    outputs = []
    masks = plan.masks or (None,) * len(lengths)
    for piece, mask in zip(pieces, masks, strict=True):
        query, key, value = (x.transpose(0, 1)[None] for x in piece)  # (1, n, t, d)
        stem = query.size(2) - (0 if mask is None else mask.size(2))
        q, k, v = (x[:, :, :stem] for x in (query, key, value))
        outputs.append(_fused(q, k, v, plan.bias[..., :stem], True)[0].transpose(0, 1))
        if mask is not None:
            branches = F.scaled_dot_product_attention(query[:, :, stem:], key, value, attn_mask=mask)
            outputs.append(branches[0].transpose(0, 1))
    return torch.cat(outputs).unflatten(0, (batch, length))


def _attend_written_out(
    query: Tensor, key: Tensor, value: Tensor, plan: AttentionPlan, dropout: float
) -> Tensor:
    """The formula itself, for dropout on the attention weights, which the CPU kernel does not have."""
    bias = plan.bias
    if plan.lengths is not None:
        rows = torch.arange(len(plan.lengths), device=query.device)
        segments = rows.repeat_interleave(torch.tensor(plan.lengths, device=query.device))
        hidden = _hidden_pairs(0, query.size(2), segments.view(query.size(0), -1), query.device)
        bias = bias.masked_fill(hidden, torch.finfo(bias.dtype).min)
    elif plan.causal:
        bias = _full_mask(bias, True, query)
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.size(-1)) + bias
    weights = F.dropout(scores.softmax(-1, dtype=bias.dtype).to(value.dtype), dropout)
    return (weights @ value).transpose(1, 2)


@functools.lru_cache(maxsize=1)
def _compiled_flex_attention() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention)


def _flexible(
    slopes: Tensor, attention_mask: Tensor | None, segment_ids: Tensor | None, length: int
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """FlexAttention with ALiBi computed in the kernel, skipping blocks that nothing can see."""
    from torch.nn.attention.flex_attention import create_block_mask

    def visible(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        seen = query >= key
        if attention_mask is not None:
            # A padded query sees itself, so that no row is empty.
            seen = seen & ((attention_mask[batch, key] != 0) | (query == key))
        if segment_ids is not None:
            seen = seen & (segment_ids[batch, query] == segment_ids[batch, key])
        return seen

    def add_alibi(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return score - slopes[head] * (query - key)

    given = attention_mask if attention_mask is not None else segment_ids
    rows = None if given is None else given.size(0)
    blocks = create_block_mask(visible, rows, None, length, length, device=slopes.device)
    attention = _compiled_flex_attention()
    return lambda query, key, value: attention(query, key, value, score_mod=add_alibi, block_mask=blocks)
