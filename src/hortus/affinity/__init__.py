"""The affinity room: HAC-Net, binding affinity from protein-ligand structures.

Names are imported when they are first used; `import hortus.affinity` alone loads neither PyTorch nor RDKit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hortus.affinity.config import (
    ConvolutionConfig,
    GraphConfig,
    GridConfig,
    HACNetConfig,
    PreparationConfig,
)
from hortus.registry import lazy_attributes

if TYPE_CHECKING:
    from hortus.affinity.complexes import Complex, PreparedReceptor, prepare_complex, read_complex
    from hortus.affinity.evaluation import evaluate, score_table
    from hortus.affinity.ligand import Ligand, read_ligand, read_ligands
    from hortus.affinity.model import HACNet
    from hortus.affinity.receptor import Receptor, read_receptor
    from hortus.affinity.store import ComplexStore, prepare_folder

_HOMES = dict.fromkeys(("Complex", "PreparedReceptor", "prepare_complex", "read_complex"), "complexes")
_HOMES |= dict.fromkeys(("Ligand", "read_ligand", "read_ligands"), "ligand")
_HOMES |= dict.fromkeys(("Receptor", "read_receptor"), "receptor")
_HOMES |= dict.fromkeys(("ComplexStore", "prepare_folder"), "store")
_HOMES |= dict.fromkeys(("evaluate", "score_table"), "evaluation")
_HOMES["HACNet"] = "model"

__all__ = [
    "Complex",
    "ComplexStore",
    "ConvolutionConfig",
    "GraphConfig",
    "GridConfig",
    "HACNet",
    "HACNetConfig",
    "Ligand",
    "PreparationConfig",
    "PreparedReceptor",
    "Receptor",
    "evaluate",
    "prepare_complex",
    "prepare_folder",
    "read_complex",
    "read_ligand",
    "read_ligands",
    "read_receptor",
    "score_table",
]

__getattr__ = lazy_attributes(__name__, _HOMES)
