"""Activation functions, and their results made twice instead of kept."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch import Tensor, nn

from hortus.errors import ConfigError
from hortus.models.layers.activations import activation, project_activated


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="gelu_neu"):
        activation("gelu_neu")


@pytest.mark.parametrize("shape", [(5, 8), (2, 3, 8)])
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_equal_those_of_the_kept_activation(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    linear, function = nn.Linear(8, 4, bias=bias), activation("gelu_pytorch_tanh")
    states, above = torch.randn(shape, requires_grad=True), torch.randn(*shape[:-1], 4)
    leaves = [states, *linear.parameters()]
    plain = torch.autograd.grad(linear(function(states)), leaves, above)
    again = torch.autograd.grad(project_activated(linear, function, states), leaves, above)
    assert all(torch.equal(one, other) for one, other in zip(plain, again, strict=True))


def test_the_activation_is_not_kept() -> None:
    made: list[weakref.ref[Tensor]] = []

    def function(states: Tensor) -> Tensor:
        result = torch.tanh(states.detach()) * states  # tanh alone would keep its own result
        made.append(weakref.ref(result))
        return result

    linear, states = nn.Linear(8, 4), torch.randn(3, 8, requires_grad=True)
    result = project_activated(linear, function, states)
    assert made[0]() is None
    result.sum().backward()
    assert len(made) == 2 and states.grad is not None
