"""HAC-Net here against the official path: features, voxels, graph networks, 3D-CNN.

    python benchmarks/affinity.py --data PDBBIND_FOLDER                 # every row, about two minutes
    python benchmarks/affinity.py --data PDBBIND_FOLDER --rows cnn gcn

Run it in an environment that holds hortus and benchmarks/peers/affinity.txt; a row whose peer is not
installed is left out. Both sides of a row see the same complexes and the same weights, take turns, and the
median of the rounds counts.

features  files to 19 features. Peer: the official path without its web charge service and PyMOL's
          hydrogens: biopandas reads the protein, the pocket is cut atom by atom, Open Babel reads pocket and
          ligand, then atoms and SMARTS one by one. Ours leaves the charges out too. "features, pocket given"
          leaves the cut out of the peer.
voxels    atoms to 19 x 48³. Peer: a NumPy loop over atoms.
gcn       both GCNs, one complex at a time and eight at a time, edges included. Peer: torch-geometric's
          GatedGraphConv; the official code makes the edges from a dense distance matrix, for each GCN anew.
cnn       the full 3D-CNN, eight complexes at a time, voxels included. Peer: the same layers in plain float32.
memory    (only when named) peak memory of preparing 3,000 complexes into a store; it must not grow.

Results go to benchmarks/results/affinity.json.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hortus.affinity.complexes import Complex, read_complex
from hortus.affinity.config import GraphConfig, GridConfig, HACNetConfig, PreparationConfig
from hortus.affinity.convolution import ConvolutionNetwork
from hortus.affinity.fast_convolution import FastConvolution
from hortus.affinity.graph_network import GraphNetwork, graph_batch
from hortus.affinity.store import ComplexFiles, find_complexes, prepare_folder
from hortus.affinity.voxels import voxelize
from hortus.device import describe_machine
from hortus.errors import HortusError

RESULTS = Path(__file__).parent / "results" / "affinity.json"
TARGETS = {
    "features": 10.0,
    "features, pocket given": 10.0,
    "voxels": 10.0,
    "gcn": 3.0,
    "gcn, batches of 8": 3.0,
    "cnn": 2.0,
}


def median_seconds(sides: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each side; the sides take turns, after one round that does not count."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, run in sides.items():
            began = time.perf_counter()
            run()
            if number:
                times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def features_rows(files: Sequence[ComplexFiles]) -> dict[str, dict[str, float]]:
    from biopandas.mol2 import PandasMol2
    from biopandas.pdb import PandasPdb
    from openbabel import openbabel, pybel

    openbabel.obErrorLog.SetOutputLevel(0)
    patterns = [
        pybel.Smarts(text)
        for text in (
            "[#6+0!$(*~[#7,#8,F]),SH0+0v2,s+0,S^3,Cl+0,Br+0,I+0]",
            "[a]",
            "[!$([#1,#6,F,Cl,Br,I,o,s,nX3,#7v5,#15v5,#16v4,#16v6,*+1,*+2,*+3])]",
            "[!$([#6,H0,-,-2,-3]),$([!H0;#7,#8,#9])]",
            "[r]",
        )
    ]

    def featurize(path: Path, code: int) -> np.ndarray:
        molecule = next(pybel.readfile(path.suffix[1:], str(path)))
        rows = []
        matches = np.zeros((len(molecule.atoms), len(patterns)))
        for column, pattern in enumerate(patterns):
            for match in pattern.findall(molecule):
                matches[match[0] - 1, column] = 1
        for atom, flags in zip(molecule.atoms, matches, strict=True):
            if atom.atomicnum > 1:
                inner = atom.OBAtom
                degrees = [inner.GetHyb(), inner.GetHvyDegree(), inner.GetHeteroDegree()]
                rows.append([*atom.coords, *degrees, atom.partialcharge, code, *flags])
        return np.array(rows)

    def cut(one: ComplexFiles, target: Path) -> Path:
        """Keep a residue with an atom within 8 Å of a heavy ligand atom: every pair, as officially done."""
        protein, ligand = PandasPdb().read_pdb(str(one.receptor)), PandasMol2().read_mol2(str(one.ligand)).df
        heavy = list(ligand[ligand["atom_type"] != "H"][["x", "y", "z"]].to_dict("index").values())
        for kind in ("ATOM", "HETATM"):
            frame = protein.df[kind].reset_index(drop=True)
            residues = set()
            for atom in frame.to_dict("index").values():
                for other in heavy:
                    steps = [atom[f"{axis}_coord"] - other[axis] for axis in "xyz"]
                    if np.sqrt(steps[0] ** 2 + steps[1] ** 2 + steps[2] ** 2) <= 8:
                        residues.add((atom["chain_id"], atom["residue_number"], atom["insertion"]))
                        break
            keys = zip(frame["chain_id"], frame["residue_number"], frame["insertion"], strict=True)
            protein.df[kind] = frame[[key in residues for key in keys]]
        protein.to_pdb(str(target))
        return target

    settings = PreparationConfig(receptor_charges="zero", ligand_charges="zero")

    def ours() -> None:
        for one in files:
            read_complex(one.receptor, one.ligand, settings)

    def peer() -> None:
        for one in files:
            featurize(one.ligand, 1), featurize(one.receptor, -1)

    def peer_with_cut() -> None:
        with tempfile.TemporaryDirectory() as folder:
            for one in files:
                featurize(one.ligand, 1), featurize(cut(one, Path(folder) / "pocket.pdb"), -1)

    times = median_seconds({"ours": ours, "peer": peer, "with cut": peer_with_cut}, rounds=3)
    return {
        "features": {"ours": times["ours"], "peer": times["with cut"]},
        "features, pocket given": {"ours": times["ours"], "peer": times["peer"]},
    }


def voxels_row(complexes: Sequence[Complex]) -> dict[str, float]:
    grid = GridConfig()

    def loop(one: Complex) -> np.ndarray:
        box = np.zeros((19, 48, 48, 48), np.float32)
        low = (one.positions.min(axis=0) + one.positions.max(axis=0)) / 2 - 24
        for position, row in zip(one.positions, one.features, strict=True):
            x, y, z = np.floor(position - low).astype(int)
            if 0 <= x < 48 and 0 <= y < 48 and 0 <= z < 48:
                box[:, x, y, z] += row
        return box

    box = np.zeros((19, 48, 48, 48), np.float32)

    def ours() -> None:
        for one in complexes:
            voxelize(one, grid, out=box)

    return median_seconds({"ours": ours, "peer": lambda: [loop(one) for one in complexes]}, rounds=5)


def peer_graph_network(ours: GraphNetwork) -> Callable[[Sequence[Complex]], torch.Tensor]:
    """The official network on torch-geometric, with our weights."""
    from torch_geometric.data import Batch, Data
    from torch_geometric.nn import GatedGraphConv, global_add_pool
    from torch_geometric.utils import add_self_loops, dense_to_sparse

    gate = GatedGraphConv(20, ours.config.steps)
    weights = {f"rnn.{name}": tensor for name, tensor in ours.gru.state_dict().items()}
    gate.load_state_dict({"weight": ours.messages.detach(), **weights})

    def data_of(one: Complex) -> Data:
        positions = torch.from_numpy(one.positions)
        distances = torch.cdist(positions, positions, compute_mode="donot_use_mm_for_euclid_dist")
        index, lengths = dense_to_sparse(distances)
        return Data(x=torch.from_numpy(one.graph_features), edge_index=index, edge_attr=lengths)

    @torch.no_grad()
    def run(complexes: Sequence[Complex]) -> torch.Tensor:
        batch = Batch.from_data_list([data_of(one) for one in complexes])
        index, lengths = add_self_loops(batch.edge_index, batch.edge_attr.view(-1))
        near = lengths <= 3.5
        state = gate(batch.x, index[:, near], lengths[near])
        soft = torch.nn.functional.softsign
        hidden = soft(ours.gate_hidden(torch.cat([state, batch.x], dim=1)))
        terms = torch.softmax(soft(ours.gate(hidden)), dim=1) * soft(ours.values(batch.x))
        return ours.output(global_add_pool(terms, batch.batch)).squeeze(-1)

    return run


def gcn_rows(complexes: Sequence[Complex]) -> dict[str, dict[str, float]]:
    networks = [GraphNetwork(GraphConfig()).eval() for _ in range(2)]
    peers = [peer_graph_network(network) for network in networks]

    @torch.no_grad()
    def ours(batch: Sequence[Complex]) -> list[torch.Tensor]:
        graph = graph_batch(batch)
        return [network(graph) for network in networks]

    def peer(batch: Sequence[Complex]) -> list[torch.Tensor]:
        return [run(batch) for run in peers]

    pairs = zip(ours(complexes[:8]), peer(complexes[:8]), strict=True)
    difference = max(float((a - b).abs().max()) for a, b in pairs)
    result = {}
    for name, size in (("gcn", 1), ("gcn, batches of 8", 8)):
        batches = [complexes[i : i + size] for i in range(0, len(complexes), size)]
        times = median_seconds(
            {
                "ours": lambda batches=batches: [ours(batch) for batch in batches],  # type: ignore[misc]
                "peer": lambda batches=batches: [peer(batch) for batch in batches],  # type: ignore[misc]
            },
            rounds=5,
        )
        result[name] = {**times, "largest difference": difference}
    return result


def cnn_row(complexes: Sequence[Complex]) -> dict[str, float]:
    config = HACNetConfig()
    torch.manual_seed(0)
    network = ConvolutionNetwork(config.convolution, config.grid)
    network.head.output.weight.data.mul_(0.1)
    batch = complexes[:8]

    def voxels() -> dict[str, torch.Tensor]:
        return {"voxels": torch.from_numpy(np.stack([voxelize(one, config.grid) for one in batch]))}

    with torch.no_grad():
        # One pass in training mode gives batch normalisation statistics like those of a trained network.
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm3d):
                module.momentum = 1.0
        network.train()(voxels())
        network.eval()
        fast = FastConvolution(network)
        times = median_seconds({"ours": lambda: fast(batch), "peer": lambda: network(voxels())}, rounds=3)
        difference = float((fast(batch) - network(voxels())).abs().max())
        spread = float(network(voxels()).std())
    return {**times, "largest difference": difference, "standard deviation of outputs": spread}


def prepared(files: Sequence[ComplexFiles]) -> list[Complex]:
    complexes = []
    for one in files:
        try:
            complexes.append(read_complex(one.receptor, one.ligand, PreparationConfig(), one.name))
        except HortusError as error:
            print(f"left out {one.name}: {error}")
    return complexes


def memory_row(files: Sequence[ComplexFiles], number: int = 3000) -> dict[str, Any]:
    """Peak memory while `number` complexes, the same files again and again, are prepared in this process."""
    peaks: list[int] = []
    repeated = [replace(files[i % len(files)], name=f"{i}") for i in range(number)]

    def note(name: str, skipped: int) -> None:
        if (int(name) + 1) % 500 == 0:
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)

    with tempfile.TemporaryDirectory() as folder:
        prepare_folder(repeated, folder, PreparationConfig(), progress=note)
    return {"complexes": number, "peak MiB after each 500": peaks}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="PDBbind-style folder")
    parser.add_argument("--rows", nargs="+", default=["features", "voxels", "gcn", "cnn"])
    parser.add_argument("--number", type=int, default=24, help="complexes, evenly spaced in the folder")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    files = find_complexes(arguments.data)
    files = files[:: max(len(files) // arguments.number, 1)][: arguments.number]
    complexes = prepared(files)
    names = {one.name for one in complexes}
    files = [one for one in files if one.name in names]
    rows: dict[str, dict[str, Any]] = {}
    for name in arguments.rows:
        try:
            if name == "features":
                rows |= features_rows(files)
            elif name == "voxels":
                rows[name] = voxels_row(complexes)
            elif name == "gcn":
                rows |= gcn_rows(complexes)
            elif name == "cnn":
                rows[name] = cnn_row(complexes)
            elif name == "memory":
                rows[name] = memory_row(files)
        except ModuleNotFoundError as error:
            print(f"{name}: left out, {error.name} is not installed")
    stored = json.loads(RESULTS.read_text())["rows"] if RESULTS.is_file() else {}
    for name, row in rows.items():
        if name == "memory":
            print(f"memory: {row}")
            continue
        number = 8 if name == "cnn" else len(complexes)
        row |= {"complexes": number, "ratio": row["peer"] / row["ours"], "target": TARGETS.get(name)}
        print(f"{name}: {1e3 * row['ours'] / number:.2f} ms a complex, {row['ratio']:.1f} x the peer")
    RESULTS.parent.mkdir(exist_ok=True)
    machine = describe_machine()
    RESULTS.write_text(json.dumps({"machine": machine, "rows": {**stored, **rows}}, indent=2) + "\n")


if __name__ == "__main__":
    main()
