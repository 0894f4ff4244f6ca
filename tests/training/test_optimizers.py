"""Each optimizer against its formula in NumPy, and its state through a checkpoint."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from hortus.errors import ArtifactError
from hortus.training import TrainingConfig
from hortus.training.optimizers import OPTIMIZERS, build_optimizer
from hortus.training.state import copy_to_host, load_optimizer, load_weights, optimizer_tensors

RATE, BETAS, EPS, DECAY = 0.1, (0.8, 0.95), 1e-8, 0.05
GRADIENTS = np.random.default_rng(0).normal(size=(5, 3, 2))
START = np.random.default_rng(1).normal(size=(3, 2))


def torch_steps(name: str) -> np.ndarray:
    weight = torch.nn.Parameter(torch.tensor(START))
    config = TrainingConfig(
        steps=1, optimizer=name, learning_rate=RATE, betas=BETAS, eps=EPS, weight_decay=DECAY
    )  # type: ignore[arg-type]
    optimizer = build_optimizer([{"params": [weight]}, {"params": []}], config)
    for gradient in GRADIENTS:
        weight.grad = torch.tensor(gradient)
        optimizer.step()
    return weight.detach().numpy()


def numpy_adam(coupled: bool) -> np.ndarray:
    weight, mean, square = START.copy(), 0.0, 0.0
    for step, gradient in enumerate(GRADIENTS, start=1):
        if coupled:
            gradient = gradient + DECAY * weight
        else:
            weight = weight * (1 - RATE * DECAY)
        mean = BETAS[0] * mean + (1 - BETAS[0]) * gradient
        square = BETAS[1] * square + (1 - BETAS[1]) * gradient**2
        unbiased_mean, unbiased_square = mean / (1 - BETAS[0] ** step), square / (1 - BETAS[1] ** step)
        weight = weight - RATE * unbiased_mean / (np.sqrt(unbiased_square) + EPS)
    return weight


def numpy_rmsprop() -> np.ndarray:
    weight, square = START.copy(), 0.0
    for gradient in GRADIENTS:
        gradient = gradient + DECAY * weight
        square = BETAS[1] * square + (1 - BETAS[1]) * gradient**2
        weight = weight - RATE * gradient / (np.sqrt(square) + EPS)
    return weight


def numpy_adafactor() -> np.ndarray:
    """Shazeer & Stern 2018, Algorithm 4, as PyTorch has it: decoupled decay, rate at most 1/sqrt(step)."""
    weight = START.copy()
    rows, columns = np.zeros((3, 1)), np.zeros((1, 2))
    for step, gradient in enumerate(GRADIENTS, start=1):
        rate = max(1e-3, np.sqrt((weight**2).mean())) * min(RATE, 1 / np.sqrt(step))
        weight = weight * (1 - RATE * DECAY)
        share = step**-0.8
        rows = rows + share * ((gradient**2).mean(1, keepdims=True) - rows)
        columns = columns + share * ((gradient**2).mean(0, keepdims=True) - columns)
        update = gradient / np.sqrt(rows @ columns / rows.mean())
        weight = weight - rate * update / max(1.0, np.sqrt((update**2).mean()))
    return weight


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("adamw", numpy_adam(coupled=False)),
        ("adam", numpy_adam(coupled=True)),
        ("rmsprop", numpy_rmsprop()),
        ("adafactor", numpy_adafactor()),
    ],
)
def test_formula(name: str, expected: np.ndarray) -> None:
    np.testing.assert_allclose(torch_steps(name), expected, rtol=1e-6, atol=1e-9)


def test_a_group_keeps_its_own_decay() -> None:
    groups = [
        {"params": [torch.nn.Parameter(torch.zeros(1))], "weight_decay": 0.0},
        {"params": [torch.nn.Parameter(torch.zeros(1))]},
    ]
    optimizer = build_optimizer(groups, TrainingConfig(steps=1, weight_decay=0.3))
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0, 0.3]


def _network(channels_last: bool) -> torch.nn.Module:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv3d(2, 4, 3), torch.nn.Flatten(), torch.nn.Linear(32, 1))
    return network.to(memory_format=torch.channels_last_3d) if channels_last else network


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_state_goes_through_tensors_exactly(name: str, channels_last: bool) -> None:
    config: Any = TrainingConfig(steps=1, optimizer=name)  # type: ignore[arg-type]
    inputs = torch.randn(5, 2, 4, 4, 4, generator=torch.Generator().manual_seed(1))

    def step(network: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        network(inputs).pow(2).sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def build() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        network = _network(channels_last)
        return network, build_optimizer([{"params": list(network.parameters())}], config)

    first, optimizer = build()
    for _ in range(3):
        step(first, optimizer)
    weights, state = copy_to_host(dict(first.named_parameters())), copy_to_host(optimizer_tensors(optimizer))
    assert all(tensor.is_contiguous() for tensor in [*weights.values(), *state.values()])
    second, resumed = build()
    load_weights(dict(second.named_parameters()), weights, "here")
    load_optimizer(resumed, state)
    for network, its_optimizer in ((first, optimizer), (second, resumed)):
        for _ in range(2):
            step(network, its_optimizer)
    for left, right in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(left, right) and left.stride() == right.stride()


def test_weights_that_do_not_fit_are_listed() -> None:
    network = _network(False)
    found = {name: tensor.detach() for name, tensor in network.named_parameters()}
    found["other"] = found.pop("0.bias")
    with pytest.raises(ArtifactError, match=r"0\.bias"):
        load_weights(dict(network.named_parameters()), found, "step-00000001")
