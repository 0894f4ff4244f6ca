"""The published checkpoints: names of their tensors and ours, read without running their code, as networks.

The GCN files hold twelve tensors of a gate that was never connected: they kept their first random values, the
same in both files, and are left out. Every other tensor has one place here, both ways.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from hortus.affinity.config import HACNetConfig, PreparationConfig
from hortus.affinity.networks import build_networks, load_checked
from hortus.errors import ArtifactError, ConfigError

__all__ = [
    "CONVOLUTION_NAMES",
    "GRAPH_NAMES",
    "HEAD_NAMES",
    "from_published",
    "published_networks",
    "read_checkpoint",
    "to_published",
]

GRAPH_NAMES = {
    "gate.weight": "messages",
    "gate.rnn.weight_ih": "gru.weight_ih",
    "gate.rnn.weight_hh": "gru.weight_hh",
    "gate.rnn.bias_ih": "gru.bias_ih",
    "gate.rnn.bias_hh": "gru.bias_hh",
    **{f"attn_net_i.0.{kind}": f"gate_hidden.{kind}" for kind in ("weight", "bias")},
    **{f"attn_net_i.2.{kind}": f"gate.{kind}" for kind in ("weight", "bias")},
    **{f"attn_net_j.0.{kind}": f"values.{kind}" for kind in ("weight", "bias")},
    **{
        f"output.{layer}.{kind}": f"output.{layer}.{kind}"
        for layer in (0, 2, 4)
        for kind in ("weight", "bias")
    },
}
_DEAD = ("gate_net.", "attn_aggr.")
_STATISTICS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_BLOCKS = {"conv_block1": "blocks.0", "res_block1": "blocks.1", "res_block2": "blocks.2"}
_BLOCKS |= {"conv_block2": "blocks.3", "conv_block3": "blocks.4"}
_EXCITATIONS = {"se_block1": "excitations.0", "se_block2": "excitations.1", "se_block3": "excitations.2"}
CONVOLUTION_NAMES = {
    **{f"{a}.0.{kind}": f"{b}.convolution.{kind}" for a, b in _BLOCKS.items() for kind in ("weight", "bias")},
    **{f"{a}.2.{kind}": f"{b}.normalization.{kind}" for a, b in _BLOCKS.items() for kind in _STATISTICS},
    **{f"{a}.2.weight": f"{b}.squeeze.weight" for a, b in _EXCITATIONS.items()},
    **{f"{a}.4.weight": f"{b}.excite.weight" for a, b in _EXCITATIONS.items()},
    **{f"linear1.{kind}": f"head.hidden.{kind}" for kind in ("weight", "bias")},
    **{f"linear1_bn.{kind}": f"head.normalization.{kind}" for kind in _STATISTICS},
    **{f"linear2.{kind}": f"head.output.{kind}" for kind in ("weight", "bias")},
}
HEAD_NAMES = {
    **{f"fc1.{kind}": f"hidden.{kind}" for kind in ("weight", "bias")},
    **{f"fc1_bn.{kind}": f"normalization.{kind}" for kind in _STATISTICS},
    **{f"fc2.{kind}": f"output.{kind}" for kind in ("weight", "bias")},
}


def from_published(tensors: Mapping[str, Tensor], names: Mapping[str, str], where: str) -> dict[str, Tensor]:
    """A published state dict under our names.

    Raises:
        ArtifactError: a tensor is missing or unknown.
    """
    plain = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    plain = {name: tensor for name, tensor in plain.items() if not name.startswith(_DEAD)}
    missing = [name for name in names if name not in plain]
    extra = [name for name in plain if name not in names]
    if missing or extra:
        listed = [*(f"missing {name}" for name in missing), *(f"unknown {name}" for name in extra)]
        raise ArtifactError(
            f"{where} is not the published network: {', '.join(listed[:10])}",
            do="give the GCN file as --gcn, the MLP file as --mlp, the CNN file as --cnn",
        )
    return {names[name]: tensor for name, tensor in plain.items()}


def to_published(tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """Our state dict under the published names, without the dead ones; the inverse of `from_published`."""
    back = {ours: theirs for theirs, ours in names.items()}
    return {back[name]: tensor for name, tensor in tensors.items()}


# A pickle that slips past the allow-list can harm only this child, which has nothing but the file's path.
_READER = """
import sys, warnings
warnings.simplefilter("ignore")
import numpy, torch
from numpy._core import multiarray
from safetensors.torch import save_file
import _codecs
names = [(multiarray.scalar, "numpy.core.multiarray.scalar"),
         (multiarray._reconstruct, "numpy.core.multiarray._reconstruct"),
         numpy.ndarray, numpy.dtype, _codecs.encode,
         *(type(numpy.dtype(kind)) for kind in ("f4", "f8", "i4", "i8"))]
with torch.serialization.safe_globals(names):
    found = torch.load(sys.argv[1], weights_only=True, map_location="cpu")
found = found.get("model_state_dict", found)
tensors = {str(k): v.detach().clone().contiguous() for k, v in found.items() if isinstance(v, torch.Tensor)}
save_file(tensors, sys.argv[2])
"""


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a published .pt file, read with weights_only and an allow-list, in a process of its own.

    Raises:
        ArtifactError: no such file, or not a checkpoint of plain tensors.
    """
    from safetensors.torch import load_file

    path = Path(path)
    if not path.is_file():
        raise ArtifactError(f"{path} is not a file", do="give the published .pt file")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "tensors.safetensors"
        command = [sys.executable, "-I", "-c", _READER, str(path.resolve()), str(target)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode or not target.is_file():
            lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no tensors"]
            raise ArtifactError(
                f"{path} can't be read as plain tensors: {lines[-1].strip()[:200]}",
                do="give a checkpoint written by torch.save that holds tensors and NumPy numbers only",
            )
        return load_file(str(target))


def published_networks(
    graph_files: Sequence[str | Path], cnn: str | Path | None, mlp: str | Path | None
) -> tuple[HACNetConfig, dict[str, Any]]:
    """The configuration and the networks of the checkpoint files, as `HACNet.from_published` says."""
    if mlp is not None and cnn is None:
        raise ConfigError("the MLP file is the CNN's read-out", do="give the CNN file too, or leave it out")
    parts = (["cnn"] if cnn else []) + [f"gcn{i}" for i in range(len(graph_files))]
    if not parts:
        raise ConfigError("no checkpoint is named", allowed="--gcn FILE (twice), --cnn FILE, --mlp FILE")
    notes = ["Converted from the published checkpoints (MIT licence)."]
    if graph_files:
        notes.append("The GCN checkpoints were selected on the 2016 core set itself.")
    if cnn is None:
        notes.append("GCN only; its checkpoint was selected on the core set.")
    preparation = PreparationConfig.preset("hacnet")
    config = HACNetConfig(parts=tuple(parts), preparation=preparation, notes=tuple(notes))
    networks = build_networks(config)
    places = [(networks[f"gcn{i}"], GRAPH_NAMES, path) for i, path in enumerate(graph_files)]
    places += [(networks["cnn"], CONVOLUTION_NAMES, cnn)] if cnn else []
    places += [(networks["cnn"].head, HEAD_NAMES, mlp)] if mlp else []
    for network, names, path in places:
        load_checked(network, from_published(read_checkpoint(path), names, str(path)), path)
    return config, networks
