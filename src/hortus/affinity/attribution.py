"""Which atoms carry the score.

Graph networks: the read-out is a sum over atoms followed by layers that are linear around any one input, so
the sum's gradient times each atom's term splits the output exactly: the atoms' shares and one constant add up
to it.
CNN: gradient times input in the voxel of each atom. The shares of the parts are averaged like the parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hortus.affinity.complexes import Complex, PreparedReceptor
from hortus.affinity.elements import SYMBOLS
from hortus.affinity.graph_network import graph_batch
from hortus.affinity.ligand import Ligand, read_ligands
from hortus.affinity.model import HACNet
from hortus.affinity.prediction import complex_or_reason
from hortus.affinity.receptor import Receptor, read_receptor
from hortus.affinity.voxels import voxel_indices, voxelize
from hortus.artifact import replacing_file

__all__ = ["atom_shares", "attribute_poses", "draw_ligand", "write_shares"]


def atom_shares(model: HACNet, complex: Complex) -> np.ndarray:
    """(N,): what each atom adds to the prediction, in its unit; the rest is a constant of the networks."""
    shares = []
    for part, network in model.networks_.items():
        if part == "cnn":
            shares.append(_voxel_shares(network, complex))
        else:
            shares.append(_graph_shares(network, complex, model.config_.graph.cutoff))
    return np.mean(shares, axis=0)


def _graph_shares(network: Any, complex: Complex, cutoff: float) -> np.ndarray:
    with torch.no_grad():
        terms = network.contributions(graph_batch([complex], cutoff))
    pooled = terms.sum(dim=0, keepdim=True).requires_grad_()
    (gradient,) = torch.autograd.grad(network.output(pooled).sum(), pooled)
    return (terms @ gradient[0]).double().numpy()


def _voxel_shares(network: Any, complex: Complex) -> np.ndarray:
    grid = network.grid
    voxels = torch.from_numpy(voxelize(complex, grid))[None].requires_grad_()
    (gradient,) = torch.autograd.grad(network({"voxels": voxels}).sum(), voxels)
    places = voxel_indices(complex.positions, grid)
    inside = ((places >= 0) & (places < grid.size)).all(axis=1)
    x, y, z = np.clip(places, 0, grid.size - 1).T
    per_atom = (gradient[0].numpy()[:, x, y, z].T * complex.features).sum(axis=1)
    return np.where(inside, per_atom, 0.0).astype(np.float64)


def attribute_poses(model: HACNet, protein: str | Path, ligands: str | Path, folder: Path) -> None:
    """For each pose that can be scored: pose-N.pdb (see `write_shares`) and pose-N.svg (`draw_ligand`)."""
    folder.mkdir(parents=True, exist_ok=True)
    receptor = PreparedReceptor(read_receptor(protein), model.config_.preparation)
    for number, entry in enumerate(read_ligands(ligands), start=1):
        one = complex_or_reason(receptor, entry)
        if isinstance(one, Complex) and isinstance(entry, Ligand):
            shares = atom_shares(model, one)
            write_shares(folder / f"pose-{number}.pdb", one, shares, receptor.receptor, entry)
            drawing = draw_ligand(entry, shares[: one.num_ligand_atoms])
            (folder / f"pose-{number}.svg").write_text(drawing, encoding="utf-8")


def write_shares(
    path: str | Path, complex: Complex, shares: np.ndarray, receptor: Receptor, ligand: Ligand
) -> None:
    """A PDB file of ligand (chain L) and pocket with each atom's share, times 100, in the B-factor column."""
    rows = complex.atom_rows
    places = complex.positions + complex.center
    lines = ["REMARK  B-factors are 100 x each atom's share of the predicted affinity"]
    for i in range(len(complex)):
        row = int(rows[i]) if rows is not None else -1
        if i < complex.num_ligand_atoms:
            symbol = SYMBOLS[int(ligand.molecule.elements[row])]
            name, residue, chain, number = f"{symbol}{i + 1}", "LIG", "L", "   1 "
        else:
            symbol = SYMBOLS[int(receptor.elements[row])]
            chain, label, residue = receptor.residue_labels[receptor.residues[row]].split("/")
            name, chain = str(receptor.atom_names[row]), "P" if chain in ("-", "L") else chain[0]
            number = f"{label:>4} " if label[-1].isdigit() else f"{label[:-1]:>4}{label[-1]}"
        kind = "HETATM" if i < complex.num_ligand_atoms else "ATOM  "
        x, y, z = places[i]
        name = f" {name:<3}" if len(name) < 4 and len(symbol) == 1 else f"{name:<4}"
        bounded = float(np.clip(100 * shares[i], -99.99, 999.99))
        lines.append(
            f"{kind}{(i + 1) % 100000:5d} {name[:4]} {residue[:3]:>3} {chain}{number}   "
            f"{x:8.3f}{y:8.3f}{z:8.3f}  1.00{bounded:6.2f}          {symbol.upper():>2}"
        )
    with replacing_file(path) as temporary:
        temporary.write_text("\n".join([*lines, "END"]) + "\n", encoding="ascii")


def draw_ligand(ligand: Ligand, shares: Sequence[float] | np.ndarray) -> str:
    """An SVG of the ligand in two dimensions: green atoms raise the prediction, red ones lower it.

    Args:
        shares: of the ligand's heavy atoms.
    """
    from rdkit import Chem
    from rdkit.Chem import rdDepictor
    from rdkit.Chem.Draw import rdMolDraw2D

    flat = Chem.RemoveHs(ligand.chemical, sanitize=False)
    rdDepictor.Compute2DCoords(flat)
    values = np.asarray(shares, float)[: flat.GetNumAtoms()]
    scale = max(float(np.abs(values).max(initial=0.0)), 1e-9)
    colors = {}
    for atom, value in enumerate(values):
        strength = float(value / scale)
        pale = 1 - 0.7 * abs(strength)
        colors[atom] = (pale, 1.0, pale) if strength > 0 else (1.0, pale, pale)
    drawer = rdMolDraw2D.MolDraw2DSVG(480, 360)
    options: dict[str, Any] = {
        "highlightAtoms": list(colors),
        "highlightAtomColors": colors,
        "highlightBonds": [],
    }
    drawer.DrawMolecule(rdMolDraw2D.PrepareMolForDrawing(flat, kekulize=False), **options)
    drawer.FinishDrawing()
    svg = drawer.GetDrawingText()
    return str(svg[svg.index("<svg") :])
