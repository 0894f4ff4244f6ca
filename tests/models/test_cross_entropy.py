"""Chunked linear cross-entropy against PyTorch's plain one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from hortus.models.layers.cross_entropy import linear_cross_entropy


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def inputs(
    rows: int, width: int, vocabulary: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    hidden = torch.randn(rows, width, dtype=dtype, requires_grad=True)
    weight = torch.randn(vocabulary, width, dtype=dtype, requires_grad=True)
    targets = torch.randint(0, vocabulary, (rows,))
    targets[torch.rand(rows) < 0.3] = -100
    return hidden, weight, targets


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 30), st.integers(1, 50))
def test_loss_and_gradients_equal_plain(rows: int, width: int, vocabulary: int, chunk: int) -> None:
    hidden, weight, targets = inputs(rows, width, vocabulary)
    loss, count = linear_cross_entropy(hidden, weight, targets, chunk=chunk)
    ours = torch.autograd.grad(0.37 * loss, (hidden, weight))
    plain = F.cross_entropy(hidden @ weight.T, targets, reduction="sum")
    expected = torch.autograd.grad(0.37 * plain, (hidden, weight))
    assert count.item() == (targets >= 0).sum().item()
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(ours, expected)


def test_gradient_equals_finite_differences() -> None:
    hidden, weight, targets = inputs(6, 3, 5)
    loss, _ = linear_cross_entropy(hidden, weight, targets, chunk=4)
    gradients = torch.autograd.grad(loss, (hidden, weight))
    for leaf, gradient in zip((hidden, weight), gradients, strict=True):
        step = torch.randn_like(leaf)
        sides = []
        for sign in (1, -1):
            moved = [x + sign * 1e-6 * step if x is leaf else x for x in (hidden, weight)]
            sides.append(linear_cross_entropy(moved[0], moved[1], targets)[0].item())
        assert (sides[0] - sides[1]) / 2e-6 == pytest.approx((gradient * step).sum().item(), rel=1e-6)


def test_numpy_statement() -> None:
    hidden, weight, targets = inputs(12, 4, 7)
    x, w, t = hidden.detach().numpy(), weight.detach().numpy(), targets.numpy()
    logits = x @ w.T
    normalizer = np.log(np.exp(logits).sum(-1))
    expected = sum(normalizer[i] - logits[i, t[i]] for i in range(12) if t[i] >= 0)
    assert linear_cross_entropy(hidden, weight, targets)[0].item() == pytest.approx(expected)


def test_large_logits_stay_finite() -> None:
    hidden = torch.tensor([[400.0, 0.0]], requires_grad=True)
    loss, _ = linear_cross_entropy(hidden, torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.tensor([1]))
    loss.backward()
    assert loss.item() == pytest.approx(800.0)
    assert hidden.grad is not None and hidden.grad.tolist() == [[2.0, 0.0]]


def test_nothing_counted_gives_zero() -> None:
    hidden, weight, _ = inputs(4, 3, 5)
    loss, count = linear_cross_entropy(hidden, weight, torch.full((4,), -100))
    loss.backward()
    assert (loss.item(), count.item()) == (0.0, 0)
    assert hidden.grad is not None and not hidden.grad.any()


def test_bfloat16_products_keep_the_loss_in_float32() -> None:
    hidden, weight, targets = inputs(30, 16, 50, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = linear_cross_entropy(hidden, weight, targets, chunk=8)
    ours = torch.autograd.grad(loss, (hidden, weight))
    plain = F.cross_entropy(hidden @ weight.T, targets, reduction="sum")
    expected = torch.autograd.grad(plain, (hidden, weight))
    assert loss.dtype == ours[0].dtype == ours[1].dtype == torch.float32
    torch.testing.assert_close(loss, plain, rtol=1e-2, atol=0)
    for got, wanted in zip(ours, expected, strict=True):
        assert (got - wanted).norm() < 0.02 * wanted.norm()


def test_frozen_sides_get_no_gradient_and_nothing_is_kept_without_any() -> None:
    hidden, weight, targets = inputs(5, 3, 4)
    loss, _ = linear_cross_entropy(hidden, weight.detach(), targets)
    loss.backward()
    assert hidden.grad is not None and weight.grad is None
    with torch.no_grad():
        assert not linear_cross_entropy(hidden, weight, targets)[0].requires_grad


def test_a_second_backward_is_refused_rather_than_wrong() -> None:
    hidden, weight, targets = inputs(5, 3, 4)
    loss, _ = linear_cross_entropy(hidden, weight, targets)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="inplace"):
        loss.backward()


def test_row_weights_scale_losses_and_gradients() -> None:
    hidden, weight, targets = inputs(7, 3, 5)
    factors = torch.linspace(0, 2, 7, dtype=hidden.dtype)
    loss, _ = linear_cross_entropy(hidden, weight, targets, row_weights=factors, chunk=3)
    gradients = torch.autograd.grad(loss, (hidden, weight))
    plain = (F.cross_entropy(hidden @ weight.T, targets, reduction="none", ignore_index=-100) * factors).sum()
    expected = torch.autograd.grad(plain, (hidden, weight))
    torch.testing.assert_close(loss, plain)
    for ours, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
