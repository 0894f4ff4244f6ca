"""VCNet's network, losses and annealing against a plain NumPy statement of the published formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hortus.counterfactual.config import VCNetSettings
from hortus.counterfactual.losses import divergence, kl_weight, prediction_loss, reconstruction_loss
from hortus.counterfactual.network import NetworkShape, VCNetNetwork
from hortus.counterfactual.task import VCNetTask

# Matrix: two numbers, a group of three, a group of two; the second number and the last group are immutable.
SHAPE = NetworkShape(
    width=7, numbers=(0,), groups=((2, 5),), head="binary", share_size=6, middle_size=4, latent_size=3
)


def elu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, np.expm1(x))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def rows(seed: int = 0, num: int = 5) -> np.ndarray:
    random = np.random.default_rng(seed)
    one_hot = [np.eye(3)[random.integers(0, 3, num)], np.eye(2)[random.integers(0, 2, num)]]
    return np.hstack([random.random((num, 2)), *one_hot])


def linear(network: VCNetNetwork, name: str, x: np.ndarray) -> np.ndarray:
    state = network.state_dict()
    return x @ state[f"{name}.weight"].numpy().T + state[f"{name}.bias"].numpy()


def plain_forward(
    network: VCNetNetwork, x: np.ndarray, condition: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Section 2 of the architecture, with z at its mean; the condition defaults to the prediction."""
    shared = elu(linear(network, "predictor.0.0", x))
    probability = sigmoid(linear(network, "predictor.3", elu(linear(network, "predictor.1", shared))))
    hidden = elu(linear(network, "encoder.0", shared))
    mean, log_variance = linear(network, "mean", hidden), linear(network, "log_variance", hidden)
    condition = probability if condition is None else condition
    fixed = x[:, [1, 5, 6]]
    wide = elu(linear(network, "decoder.0", np.hstack([mean, condition, fixed])))
    raw = linear(network, "decoder.4", elu(linear(network, "decoder.2", wide)))
    output = np.hstack([sigmoid(raw[:, :1]), softmax(raw[:, 1:])])
    return {"probability": probability, "mean": mean, "log_variance": log_variance, "output": output}


@pytest.fixture
def network() -> VCNetNetwork:
    torch.manual_seed(0)
    return VCNetNetwork(SHAPE).double().requires_grad_(False)


@pytest.mark.parametrize("wanted", [None, 0.0, 1.0, 0.3])
def test_forward_is_the_published_one(network: VCNetNetwork, wanted: float | None) -> None:
    x = rows()
    condition = None if wanted is None else np.full((5, 1), wanted)
    plain = plain_forward(network, x, condition)
    given = torch.from_numpy(x)
    probability = network.condition(network.logits(given))
    mean, log_variance = network.encode(given, probability)
    used = probability if condition is None else torch.from_numpy(condition)
    output = network.activate(network.decode(mean, used, given))
    for name, value in {"probability": probability, "mean": mean, "log_variance": log_variance}.items():
        np.testing.assert_allclose(value.numpy(), plain[name], atol=1e-12)
    np.testing.assert_allclose(output.numpy(), plain["output"], atol=1e-12)


def test_number_of_parameters_is_the_published_formula() -> None:
    d, s, m, latent = 13, 304, 152, 19
    shape = NetworkShape(
        width=d,
        numbers=tuple(range(d)),
        groups=(),
        head="binary",
        share_size=s,
        middle_size=m,
        latent_size=latent,
    )
    count = sum(parameter.numel() for parameter in VCNetNetwork(shape).parameters())
    predictor = d * s + s + s * s + s + s + 1
    encoder = s * m + m + 2 * (m * latent + latent)
    decoder = (latent + 1) * m + m + m * s + s + s * d + d
    assert count == predictor + encoder + decoder


def test_losses_are_the_summed_formulas() -> None:
    random = np.random.default_rng(1)
    mean, log_variance = random.normal(size=(4, 3)), random.normal(size=(4, 3))
    kl = -0.5 * (1 + log_variance - mean**2 - np.exp(log_variance)).sum()
    assert divergence(torch.from_numpy(mean), torch.from_numpy(log_variance)).item() == pytest.approx(kl)
    logits, labels = random.normal(size=(4, 1)), np.array([0, 1, 1, 0])
    p = sigmoid(logits[:, 0])
    bce = -(labels * np.log(p) + (1 - labels) * np.log(1 - p)).sum()
    given = torch.from_numpy(logits), torch.from_numpy(labels)
    assert prediction_loss(*given, "binary").item() == pytest.approx(bce)
    many = random.normal(size=(4, 3))
    ce = -np.log(softmax(many)[np.arange(4), labels]).sum()
    assert prediction_loss(torch.from_numpy(many), given[1], "classes").item() == pytest.approx(ce)
    output, target, known = (
        random.random((4, 5)),
        random.integers(0, 2, (4, 5)),
        random.integers(0, 2, (4, 5)),
    )
    terms = -(target * np.log(output) + (1 - target) * np.log(1 - output))
    tensors = [torch.from_numpy(value.astype(float)) for value in (output, target, known)]
    assert reconstruction_loss(*tensors, "cross_entropy").item() == pytest.approx((terms * known).sum())
    square = ((output - target) ** 2 * known).sum()
    assert reconstruction_loss(*tensors, "squared_error").item() == pytest.approx(square)


def test_the_whole_loss_and_its_condition_gradient(network: VCNetNetwork) -> None:
    """Total = lambda_2 BCE + lambda_3 Rec + lambda_1 KL; the condition lets reconstruction reach the head."""
    x = torch.from_numpy(rows(2))
    batch = {"x": x, "y": torch.tensor([0.0, 1, 1, 0, 1]).double(), "known": torch.ones(5, 4).double()}
    settings = VCNetSettings(
        prediction_weight=0.93, reconstruction_weight=0.5, kl_step=0.1, kl_max=0.2, validity_weight=0.7
    )
    network.requires_grad_(True)
    task = VCNetTask(network, settings, num_rows=5)
    task.loss(batch)  # epoch 0, in which KL weighs nothing
    torch.manual_seed(3)
    total, count, metrics = task.loss(batch)
    assert int(count) == 5
    parts = {name: float(value) for name, (value, _) in metrics.items()}
    expected = (
        0.93 * parts["prediction_loss"]
        + 0.5 * parts["reconstruction_loss"]
        + 0.1 * parts["divergence"]
        + 0.7 * parts["validity_loss"]
    )
    assert total.item() == pytest.approx(expected)
    for detach in (False, True):
        network.zero_grad()
        only = VCNetSettings(prediction_weight=0.0, kl_max=0.0, detach_condition=detach, validity_weight=0.0)
        loss, _, _ = VCNetTask(network, only, 5).loss(batch)
        loss.backward()
        gradient = network.predictor[3].weight.grad
        reaches_head = gradient is not None and bool(gradient.abs().sum() > 0)
        assert reaches_head is not detach


def test_the_validity_term_teaches_the_decoder_alone(network: VCNetNetwork) -> None:
    """Cross-entropy of the flipped class on the soft counterfactual, by a predictor that it leaves alone."""
    x = torch.from_numpy(rows(2))
    batch = {"x": x, "y": torch.zeros(5).double(), "known": torch.ones(5, 4).double()}
    settings = VCNetSettings(prediction_weight=0.0, reconstruction_weight=0.0, kl_max=0.0)
    network.requires_grad_(True)
    with torch.no_grad():
        network.log_variance.weight.zero_()
        network.log_variance.bias.fill_(-80.0)  # the code is its mean
    loss, _, _ = VCNetTask(network, settings, num_rows=5).loss(batch)
    loss.backward()
    plain = plain_forward(network, x.numpy(), None)
    wanted = 1 - plain["probability"].round()
    moved = x.numpy().copy()
    moved[:, [0, 2, 3, 4]] = plain_forward(network, x.numpy(), wanted)["output"]
    reached = plain_forward(network, moved, None)["probability"]
    assert loss.item() == pytest.approx(-np.log(np.where(wanted == 1, reached, 1 - reached)).sum())
    touched = {
        name.split(".")[0]
        for name, parameter in network.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().sum() > 0
    }
    assert touched == {"decoder"}


def test_annealing_clamped_and_as_published() -> None:
    weight, published = 0.0, []
    for _ in range(6):
        published.append(weight)
        if weight < 0.12:
            weight += 0.369
    assert [kl_weight(epoch, 0.369, 0.12, clamp=False) for epoch in range(6)] == published
    assert [kl_weight(epoch, 0.05, 0.12) for epoch in range(4)] == [0.0, 0.05, 0.1, 0.12]


def test_several_groups_of_different_width() -> None:
    shape = NetworkShape(
        width=9, numbers=(0, 1), groups=((2, 5), (5, 7), (7, 9)), head="classes", outcomes=3, share_size=4,
        middle_size=4, latent_size=2,
    )  # fmt: skip
    raw = torch.randn(6, 9, dtype=torch.float64)
    output = VCNetNetwork(shape).activate(raw).numpy()
    plain = [
        sigmoid(raw[:, :2].numpy()),
        *(softmax(raw[:, a:b].numpy()) for a, b in ((2, 5), (5, 7), (7, 9))),
    ]
    np.testing.assert_allclose(output, np.hstack(plain), atol=1e-12)
