"""The 3D-CNN of HAC-Net (section 2.3): five convolutions with squeeze-and-excitation, and a small read-out.

Differences from a textbook residual network worth knowing:
- in a block, batch normalisation comes after the ReLU
- the second skip adds the same tensor as the first, not the output of the first
- the first layer gives 23³ from 48³, not 24³: kernel 9, stride 2, padding 3
- batch normalisation always uses its running statistics in evaluation; the official code skips that of the
  read-out for a single complex, which changes the answer and is only done by `compat_single`

    B batch     C channels     D, W, Z voxels along the axes     F flattened features, 2048
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hortus.affinity.config import NUM_FEATURES, ConvolutionConfig, GridConfig

__all__ = ["ConvolutionNetwork", "Head"]


class Block(nn.Module):
    """Convolution, ReLU, batch normalisation."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, padding: int):
        super().__init__()
        self.convolution = nn.Conv3d(channels_in, channels_out, kernel, stride, padding)
        self.normalization = nn.BatchNorm3d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.normalization(torch.relu(self.convolution(x)))


class Excitation(nn.Module):
    """Squeeze-and-excitation: scale each channel by a gate made from the means of all."""

    def __init__(self, channels: int):
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // 16, bias=False)
        self.excite = nn.Linear(channels // 16, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean(dim=(2, 3, 4))
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(means))))
        return x * gate[:, :, None, None, None]


class Head(nn.Module):
    """The read-out: (B, F) to (B,). Trained a second time on the frozen network's features.

    >>> Head(2048, 100)(torch.zeros(3, 2048)).shape
    torch.Size([3])
    """

    def __init__(self, features: int, width: int, momentum: float = 0.1, deviation: float = 1.0):
        super().__init__()
        self.hidden = nn.Linear(features, width)
        self.normalization = nn.BatchNorm1d(width, momentum=momentum)
        self.output = nn.Linear(width, 1)
        nn.init.normal_(self.hidden.weight, std=deviation)
        nn.init.normal_(self.output.weight, std=deviation)

    def forward(self, features: Tensor, compat_single: bool = False) -> Tensor:
        """(B,) outputs. `compat_single` leaves out the normalisation where B is 1, as the official code does.

        In training a batch of one has no statistics of its own: the running ones are used.
        """
        hidden = torch.relu(self.hidden(features))
        if len(hidden) > 1 or not (compat_single or self.training):
            hidden = self.normalization(hidden)
        elif not compat_single:
            norm = self.normalization
            hidden = nn.functional.batch_norm(
                hidden, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
            )
        return self.output(hidden).squeeze(-1)


class ConvolutionNetwork(nn.Module):
    """Voxels (B, 19, D, W, Z) to (B,).

    >>> network = ConvolutionNetwork(ConvolutionConfig(), GridConfig())
    >>> sum(p.numel() for p in network.parameters()), sum(p.numel() for p in network.head.parameters())
    (10819857, 205201)
    """

    def __init__(self, config: ConvolutionConfig, grid: GridConfig):
        super().__init__()
        self.config, self.grid = config, grid
        wide, wider, widest = config.channels
        channels = [NUM_FEATURES, wide, wide, wide, wider, widest]
        shapes = zip(channels, channels[1:], config.kernels, config.strides, config.paddings, strict=False)
        self.blocks = nn.ModuleList(Block(*shape) for shape in shapes)
        self.excitations = nn.ModuleList(Excitation(count) for count in config.channels)
        self.pool = nn.MaxPool3d(2)
        self.num_features = widest * config.output_sizes(grid.size)[-1] ** 3
        self.head = Head(self.num_features, config.head_width, deviation=config.head_deviation)

    def forward(self, batch: dict[str, Tensor], compat_single: bool = False) -> Tensor:
        """(B,) outputs of a batch {"voxels": (B, 19, D, W, Z)}."""
        return self.head(self.features(batch["voxels"]), compat_single)

    def features(self, voxels: Tensor) -> Tensor:
        """(B, F): the flattened output of the last convolution, channel by channel."""
        return self.after_first(self.blocks[0](voxels))

    def after_first(self, x: Tensor) -> Tensor:
        """(B, F) from the first block's output (B, C, D, W, Z)."""
        start = self.excitations[0](x)
        x = self.blocks[1](start) + start
        x = self.blocks[2](x) + start
        x = self.pool(self.excitations[1](self.blocks[3](x)))
        return self.excitations[2](self.blocks[4](x)).flatten(1)
