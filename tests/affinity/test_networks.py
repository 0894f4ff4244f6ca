from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hortus.affinity.complexes import Complex
from hortus.affinity.config import ConvolutionConfig, GraphConfig, GridConfig, HACNetConfig
from hortus.affinity.convolution import ConvolutionNetwork, Head
from hortus.affinity.fast_convolution import FastConvolution, _SpectralConvolution
from hortus.affinity.graph_network import GraphNetwork, graph_arrays, graph_batch
from hortus.affinity.published import CONVOLUTION_NAMES, GRAPH_NAMES, HEAD_NAMES, from_published, to_published
from hortus.affinity.voxels import random_rotation, voxel_indices, voxelize
from hortus.errors import ArtifactError, ConfigError


def complex_of(seed: int, atoms: int = 40, spread: float = 6.0) -> Complex:
    random = np.random.default_rng(seed)
    features = random.normal(size=(atoms, 19)).astype("f4") * (random.random((atoms, 19)) < 0.4)
    positions = (spread * random.normal(size=(atoms, 3))).astype("f4")
    return Complex(
        f"c{seed}", positions, features.astype("f4"), np.full(atoms, 1.7, "f4"), 10, ligand_mass=200.0
    )


def moved(one: Complex, rotation: np.ndarray, shift: np.ndarray) -> Complex:
    positions = (one.positions @ rotation.T + shift).astype("f4")
    return Complex(one.name, positions, one.features, one.radii, one.num_ligand_atoms)


def softsign(x):
    return x / (1 + np.abs(x))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def graph_by_formula(network: GraphNetwork, one: Complex) -> float:
    """The published equations in NumPy, dense and in float64."""
    w = {name: tensor.double().numpy() for name, tensor in network.state_dict().items()}
    gaps = np.linalg.norm(one.positions[:, None].astype(float) - one.positions[None], axis=2)
    matrix = np.where((gaps <= 3.5) & (gaps > 0), gaps, 0) + np.eye(len(one))
    start = h = one.graph_features.astype(float)
    for step in range(4):
        a = matrix @ (h @ w["messages"][step])
        ir, iz, inn = np.split(a @ w["gru.weight_ih"].T + w["gru.bias_ih"], 3, axis=1)
        hr, hz, hn = np.split(h @ w["gru.weight_hh"].T + w["gru.bias_hh"], 3, axis=1)
        reset, update = sigmoid(ir + hr), sigmoid(iz + hz)
        h = (1 - update) * np.tanh(inn + reset * hn) + update * h
    u = softsign(np.concatenate([h, start], axis=1) @ w["gate_hidden.weight"].T + w["gate_hidden.bias"])
    u = softsign(u @ w["gate.weight"].T + w["gate.bias"])
    u = np.exp(u) / np.exp(u).sum(axis=1, keepdims=True)
    y = (u * softsign(start @ w["values.weight"].T + w["values.bias"])).sum(axis=0)
    for layer in (0, 2, 4):
        y = y @ w[f"output.{layer}.weight"].T + w[f"output.{layer}.bias"]
        y = np.maximum(y, 0) if layer < 4 else y
    return float(y[0])


def test_graph_network_equals_its_formula_alone_and_in_a_batch():
    network = GraphNetwork(GraphConfig()).eval()
    complexes = [complex_of(seed, atoms, 3.0) for seed, atoms in ((1, 30), (2, 1), (3, 55))]
    expected = [graph_by_formula(network, one) for one in complexes]
    with torch.no_grad():
        assert network(graph_batch(complexes)).numpy() == pytest.approx(expected, abs=1e-4)
        alone = torch.cat([network(graph_batch([one])) for one in complexes])
    assert alone.numpy() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("aggregation", ["sum", "attention"])
def test_graph_gradient_equals_differences(aggregation):
    network = GraphNetwork(GraphConfig(aggregation=aggregation)).double()
    batch = graph_batch([complex_of(4, 12, 2.0)])
    batch = {k: v.double() if v.is_floating_point() else v for k, v in batch.items()}
    assert torch.autograd.gradcheck(
        lambda messages: torch.func.functional_call(network, {"messages": messages}, (batch,)),
        (network.messages.detach().clone().requires_grad_(),),
        fast_mode=True,
    )


def test_attention_shares_sum_to_one():
    network = GraphNetwork(GraphConfig(aggregation="attention"))
    one = complex_of(5, 20, 2.0)
    batch = graph_batch([one])
    rows = torch.repeat_interleave(torch.arange(20), batch["row_starts"].diff())
    message = torch.randn(20, 20)
    along = message[batch["columns"]] * batch["weights"][:, None]
    expected = torch.stack(
        [(torch.softmax(network.attention(along[rows == i]), 0) * along[rows == i]).sum(0) for i in range(20)]
    )
    assert torch.allclose(network._attend(message, batch), expected, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_graph_network_ignores_rotation_shift_and_order(seed):
    torch.manual_seed(0)
    network, one = GraphNetwork(GraphConfig()).eval(), complex_of(7, 30, 3.0)
    gaps = np.linalg.norm(one.positions[:, None] - one.positions[None], axis=2)
    if (np.abs(gaps - 3.5) < 1e-4).any():
        return
    random = np.random.default_rng(seed)
    turned = moved(one, random_rotation(random), 5 * random.normal(size=3))
    order = random.permutation(30)
    shuffled = Complex("s", one.positions[order], one.features[order], one.radii[order], 10)
    with torch.no_grad():
        values = network(graph_batch([one, turned, shuffled]))
    assert torch.allclose(values, values[0].expand(3), atol=2e-5)


def test_graph_arrays_hold_loops_and_both_directions():
    starts, columns, weights = graph_arrays(np.array([[0.0, 0, 0], [0, 3, 0], [0, 3, 3.6]]), 3.5)
    assert starts.tolist() == [0, 2, 4, 5] and columns.tolist() == [0, 1, 1, 0, 2]
    assert weights.tolist() == [1, 3, 1, 3, 1]


def voxels_by_loop(one: Complex, size: int, spacing: float) -> np.ndarray:
    box = np.zeros((19, size, size, size))
    middle = (one.positions.min(axis=0) + one.positions.max(axis=0)) / np.float32(2)
    for position, row in zip(one.positions, one.features, strict=True):
        index = np.floor((position - (middle - np.float32(size * spacing / 2))) / np.float32(spacing)).astype(
            int
        )
        if (index >= 0).all() and (index < size).all():
            box[(slice(None), *index)] += row
    return box


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(48, 1.0), (24, 2.0), (9, 1.5)]))
def test_voxels_equal_a_loop(seed, shape):
    one = complex_of(seed, 60, 8.0)
    grid = GridConfig(size=shape[0], spacing=shape[1])
    box = voxelize(one, grid)
    assert np.allclose(box, voxels_by_loop(one, *shape), atol=1e-5)
    inside = (
        (voxel_indices(one.positions, grid) >= 0) & (voxel_indices(one.positions, grid) < shape[0])
    ).all(1)
    assert box.sum(axis=(1, 2, 3)) == pytest.approx(one.features[inside].sum(axis=0), abs=1e-3)


def test_voxels_do_not_see_a_shift_but_see_a_rotation():
    one = complex_of(1)
    grid = GridConfig(size=24, spacing=2.0)
    assert (
        voxelize(moved(one, np.eye(3), np.array([8.0, -4, 2])), grid) == voxelize(one, grid)
    ).mean() > 0.999
    turned = voxelize(one, grid, rotation=random_rotation(np.random.default_rng(0)))
    assert not np.allclose(turned, voxelize(one, grid))


def test_gaussian_spread_keeps_the_sum_and_centres_on_the_atom():
    one = Complex("a", np.array([[0, 0, 0], [4, 0, 0]], "f4"), np.ones((2, 19), "f4"), np.ones(2, "f4"), 1)
    box = voxelize(one, GridConfig(size=24, spread=1.0))
    assert box.sum() == pytest.approx(38, rel=1e-5)
    hard = voxelize(one, GridConfig(size=24))
    assert np.corrcoef(box[0].ravel(), hard[0].ravel())[0, 1] > 0.2


@given(st.integers(0, 10**6))
def test_random_rotations_are_rotations(seed):
    matrix = random_rotation(np.random.default_rng(seed))
    assert matrix @ matrix.T == pytest.approx(np.eye(3)) and np.linalg.det(matrix) == pytest.approx(1)


def test_published_shapes_and_parameter_counts():
    config = HACNetConfig()
    network = ConvolutionNetwork(config.convolution, config.grid)
    assert config.convolution.output_sizes(48) == (23, 23, 23, 8, 2) and network.num_features == 2048
    assert sum(p.numel() for p in network.parameters()) == 10_819_857
    assert sum(p.numel() for p in GraphNetwork(config.graph).parameters()) == 26_850


SMALL = ConvolutionConfig(channels=(16, 16, 32), kernels=(9, 7, 7, 7, 5), head_width=8)


def normalised(network: ConvolutionNetwork) -> ConvolutionNetwork:
    """With batch statistics of its own, as after training."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d | torch.nn.BatchNorm1d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return network.eval()


@pytest.mark.parametrize("size", ["published kernels", "half"])
def test_fast_convolution_equals_its_layers(size):
    torch.manual_seed(0)
    half = HACNetConfig.size("half")
    config, grid = (SMALL, GridConfig(size=32)) if size != "half" else (half.convolution, half.grid)
    network = normalised(ConvolutionNetwork(config, grid))
    complexes = [complex_of(seed, 50, 9.0) for seed in range(3)]
    voxels = torch.from_numpy(np.stack([voxelize(one, grid) for one in complexes]))
    with torch.no_grad():
        expected, features = network({"voxels": voxels}), network.features(voxels)
    fast = FastConvolution(network)
    assert torch.allclose(fast.features(complexes), features, atol=1e-3, rtol=1e-3)
    assert torch.allclose(fast(complexes), expected, atol=2e-2)


@pytest.mark.parametrize(("kernel", "size"), [(7, 23), (5, 12), (7, 5), (3, 26)])
def test_spectral_convolution_equals_the_layer(kernel, size):
    layer = torch.nn.Conv3d(3, 4, kernel, padding=kernel // 2)
    x = torch.randn(2, 3, size, size, size)
    with torch.no_grad():
        assert torch.allclose(_SpectralConvolution(layer)(x), layer(x), atol=1e-5)


def test_head_uses_running_statistics_unless_compat():
    head = Head(6, 4).eval()
    head.normalization.running_mean.fill_(3.0)
    x = torch.randn(2, 6)
    with torch.no_grad():
        assert torch.allclose(head(x)[:1], head(x[:1]), atol=1e-5)
        plain = head.output(torch.relu(head.hidden(x[:1]))).squeeze(-1)
        assert torch.allclose(head(x[:1], compat_single=True), plain)
        assert not torch.allclose(plain, head(x[:1]))
    head.train()
    assert torch.isfinite(head(x[:1])).all()


def test_names_are_a_bijection_both_ways():
    config = HACNetConfig.size("half")
    network = ConvolutionNetwork(config.convolution, config.grid)
    for names, module in (
        (CONVOLUTION_NAMES, network),
        (GRAPH_NAMES, GraphNetwork(GraphConfig())),
        (HEAD_NAMES, Head(8, 4)),
    ):
        state = module.state_dict()
        assert set(names.values()) == set(state) and len(set(names.values())) == len(names)
        back = from_published(to_published(state, names), names, "test")
        assert all(torch.equal(back[name], tensor) for name, tensor in state.items())
    with pytest.raises(ArtifactError, match="missing gate.weight"):
        from_published({}, GRAPH_NAMES, "x.pt")


def test_a_grid_too_small_is_named():
    with pytest.raises(ConfigError, match="too small for convolution"):
        ConvolutionConfig().output_sizes(8)
    with pytest.raises(ConfigError, match="residual"):
        ConvolutionConfig(kernels=(9, 5, 7, 7, 5))
