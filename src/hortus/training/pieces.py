"""The local piece of a tensor that lies on many processes, and the way back."""

from __future__ import annotations

from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

__all__ = ["cut_axes", "cut_like", "local_piece", "placed_like"]


def local_piece(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor, sharing its memory; a plain tensor is all its own."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def placed_like(whole: Tensor, piece: Tensor) -> Tensor:
    """A piece as the distributed tensor that it is a part of, placed as `whole` is.

    What has another shape than the local piece of `whole` (a counter) is returned as it is.
    """
    if not isinstance(whole, DTensor) or piece.shape != local_piece(whole).shape:
        return piece
    return DTensor.from_local(
        piece,
        whole.device_mesh,
        whole.placements,
        run_check=False,
        shape=whole.shape,
        stride=whole.stride(),
    )


def cut_like(whole: Tensor | None, tensor: Tensor) -> Tensor:
    """The piece of a plain tensor that this process holds of `whole`, which has the same shape."""
    if not isinstance(whole, DTensor) or tensor.shape != whole.shape:
        return tensor
    shape, offset = compute_local_shape_and_global_offset(whole.shape, whole.device_mesh, whole.placements)
    for dimension, (start, length) in enumerate(zip(offset, shape, strict=True)):
        tensor = tensor.narrow(dimension, start if length else 0, length)
    return tensor


def cut_axes(tensor: Tensor) -> tuple[str, ...]:
    """Names of the mesh's axes along which the tensor is cut; none for what every process holds whole."""
    if not isinstance(tensor, DTensor):
        return ()
    names = tensor.device_mesh.mesh_dim_names or ()
    return tuple(
        name for name, placement in zip(names, tensor.placements, strict=True) if not placement.is_replicate()
    )
