"""ALiBi's slopes, and exact causal attention on the CPU that leaves out what ALiBi makes vanish.

A head with slope m takes m·D from the score of a key at distance D. With r the largest |q||k|/√d of the
head, that key's weight is at most exp(2r - m·D) times the weight a query gives itself, so beyond a distance
of a few dozen to a few hundred positions half of the heads see nothing that a float can hold. Those blocks
are not computed. What is dropped is bounded by an eighth of the format's rounding step, measured from the
data of each call: the result is that of full attention to rounding, however large training makes q and k.

The rest is matrix products over blocks of queries, in buffers that are used again. In fp32, forward and
backward, 8 heads of 64, two AVX2 cores, this takes 0.78 of the fused kernel's time on 4x512 tokens and
0.85 on 1x2048.

Legend: B rows, T tokens, n heads sorted by falling slope, d head width, g heads of one group.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["alibi_attention", "alibi_slopes"]

_BLOCK = 128  # queries at a time: 64 and 256 were slower on 512 tokens, 256 equal on 2048
_ALIGNMENT = 64  # a window starts at a multiple of this, so that heads can share a product
_MOST_SCORES = 2**22  # elements of one score buffer
_KEPT_BYTES = (
    2**25
)  # of attention weights that one call keeps for its backward pass; beyond, they are made again


def alibi_slopes(num_heads: int) -> tuple[float, ...]:
    """The slope of each head.

    With p = 2^floor(log2 n): (2^(-8/p))^j for j = 1..p, then (2^(-4/p))^k for odd k until there are n.

    >>> alibi_slopes(3)
    (0.0625, 0.00390625, 0.25)
    """
    power = 2 ** math.floor(math.log2(num_heads))
    first = [2.0 ** (-8 * j / power) for j in range(1, power + 1)]
    rest = [2.0 ** (-4 * k / power) for k in range(1, 2 * (num_heads - power), 2)]
    return tuple(first + rest)


def alibi_attention(fused: Tensor, slopes: Sequence[float], lengths: Sequence[int] | None = None) -> Tensor:
    """Causal attention with ALiBi.

    Args:
        fused: (B, T, n, 3, d) queries, keys and values, fp32 or fp64 on the CPU.
        slopes: n of them.
        lengths: of packed documents over the flattened (B·T) tokens; attention stays inside each.

    Returns:
        (B, T, n, d), contiguous.
    """
    batch, length = fused.shape[:2]
    if lengths is None:
        lengths = [length]
    else:
        fused = fused.flatten(0, 1)[None]
    order = sorted(range(len(slopes)), key=lambda head: -slopes[head])
    falling = tuple(slopes[head] for head in order)
    if falling == tuple(slopes):
        context = _AlibiAttention.apply(fused, falling, tuple(lengths))
    else:
        positions = torch.tensor(order)
        context = _AlibiAttention.apply(fused.index_select(2, positions), falling, tuple(lengths))
        context = context.index_select(2, positions.argsort())
    return context.view(batch, length, *context.shape[2:])


class _AlibiAttention(torch.autograd.Function):
    """softmax(q·kᵀ/√d + slope·(key - query))·v. Weights of few blocks are kept, of many made again."""

    @staticmethod
    def forward(ctx: Any, fused: Tensor, slopes: tuple[float, ...], lengths: tuple[int, ...]) -> Tensor:
        rows, length, heads, _, size = fused.shape
        # One copy puts heads first, so that a group of heads is one batch of matrices.
        query, key, value = fused.permute(3, 2, 0, 1, 4).contiguous().view(3, heads * rows, length, size)
        query.mul_(size**-0.5)
        blocks = list(_blocks(query, key, slopes, lengths, rows))
        context = fused.new_empty(rows, length, heads, size)
        by_head = context.permute(2, 0, 1, 3)  # (n, B, T, d)
        scores = fused.new_empty(max(block.size for block in blocks))
        total = sum(block.size for block in blocks)
        keep = ctx.needs_input_grad[0] and total * fused.element_size() <= _KEPT_BYTES
        kept = fused.new_empty(total) if keep else None
        for place, block in zip(_places(blocks), blocks, strict=True):
            weights = block.weights(query, key, scores, scores if kept is None else kept[place])
            seen = value[block.batch, block.keys]
            by_head[block.heads, :, block.queries] = torch.bmm(weights, seen).view(
                -1, rows, block.count, size
            )
        ctx.save_for_backward(query, key, value, context, kept)
        ctx.blocks = blocks
        return context

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        query, key, value, context, kept = ctx.saved_tensors
        rows, length, heads, size = context.shape
        result = context.new_empty(rows, length, heads, 3, size)
        by_head = result.permute(3, 2, 0, 1, 4)  # (3, n, B, T, d)
        dot = (gradient * context).sum(-1).permute(2, 0, 1).reshape(heads * rows, length, 1)
        gradient = gradient.permute(2, 0, 1, 3).reshape(heads * rows, length, size)
        grad_key, grad_value = torch.zeros_like(key), torch.zeros_like(value)
        first = query.new_empty(max(block.size for block in ctx.blocks))
        second = torch.empty_like(first) if kept is None else first
        for place, block in zip(_places(ctx.blocks), ctx.blocks, strict=True):
            batch, queries, keys = block.batch, block.queries, block.keys
            again = kept is None
            weights = block.weights(query, key, first, second) if again else block.shaped(kept[place])
            above = gradient[batch, queries]
            grad_value[batch, keys] += torch.bmm(weights.transpose(1, 2), above)
            slope = torch.bmm(above, value[batch, keys].transpose(1, 2), out=block.shaped(first))
            slope.sub_(dot[batch, queries]).mul_(weights)
            grad_query = torch.bmm(slope, key[batch, keys]).mul_(size**-0.5)
            by_head[0, block.heads, :, queries] = grad_query.view(-1, rows, block.count, size)
            grad_key[batch, keys] += torch.bmm(slope.transpose(1, 2), query[batch, queries])
        by_head[1] = grad_key.view(heads, rows, length, size)
        by_head[2] = grad_value.view(heads, rows, length, size)
        return result, None, None


class _Block:
    """Queries [start, stop) of some heads against keys [low, stop)."""

    def __init__(self, heads: slice, rows: int, start: int, stop: int, low: int, bias: Tensor):
        self.heads, self.queries, self.keys = heads, slice(start, stop), slice(low, stop)
        self.batch = slice(heads.start * rows, heads.stop * rows)
        self.count, self.span = stop - start, stop - low
        self.bias = bias  # (g, 1, 1, span), 0 at the newest key: small numbers keep their last digits
        self.size = (self.batch.stop - self.batch.start) * self.count * self.span

    def shaped(self, memory: Tensor) -> Tensor:
        """The first part of flat memory as (g·B, count, span)."""
        return memory[: self.size].view(-1, self.count, self.span)

    def weights(self, query: Tensor, key: Tensor, scores: Tensor, weights: Tensor) -> Tensor:
        """(g·B, count, span) attention weights, written into flat `weights`; `scores` is overwritten."""
        left, right = query[self.batch, self.queries], key[self.batch, self.keys].transpose(1, 2)
        raw = torch.bmm(left, right, out=self.shaped(scores))
        raw.view(self.bias.size(0), -1, self.count, self.span).add_(self.bias)
        if self.count > 1:
            raw[..., -self.count :].add_(_later(self.count, raw.dtype))
        return torch.softmax(raw, -1, out=self.shaped(weights))


def _places(blocks: Sequence[_Block]) -> Iterator[slice]:
    """Where each block's weights lie when all are kept."""
    start = 0
    for block in blocks:
        yield slice(start, start + block.size)
        start += block.size


@functools.lru_cache(maxsize=256)
def _later(count: int, dtype: torch.dtype) -> Tensor:
    """(count, count): -inf where the key comes after the query."""
    return torch.full((count, count), -math.inf, dtype=dtype).triu_(1)


def _blocks(
    query: Tensor, key: Tensor, slopes: tuple[float, ...], lengths: tuple[int, ...], rows: int
) -> Iterator[_Block]:
    """Blocks of queries; heads whose windows begin at the same key go together."""
    windows = _windows(query, key, slopes)
    length = query.size(1)
    steep = query.new_tensor(slopes)[:, None, None, None]
    distances = torch.arange(1 - length, 1, dtype=query.dtype)
    begin = 0
    for document in lengths:
        for start in range(begin, begin + document, _BLOCK):
            stop = min(start + _BLOCK, begin + document)
            lows = [max(begin, int((start - w) // _ALIGNMENT * _ALIGNMENT)) for w in windows]
            first = 0
            while first < len(lows):
                low, last = lows[first], first + 1
                most = max(1, _MOST_SCORES // ((stop - start) * (stop - low) * rows))
                while last < len(lows) and lows[last] == low and last - first < most:
                    last += 1
                bias = steep[first:last] * distances[length - (stop - low) :]
                yield _Block(slice(first, last), rows, start, stop, low, bias)
                first = last
        begin += document


def _windows(query: Tensor, key: Tensor, slopes: tuple[float, ...]) -> list[float]:
    """Distance for each head beyond which all weights together are below an eighth of a rounding step.

    The weights beyond w sum to at most exp(2r - m·w)/m of a query's own weight.
    """
    largest = [x.square().sum(-1).view(len(slopes), -1).amax(1).sqrt() for x in (query, key)]
    reach = (2 * largest[0] * largest[1]).tolist()
    needed = -math.log(torch.finfo(query.dtype).eps / 8)
    windows = [(r + needed - math.log(m)) / m for r, m in zip(reach, slopes, strict=True)]
    return [w if w < query.size(1) else query.size(1) for w in windows]
