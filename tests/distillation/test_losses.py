"""The losses against the formulas written in NumPy, their gradients, and stored logits."""

from __future__ import annotations

import doctest
import importlib
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hortus.distillation.losses import Projection, TopLogits, cosine_loss, keep_top, projected_loss, soft_loss

ROWS, STUDENT, TEACHER, VOCABULARY = 7, 5, 6, 11


def log_softmax(values: np.ndarray) -> np.ndarray:
    values = values - values.max(-1, keepdims=True)
    return values - np.log(np.exp(values).sum(-1, keepdims=True))


def sides(seed: int, dtype: torch.dtype = torch.float64) -> tuple[Projection, Projection, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64).to(dtype)

    student = Projection(draw(ROWS, STUDENT), draw(VOCABULARY, STUDENT), draw(VOCABULARY))
    teacher = Projection(draw(ROWS, TEACHER), draw(VOCABULARY, TEACHER), draw(VOCABULARY))
    targets = torch.randint(VOCABULARY, (ROWS,), generator=random)
    targets[torch.rand(ROWS, generator=random) < 0.5] = -100
    return student, teacher, targets


def logits(side: Projection) -> np.ndarray:
    states, weight, bias = (None if part is None else part.double().numpy() for part in side)
    assert states is not None and weight is not None
    return states @ weight.T + (0 if bias is None else bias)


def expected(
    student: Projection, teacher: Projection, targets: torch.Tensor, temperature: float
) -> tuple[float, float]:
    """Soft and hard sum as section 2 of the paper states them."""
    of_student, of_teacher = logits(student), logits(teacher)
    log_t, log_s = log_softmax(of_teacher / temperature), log_softmax(of_student / temperature)
    soft = temperature**2 * (np.exp(log_t) * (log_t - log_s)).sum()
    asked = np.flatnonzero(targets.numpy() >= 0)
    return float(soft), float(-log_softmax(of_student)[asked, targets.numpy()[asked]].sum())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.5, 8.0), st.integers(1, 9), st.booleans())
def test_sums_equal_the_formula(seed: int, temperature: float, chunk: int, biased: bool) -> None:
    student, teacher, targets = sides(seed, torch.float32)
    if not biased:
        student, teacher = Projection(*student[:2]), Projection(*teacher[:2])
    total, soft, hard = projected_loss(
        student, teacher, targets, temperature=temperature, weight_soft=5.0, weight_hard=2.0, chunk=chunk
    )
    wanted = expected(student, teacher, targets, temperature)
    np.testing.assert_allclose([soft, hard], wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(total, 5 * wanted[0] + 2 * wanted[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("way", ["whole", "stored", "hard only"])
def test_gradients(way: str) -> None:
    student, teacher, targets = sides(3)
    answer: Any = {
        "whole": teacher,
        "stored": keep_top(torch.from_numpy(logits(teacher)), 4, 2.0),
        "hard only": None,
    }[way]
    if way == "stored":  # keep_top works in fp32, whose rounding is no slope of the student's
        answer = TopLogits(*(part.double() if part.is_floating_point() else part for part in answer))

    def loss(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return projected_loss(
            Projection(states, weight, bias),
            answer,
            targets,
            temperature=2.0,
            weight_soft=5.0,
            weight_hard=torch.tensor(2.0, dtype=torch.float64),
            chunk=3,
        )[0]

    inputs = [part.clone().requires_grad_() for part in student if part is not None]
    assert torch.autograd.gradcheck(loss, inputs)


def test_gradients_of_the_small_losses() -> None:
    student, teacher, _ = sides(5)
    assert student.bias is not None
    few = torch.from_numpy(logits(student)).requires_grad_()
    other = torch.from_numpy(logits(teacher))
    assert torch.autograd.gradcheck(lambda x: soft_loss(x, other, 2.0), [few])
    states = student.states.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: cosine_loss(x, teacher.states), [states])


def test_small_losses_equal_the_formula() -> None:
    student, teacher, targets = sides(6)
    few, other = torch.from_numpy(logits(student)), torch.from_numpy(logits(teacher))
    np.testing.assert_allclose(soft_loss(few, other, 2.0), expected(student, teacher, targets, 2.0)[0], 1e-9)
    a, b = student.states.numpy(), teacher.states.numpy()[:, :STUDENT]
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(cosine_loss(student.states, teacher.states), (1 - cosine).sum(), 1e-9)


def test_stored_logits_are_the_divergence_of_k_and_the_rest() -> None:
    student, teacher, targets = sides(8, torch.float32)
    top = keep_top(torch.from_numpy(logits(teacher)), 4, 2.0)
    _, soft, _ = projected_loss(student, top, targets, temperature=2.0, weight_soft=1.0, weight_hard=0.0)
    t, s = (np.exp(log_softmax(logits(side) / 2)) for side in (teacher, student))
    places = np.argsort(-t, axis=1)[:, :4]
    t, s = (np.take_along_axis(x, places, 1) for x in (t, s))
    t, s = (np.concatenate([x, 1 - x.sum(1, keepdims=True)], 1) for x in (t, s))
    np.testing.assert_allclose(soft, 4 * (t * np.log(t / s)).sum(), rtol=1e-4)
    whole = expected(student, teacher, targets, 2.0)[0]
    assert soft <= whole
    every = keep_top(torch.from_numpy(logits(teacher)), VOCABULARY - 1, 2.0)
    _, nearly, _ = projected_loss(student, every, targets, temperature=2.0, weight_soft=1.0, weight_hard=0.0)
    np.testing.assert_allclose(nearly, whole, rtol=1e-4)


def test_bfloat16_products_under_autocast() -> None:
    student, teacher, targets = sides(9, torch.float32)
    states = student.states.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, soft, hard = projected_loss(
            Projection(states, *student[1:]),
            teacher,
            targets,
            temperature=2.0,
            weight_soft=1.0,
            weight_hard=1.0,
        )
    total.backward()
    assert soft.dtype == torch.float32 and states.grad is not None and states.grad.dtype == torch.float32
    np.testing.assert_allclose([soft, hard], expected(student, teacher, targets, 2.0), rtol=0.05)


@pytest.mark.parametrize("name", ["losses", "masking", "student", "task", "batching"])
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"hortus.distillation.{name}"))
    assert result.attempted > 0 and result.failed == 0
