"""The gated graph network of HAC-Net (section 2.4), in plain torch.

Differences from the textbook worth knowing:
- one graph holds ligand and pocket; every pair of atoms within 3.5 Å is joined, covalent or not
- the weight of an edge is its length in Å itself, 1 for the loop of an atom to itself
- each round has its own message matrix; all rounds share one GRU
- the read-out sums over all atoms, each gated by a softmax over its own 128 features
- messages are summed, as the released weights were trained; aggregation="attention" is the paper's text

    N   atoms of all graphs of a batch     E   directed edges, loops included
    B   graphs                             H   width of an atom's state, 20
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numba import njit
from torch import Tensor, nn

from hortus.affinity.complexes import Complex
from hortus.affinity.config import NUM_FEATURES, GraphConfig
from hortus.affinity.neighbors import pairs_within

__all__ = ["GraphNetwork", "graph_arrays", "graph_batch"]

_WIDTH = NUM_FEATURES + 1


def _sparse(batch: dict[str, Tensor], num_atoms: int) -> Tensor:
    """The (N, N) matrix of edge weights, in compressed rows."""
    with warnings.catch_warnings():
        # torch announces once a process that compressed rows are in beta; the results are tested here.
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
        return torch.sparse_csr_tensor(
            batch["row_starts"],
            batch["columns"],
            batch["weights"],
            size=(num_atoms, num_atoms),
            check_invariants=False,
        )


class _SumOverEdges(torch.autograd.Function):
    """(N, H): the weighted sum of neighbours' rows. Its matrix is symmetric, so it is its own gradient."""

    @staticmethod
    def forward(context: Any, matrix: Tensor, rows: Tensor) -> Tensor:
        context.matrix = matrix
        return matrix @ rows

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[None, Tensor]:
        return None, context.matrix @ gradient


class GraphNetwork(nn.Module):
    """Atoms within reach of one another exchange messages; their sum becomes one number a graph.

    >>> network = GraphNetwork(GraphConfig())
    >>> sum(p.numel() for p in network.parameters())
    26850
    """

    def __init__(self, config: GraphConfig):
        super().__init__()
        self.config = config
        width, gather = _WIDTH, config.gather_width
        self.messages = nn.Parameter(torch.empty(config.steps, width, width))
        self.gru = nn.GRUCell(width, width)
        self.gate_hidden = nn.Linear(2 * width, width)
        self.gate = nn.Linear(width, gather)
        self.values = nn.Linear(width, gather)
        self.output = nn.Sequential(
            *(nn.Linear(gather, int(gather / 1.5)), nn.ReLU()),
            *(nn.Linear(int(gather / 1.5), gather // 2), nn.ReLU()),
            nn.Linear(gather // 2, 1),
        )
        if config.aggregation == "attention":
            self.attention = nn.Sequential(
                *(nn.Linear(width, width // 2), nn.Softsign()),
                *(nn.Linear(width // 2, width // 4), nn.Softsign()),
                nn.Linear(width // 4, 1),
            )
        nn.init.uniform_(self.messages, -(width**-0.5), width**-0.5)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """(B,) outputs of a batch made by `graph_batch`."""
        per_atom = self.contributions(batch)
        pooled = per_atom.new_zeros(int(batch["num_graphs"]), per_atom.shape[1])
        pooled = pooled.index_add(0, batch["graph"], per_atom)
        return self.output(pooled).squeeze(-1)

    def contributions(self, batch: dict[str, Tensor]) -> Tensor:
        """(N, gather width): what each atom adds to the pooled vector of its graph."""
        start = batch["atoms"]
        state = self.propagate(start, batch)
        gate = F.softsign(self.gate(F.softsign(self.gate_hidden(torch.cat([state, start], dim=1)))))
        return torch.softmax(gate, dim=1) * F.softsign(self.values(start))

    def propagate(self, state: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """(N, H) states after all rounds of messages."""
        # A matrix product in reduced precision would lose what the distances say: messages stay in float32.
        with torch.autocast(state.device.type, enabled=False):
            matrix = _sparse(batch, len(state))
            for step in range(self.config.steps):
                message = state @ self.messages[step]
                if self.config.aggregation == "sum":
                    received = _SumOverEdges.apply(matrix, message)
                else:
                    received = self._attend(message, batch)
                state = self.gru(received, state)
        return state

    def _attend(self, message: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """(N, H): the softmax, over an atom's edges, of a score of each weighted message."""
        starts, columns, weights = batch["row_starts"], batch["columns"], batch["weights"]
        rows = torch.repeat_interleave(torch.arange(len(message), device=message.device), starts.diff())
        along = message[columns] * weights[:, None]  # (E, H)
        scores = self.attention(along).squeeze(-1)
        largest = torch.full_like(message[:, 0], -torch.inf).scatter_reduce(0, rows, scores, "amax")
        shares = torch.exp(scores - largest[rows])
        total = torch.zeros_like(message[:, 0]).index_add(0, rows, shares)
        return torch.zeros_like(message).index_add(0, rows, along * (shares / total[rows])[:, None])


def graph_arrays(positions: np.ndarray, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row starts (N + 1,), columns (E,) and weights (E,) of the neighbours of each atom, its loop first.

    Args:
        positions: (N, 3) in Å.

    >>> graph_arrays(np.array([[0.0, 0, 0], [3, 0, 0], [9, 0, 0]]), 3.5)[2].tolist()
    [1.0, 3.0, 1.0, 3.0, 1.0]
    """
    # Distances are taken in float32, as the published graphs were, so that the cutoff falls alike.
    pairs, distances = pairs_within(positions, cutoff + 1e-4)
    return _edges(pairs, distances.astype(np.float32), np.float32(cutoff), len(positions))


@njit(cache=True)
def _edges(pairs, distances, cutoff, num_atoms):  # type: ignore[no-untyped-def]
    starts = np.zeros(num_atoms + 1, np.int64)
    starts[1:] = 1
    for p in range(len(pairs)):
        if distances[p] <= cutoff:
            starts[pairs[p, 0] + 1] += 1
            starts[pairs[p, 1] + 1] += 1
    starts = np.cumsum(starts)
    columns, weights = np.empty(starts[-1], np.int64), np.empty(starts[-1], np.float32)
    columns[starts[:-1]], weights[starts[:-1]] = np.arange(num_atoms), 1.0
    filled = starts[:-1] + 1
    for p in range(len(pairs)):
        if distances[p] <= cutoff:
            for side in range(2):
                here = pairs[p, side]
                columns[filled[here]], weights[filled[here]] = pairs[p, 1 - side], distances[p]
                filled[here] += 1
    return starts, columns, weights


def graph_batch(complexes: Sequence[Complex], cutoff: float = 3.5) -> dict[str, Tensor]:
    """One batch of graphs, as `GraphNetwork` reads it.

    >>> atoms = Complex("two atoms", np.eye(3, dtype="f4")[:2], np.zeros((2, 19), "f4"), np.ones(2, "f4"), 1)
    >>> {name: tuple(tensor.shape) for name, tensor in graph_batch([atoms]).items()}
    {'atoms': (2, 20), 'graph': (2,), 'row_starts': (3,), 'columns': (4,), 'weights': (4,), 'num_graphs': ()}
    """
    starts, columns, weights = [np.zeros(1, np.int64)], [], []
    atoms = edges = 0
    for one in complexes:
        rows, others, lengths = graph_arrays(one.positions, cutoff)
        starts.append(rows[1:] + edges)
        columns.append(others + atoms)
        weights.append(lengths)
        atoms, edges = atoms + len(one), edges + len(lengths)
    sizes = [len(one) for one in complexes]
    return {
        "atoms": torch.from_numpy(np.concatenate([one.graph_features for one in complexes])),
        "graph": torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)),
        "row_starts": torch.from_numpy(np.concatenate(starts)),
        "columns": torch.from_numpy(np.concatenate(columns)),
        "weights": torch.from_numpy(np.concatenate(weights)),
        "num_graphs": torch.tensor(len(sizes)),
    }
