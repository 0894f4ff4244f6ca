"""Every path of attention against the formula written out in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hortus.errors import DataError
from hortus.models.layers import alibi, attention
from hortus.models.layers.alibi import alibi_attention, alibi_slopes
from hortus.models.layers.attention import attend, attend_fused, plan_attention, plan_trees


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def formula(fused: Tensor, slopes: tuple[float, ...], documents: Tensor | None = None) -> Tensor:
    """(B, T, n, 3, d) -> (B, T, n, d): masked softmax of scores with ALiBi, nothing fused."""
    query, key, value = (x.transpose(1, 2) for x in fused.unbind(3))
    length = fused.size(1)
    position = torch.arange(length, dtype=fused.dtype)
    scores = query @ key.transpose(-1, -2) / math.sqrt(fused.size(-1))
    scores = scores + torch.tensor(slopes, dtype=fused.dtype).view(1, -1, 1, 1) * position
    hidden = torch.ones(length, length, dtype=torch.bool).triu(1)[None]
    if documents is not None:
        hidden = hidden | (documents[:, :, None] != documents[:, None])
    return (scores.masked_fill(hidden[:, None], -torch.inf).softmax(-1) @ value).transpose(1, 2)


def random_fused(batch: int, length: int, heads: int, size: int, scale: float = 1.0) -> Tensor:
    return (torch.randn(batch, length, heads, 3, size, dtype=torch.float64) * scale).requires_grad_()


def slopes_of_the_paper(heads: int) -> list[float]:
    """ALiBi's own recursion: powers of two directly, the rest from every other slope of twice as many."""
    if heads & (heads - 1) == 0:
        ratio = 2 ** (-8 / heads)
        return [ratio ** (i + 1) for i in range(heads)]
    power = 2 ** int(math.log2(heads))
    return slopes_of_the_paper(power) + slopes_of_the_paper(2 * power)[0::2][: heads - power]


@pytest.mark.parametrize("heads", [*range(1, 18), 32, 112])
def test_slopes_are_those_of_the_paper(heads: int) -> None:
    np.testing.assert_allclose(alibi_slopes(heads), slopes_of_the_paper(heads), rtol=1e-12)


@pytest.mark.parametrize("kept_bytes", [0, 2**25])
@pytest.mark.parametrize(
    ("batch", "length", "heads", "scale"), [(2, 300, 8, 1.0), (1, 400, 6, 3.0), (2, 65, 1, 0.3)]
)
def test_blocks_equal_the_formula(
    batch: int, length: int, heads: int, scale: float, kept_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alibi, "_KEPT_BYTES", kept_bytes)
    fused, slopes = random_fused(batch, length, heads, 8, scale), alibi_slopes(heads)
    ours, above = alibi_attention(fused, slopes), torch.randn(batch, length, heads, 8, dtype=torch.float64)
    (ours_gradient,) = torch.autograd.grad(ours, fused, above)
    expected = formula(fused, slopes)
    (gradient,) = torch.autograd.grad(expected, fused, above)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(ours_gradient, gradient, rtol=0, atol=1e-12)


def test_vanished_blocks_are_left_out_and_change_nothing() -> None:
    fused, slopes = random_fused(1, 700, 4, 8), alibi_slopes(4)
    query, key = (fused.detach()[..., i, :].permute(2, 0, 1, 3).reshape(4, 700, 8) for i in range(2))
    windows = alibi._windows(query / math.sqrt(8), key, slopes)
    # Slopes 1/4 .. 1/256: the steep heads see a part, the flattest one everything.
    assert windows[0] < 300 < 700 == windows[3]
    torch.testing.assert_close(alibi_attention(fused, slopes), formula(fused, slopes), rtol=0, atol=1e-13)


def test_windows_grow_with_the_data_and_survive_overflow() -> None:
    small = torch.randn(2, 600, 8)
    narrow = alibi._windows(small, small, (0.5, 0.25))
    wide = alibi._windows(4 * small, 4 * small, (0.5, 0.25))
    assert all(w > n for n, w in zip(narrow, wide, strict=True))
    assert alibi._windows(small * math.inf, small, (0.5, 0.25)) == [600, 600]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 150), min_size=1, max_size=5), st.integers(1, 5))
def test_documents_do_not_see_each_other(lengths: list[int], heads: int) -> None:
    fused, slopes = random_fused(1, sum(lengths), heads, 4), alibi_slopes(heads)
    documents = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))[None]
    ours = alibi_attention(fused, slopes, lengths)
    torch.testing.assert_close(ours, formula(fused, slopes, documents), rtol=0, atol=1e-12)


def test_gradient_check_with_documents_across_rows() -> None:
    fused = random_fused(2, 7, 3, 2)
    assert torch.autograd.gradcheck(lambda x: alibi_attention(x, alibi_slopes(3), [3, 4, 7]), fused)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("compiling", [False, True])
def test_kernel_paths_equal_the_formula(
    dtype: torch.dtype, packed: bool, compiling: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # While compiling, the flash kernel stands in for the blocks in every format.
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiling)
    fused = random_fused(2, 70, 6, 8)
    documents = torch.tensor([[0] * 30 + [1] * 40, [2] * 70]) if packed else None
    plan = plan_attention(6, 2, 70, segment_ids=documents, device=fused.device, dtype=dtype)
    ours = attend_fused(fused.to(dtype), plan)
    expected = formula(fused, alibi_slopes(6), documents)
    torch.testing.assert_close(
        ours.double(), expected, rtol=0, atol=3e-2 if dtype == torch.bfloat16 else 1e-5
    )


@pytest.mark.parametrize("packed", [False, True])
def test_dropout_path_is_the_formula_on_average(packed: bool) -> None:
    fused = random_fused(1, 12, 2, 4)
    documents = torch.tensor([[0] * 5 + [1] * 7]) if packed else None
    plan = plan_attention(2, 1, 12, segment_ids=documents, device=fused.device, dtype=fused.dtype)
    expected = formula(fused, alibi_slopes(2), documents)
    torch.testing.assert_close(attend_fused(fused, plan, dropout=1e-12), expected, rtol=0, atol=1e-10)
    mean = torch.stack([attend_fused(fused, plan, dropout=0.3) for _ in range(500)]).mean(0)
    assert (mean - expected).abs().max() < 0.35
    assert not torch.equal(attend_fused(fused, plan, dropout=0.3), attend_fused(fused, plan, dropout=0.3))


@pytest.mark.parametrize("new", [1, 3])
def test_appended_queries_equal_the_last_rows(new: int) -> None:
    fused = random_fused(2, 20, 5, 4)
    query, key, value = (x.transpose(1, 2) for x in fused.unbind(3))
    plan = plan_attention(5, 2, new, past=20 - new, device=fused.device, dtype=fused.dtype)
    ours = attend(query[:, :, -new:], key, value, plan)
    torch.testing.assert_close(ours, formula(fused, alibi_slopes(5))[:, -new:], rtol=0, atol=1e-12)


def test_left_padding_hides_keys_and_shifts_nothing() -> None:
    fused = random_fused(2, 15, 5, 4)
    mask = torch.ones(2, 15, dtype=torch.long)
    mask[0, :6] = 0
    plan = plan_attention(5, 2, 15, attention_mask=mask, device=fused.device, dtype=fused.dtype)
    ours = attend_fused(fused, plan)
    assert ours.isfinite().all()
    torch.testing.assert_close(ours[:1, 6:], formula(fused[:1, 6:], alibi_slopes(5)), rtol=0, atol=1e-12)


def test_padding_and_documents_together() -> None:
    fused = random_fused(1, 10, 2, 4)
    mask = torch.tensor([[1] * 8 + [0] * 2])
    documents = torch.tensor([[0] * 3 + [1] * 7])
    plan = plan_attention(
        2, 1, 10, attention_mask=mask, segment_ids=documents, device=fused.device, dtype=fused.dtype
    )
    expected = formula(fused, alibi_slopes(2), documents)
    torch.testing.assert_close(attend_fused(fused, plan)[:, :8], expected[:, :8], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("dtype", "atol"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 3e-2)]
)
@pytest.mark.parametrize("trees", [[(9, 4, 1, 6), (5,), (1, 3)], [(70,), (3,)]])
def test_branches_are_computed_as_if_each_stood_alone(trees: list, dtype: torch.dtype, atol: float) -> None:
    fused = random_fused(1, sum(map(sum, trees)), 5, 8).detach()
    plan = plan_trees(5, trees, fused.size(1), device=fused.device, dtype=dtype)
    ours = attend_fused(fused.to(dtype), plan).double()
    start = 0
    for stem, *branches in trees:
        first, end = torch.arange(start, start + stem), start + stem
        for size in branches or [0]:
            path = torch.cat([first, torch.arange(end, end + size)])
            expected = formula(fused[:, path], alibi_slopes(5))
            torch.testing.assert_close(ours[:, path], expected, rtol=0, atol=atol)
            end += size
        start = end


def test_branches_may_branch_again() -> None:
    tree = (7, 2, (5, 1, (2, 3), 4), 3)
    # The parts in order and, for each, what it continues.
    sizes, parents = [7, 2, 5, 1, 2, 3, 4, 3], [-1, 0, 0, 2, 2, 4, 2, 0]
    fused = random_fused(1, sum(sizes), 5, 8).detach()
    plan = plan_trees(5, [tree], fused.size(1), device=fused.device, dtype=fused.dtype)
    ours = attend_fused(fused, plan)
    starts = [sum(sizes[:part]) for part in range(len(sizes))]
    for part in range(len(sizes)):
        path, above = [], part
        while above >= 0:
            path = [*range(starts[above], starts[above] + sizes[above]), *path]
            above = parents[above]
        expected = formula(fused[:, path], alibi_slopes(5))
        torch.testing.assert_close(ours[:, path], expected, rtol=0, atol=1e-12)


def test_public_kernel_gives_the_same_where_the_flash_kernel_is_missing() -> None:
    query, key, value = (torch.randn(1, 2, 9, 4) for _ in range(3))
    bias = torch.tensor(alibi_slopes(2)).view(1, 2, 1, 1) * torch.arange(9)
    mask = attention._full_mask(bias, True, query)
    other = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    torch.testing.assert_close(attention._fused(query, key, value, bias, True), other)


def test_wrong_shapes_are_named() -> None:
    where = {"device": torch.device("cpu"), "dtype": torch.float32}
    with pytest.raises(DataError, match=r"\(2, 5\).*\(2, 8\)"):
        plan_attention(4, 2, 5, past=3, attention_mask=torch.ones(2, 5), **where)
    with pytest.raises(DataError, match="3 cached positions"):
        plan_attention(4, 2, 5, past=3, segment_ids=torch.ones(2, 5), **where)
    with pytest.raises(DataError, match="trees of 7 tokens"):
        plan_trees(4, [(4, 1), (2,)], 8, **where)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="FlexAttention runs on the GPU")
@pytest.mark.parametrize("kind", ["plain", "padded", "packed"])
def test_flex_attention_equals_the_formula(kind: str) -> None:
    fused = random_fused(2, 128, 4, 16).detach().float().cuda().requires_grad_()
    mask = documents = None
    if kind == "padded":
        mask = torch.ones(2, 128, dtype=torch.long, device="cuda")
        mask[0, :40] = 0
    if kind == "packed":
        documents = torch.arange(128, device="cuda").div(50, rounding_mode="floor").expand(2, -1)
    plan = plan_attention(
        4, 2, 128, attention_mask=mask, segment_ids=documents, device=fused.device, dtype=torch.float32
    )
    ours = attend_fused(fused, plan)
    ours.sum().backward()
    exact = fused.detach().cpu().double()
    if kind == "padded":
        expected = formula(exact[:1, 40:], alibi_slopes(4))
        ours = ours[:1, 40:]
    else:
        expected = formula(exact, alibi_slopes(4), None if documents is None else documents.cpu())
    torch.testing.assert_close(ours.detach().cpu().double(), expected, rtol=0, atol=5e-3)
    assert fused.grad is not None and fused.grad.isfinite().all()
