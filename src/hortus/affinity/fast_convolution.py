"""The 3D-CNN for prediction, several times faster than its layers one by one and equal to them in float32.

Where 95 GFLOP a complex go, and what is done instead:
- first layer (22 GFLOP): its input is almost all zeros, so each occupied voxel is added to the outputs that
  it reaches
- the two 7³ layers (34 GFLOP each): as products of Fourier transforms of overlapping tiles; a tile of 12³
  outputs needs 18³ points, and all tiles of a batch share one small matrix a frequency
- batch normalisation after the ReLU stays a scale and a shift

    B batch     C channels     T tiles     K frequencies of a tile
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numba import njit, prange
from torch import Tensor, nn

from hortus.affinity.complexes import Complex
from hortus.affinity.convolution import ConvolutionNetwork
from hortus.affinity.voxels import voxel_indices

__all__ = ["FastConvolution"]

_TILE = 12


@njit(cache=True, parallel=True, fastmath={"reassoc", "contract"})
def _scatter(indices, features, starts, weight, stride, padding, size, out):  # type: ignore[no-untyped-def]
    """out (B, D, W, Z, C) += what each occupied voxel sends through a strided convolution.

    weight is (kernel, kernel, kernel, channels in, C).
    """
    kernel, reach = weight.shape[0], out.shape[1]
    for b in prange(len(starts) - 1):
        for atom in range(starts[b], starts[b + 1]):
            x, y, z = indices[atom]
            if not (0 <= x < size and 0 <= y < size and 0 <= z < size):
                continue
            x, y, z = x + padding, y + padding, z + padding
            for i in range(max((x - kernel) // stride + 1, 0), min(x // stride + 1, reach)):
                for j in range(max((y - kernel) // stride + 1, 0), min(y // stride + 1, reach)):
                    for k in range(max((z - kernel) // stride + 1, 0), min(z // stride + 1, reach)):
                        tap = weight[x - stride * i, y - stride * j, z - stride * k]
                        target = out[b, i, j, k]
                        for channel in range(features.shape[1]):
                            value = features[atom, channel]
                            if value != 0:
                                row = tap[channel]
                                for c in range(target.shape[0]):
                                    target[c] += value * row[c]


class _SpectralConvolution:
    """A stride-1, same-size convolution by Fourier transforms of tiles."""

    def __init__(self, layer: nn.Conv3d):
        kernel = layer.kernel_size[0]
        self.padding, self.points = kernel // 2, _TILE + kernel - 1
        spectrum = torch.fft.rfftn(layer.weight, s=(self.points,) * 3, dim=(2, 3, 4))
        # A convolution layer correlates: the kernel's spectrum enters conjugated. (K, C out, C in)
        self.spectrum = spectrum.conj().flatten(2).permute(2, 0, 1).contiguous()
        self.bias: Any = layer.bias

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, S, S, S) to the same shape."""
        batch, channels, size = x.shape[:3]
        tiles = -(-size // _TILE)
        after = tiles * _TILE + self.points - _TILE - size - self.padding
        x = F.pad(x, (self.padding, after) * 3)
        for axis in (2, 3, 4):
            x = x.unfold(axis, self.points, _TILE)
        spectrum = torch.fft.rfftn(x, dim=(5, 6, 7))  # (B, C, t, t, t, n, n, n/2 + 1)
        shape = spectrum.shape[5:]
        columns = spectrum.reshape(batch, channels, tiles**3, -1).permute(3, 1, 0, 2)
        product = torch.bmm(self.spectrum, columns.reshape(len(columns), channels, -1))
        outputs = product.shape[1]
        product = product.reshape(-1, outputs, batch, tiles**3).permute(2, 1, 3, 0)
        product = product.reshape(batch, outputs, tiles, tiles, tiles, *shape)
        y = torch.fft.irfftn(product, s=(self.points,) * 3, dim=(5, 6, 7))[..., :_TILE, :_TILE, :_TILE]
        y = y.permute(0, 1, 2, 5, 3, 6, 4, 7).reshape(batch, outputs, *(tiles * _TILE,) * 3)
        return y[..., :size, :size, :size] + self.bias[:, None, None, None]


class FastConvolution:
    """A trained ConvolutionNetwork, arranged for prediction on the CPU.

    The network must not change afterwards: its weights are transformed once, here.

    Args:
        network: in evaluation mode.

    >>> from hortus.affinity.config import ConvolutionConfig, HACNetConfig
    >>> config = HACNetConfig.size("half")
    >>> network = ConvolutionNetwork(config.convolution, config.grid).eval()
    >>> atoms = np.random.default_rng(0).normal(size=(40, 22)).astype("f4")
    >>> one = Complex("random", 6 * atoms[:, :3], atoms[:, 3:], np.ones(40, "f4"), 20)
    >>> FastConvolution(network)([one]).shape
    torch.Size([1])
    """

    def __init__(self, network: ConvolutionNetwork):
        self.network: Any = network
        blocks: Any = network.blocks
        first = blocks[0].convolution
        self._first = np.ascontiguousarray(first.weight.detach().permute(2, 3, 4, 1, 0).numpy())
        with torch.no_grad():
            self._layers = [self._arranged(blocks[i].convolution) for i in (1, 2)]

    @staticmethod
    def _arranged(layer: nn.Conv3d) -> _SpectralConvolution | nn.Conv3d:
        # Small kernels cost less done directly than transformed.
        return _SpectralConvolution(layer) if layer.kernel_size[0] >= 5 else layer

    @torch.no_grad()
    def __call__(self, complexes: Sequence[Complex], compat_single: bool = False) -> Tensor:
        """(B,) outputs."""
        return self.network.head(self.features(complexes), compat_single)

    @torch.no_grad()
    def features(self, complexes: Sequence[Complex]) -> Tensor:
        """(B, F): what ConvolutionNetwork.features gives for the voxels of these complexes."""
        network = self.network
        start = network.excitations[0](self._first_block(complexes))
        x = self._block(1, start) + start
        x = self._block(2, x) + start
        x = network.pool(network.excitations[1](network.blocks[3](x)))
        return network.excitations[2](network.blocks[4](x)).flatten(1)

    def _block(self, number: int, x: Tensor) -> Tensor:
        block = self.network.blocks[number]
        return block.normalization(self._layers[number - 1](x).relu_())

    def _first_block(self, complexes: Sequence[Complex]) -> Tensor:
        network, block = self.network, self.network.blocks[0]
        grid, config = network.grid, network.config
        size = config.output_sizes(grid.size)[0]
        channels = self._first.shape[-1]
        out = np.zeros((len(complexes), size, size, size, channels), np.float32)
        starts = np.cumsum([0, *(len(one) for one in complexes)])
        indices = np.concatenate([voxel_indices(one.positions, grid) for one in complexes])
        rows = np.concatenate([one.features for one in complexes])
        _scatter(indices, rows, starts, self._first, config.strides[0], config.paddings[0], grid.size, out)
        x = torch.from_numpy(out).permute(0, 4, 1, 2, 3).contiguous()
        x += block.convolution.bias[:, None, None, None]
        return block.normalization(x.relu_())
