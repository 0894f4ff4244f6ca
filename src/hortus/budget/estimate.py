"""Memory of a device and time of a step, for a decoder spread over devices.

Memory: weights, gradients and Adam's state by ZeRO stage; activations after Korthikanti et al. 2022,
"Reducing Activation Recomputation": without recomputation T·b·h·(10 + 24/t) bytes a layer in 16 bits, and
5·b·n·T²/t more where attention writes its scores; with it, only what enters a layer.

Time: a roofline. Products at the device's speed for their size, everything else at the speed of its memory,
what tensor parallelism sums over the links of a node, and what data parallelism sums over the network. A
pipeline of p stages and m micro-batches takes (m + p - 1) micro-batches of its slowest stage; the embedding
and the head count as a layer each.

Legend: b rows of a micro-batch, T tokens, h width, n heads, V vocabulary, L layers; d, t, p degrees of data,
tensor and pipeline parallelism; m micro-batches of a step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hortus.budget.counts import count
from hortus.budget.hardware import Device
from hortus.models.bloom.config import BloomConfig

__all__ = ["Layout", "Memory", "StepTime", "estimate_memory", "estimate_step", "logged_teraflops"]

# Times that a layer's forward pass reads or writes b·T·h numbers beside its products: two norms (4) and two
# sums with dropout (7) on every device; projections' biases, transposes and GELU (14) divided by t.
_PASSES_WHOLE, _PASSES_DIVIDED = 11, 14
# Times that it touches the b·n·T² scores where attention writes them: product, softmax (2), product.
_PASSES_SCORES = 4
_OPERATIONS = 60  # small ones, forward and backward, of a layer
# What the device holds beside tensors (context, communication buffers), and what its allocator wastes.
_CONTEXT_BYTES, _WASTE = 3e9, 0.08
_ADAM_TRAFFIC = 40  # bytes a parameter in fp32: norm and scaling of gradients, then the fused update


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a run is spread over devices."""

    data_parallel: int = 1
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    zero_stage: int = 1
    """What data parallelism divides: 1 the optimizer, 2 gradients too, 3 weights too (as FSDP does)."""
    micro_batch: int = 1
    checkpointing: bool = True
    flash_attention: bool = True

    @property
    def devices(self) -> int:
        """d·t·p."""
        return self.data_parallel * self.tensor_parallel * self.pipeline_parallel

    def micro_batches(self, batch_size: int) -> int:
        """m: of one step, one after the other."""
        return batch_size // (self.data_parallel * self.micro_batch)


@dataclass(frozen=True)
class Memory:
    """Bytes on the fullest device."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    reserve: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.reserve


@dataclass(frozen=True)
class StepTime:
    """Seconds of one step and where they go."""

    compute: float
    """Products and memory traffic, pipeline full."""
    links: float
    """Sums of tensor parallelism and passing on to the next stage."""
    bubble: float
    """Waiting for the pipeline to fill and to empty."""
    update: float
    """Summing gradients over the network, and the optimizer."""

    @property
    def total(self) -> float:
        """Of the step."""
        return self.compute + self.links + self.bubble + self.update


def _stage_blocks(shape: BloomConfig, layout: Layout) -> int:
    """Of a middle stage; the first and the last hold one less, and a table."""
    if layout.pipeline_parallel == 1:
        return shape.num_layers
    return math.ceil((shape.num_layers + 2) / layout.pipeline_parallel)


def _stage_parameters(shape: BloomConfig, layout: Layout) -> float:
    """Parameters of the fullest device before ZeRO."""
    width, blocks = shape.hidden_size, _stage_blocks(shape, layout)
    block = 12 * width**2 / layout.tensor_parallel + 13 * width
    table = shape.vocab_size * width / layout.tensor_parallel
    if layout.pipeline_parallel == 1:
        return blocks * block + table
    return max(blocks * block, (blocks - 1) * block + table)


def estimate_memory(
    shape: BloomConfig, layout: Layout, device: Device, batch_size: int, length: int
) -> Memory:
    """Bytes on the fullest device, trained with AdamW.

    In 16 bits: weights 2, gradients 2, sums of gradients 4, master weights and moments 12 bytes a
    parameter. In 32 bits: 4, 4 and 8.

    >>> from hortus.budget.hardware import known_devices
    >>> layout = Layout(data_parallel=8, tensor_parallel=4, pipeline_parallel=12, micro_batch=2)
    >>> shape = BloomConfig(num_layers=70, hidden_size=14336, num_heads=112)
    >>> round(estimate_memory(shape, layout, known_devices()["a100-80gb"], 2048, 2048).total / 1e9) < 80
    True
    """
    parameters = _stage_parameters(shape, layout)
    mixed = device.number_bytes == 2
    of_weights, of_gradients, of_state = (2, 6, 12) if mixed else (4, 4, 8)
    whole = [1.0 if layout.zero_stage < stage else 1 / layout.data_parallel for stage in (3, 2, 1)]
    weights, gradients, state = (
        parameters * size * share
        for size, share in zip((of_weights, of_gradients, of_state), whole, strict=True)
    )
    if layout.zero_stage == 3 and layout.data_parallel > 1:  # two blocks are whole at a time
        weights += 2 * device.number_bytes * 12 * shape.hidden_size**2 / layout.tensor_parallel
    activations = _activations(shape, layout, device, batch_size, length)
    used = weights + gradients + state + activations
    reserve = _CONTEXT_BYTES + _WASTE * used if mixed else 0.0
    return Memory(weights, gradients, state, activations, reserve)


def _activations(shape: BloomConfig, layout: Layout, device: Device, batch_size: int, length: int) -> float:
    tokens, t = layout.micro_batch * length, layout.tensor_parallel
    scale = device.number_bytes / 2
    layer = scale * tokens * shape.hidden_size * (10 + 24 / t)
    if not layout.flash_attention:
        layer += scale * 5 * layout.micro_batch * shape.num_heads * length**2 / t
    entering = device.number_bytes * tokens * shape.hidden_size
    blocks = _stage_blocks(shape, layout)
    in_flight = min(layout.micro_batches(batch_size), layout.pipeline_parallel)
    kept = blocks * in_flight * (entering if layout.checkpointing else layer)
    # One layer is whole in the backward pass; logits stand in the training format and twice in fp32.
    logits = tokens * shape.vocab_size / t * (device.number_bytes + 8)
    first = kept + (2 * layer if layout.checkpointing else 0)
    if layout.pipeline_parallel == 1:
        return max(first, kept + logits)
    return max(first, kept / in_flight + layer + logits)


def estimate_step(
    shape: BloomConfig, layout: Layout, device: Device, batch_size: int, length: int
) -> StepTime:
    """Seconds of a step of that many sequences.

    >>> from hortus.budget.hardware import known_devices
    >>> layout = Layout(data_parallel=8, tensor_parallel=4, pipeline_parallel=12, micro_batch=2)
    >>> shape = BloomConfig(num_layers=70, hidden_size=14336, num_heads=112)
    >>> 60 < estimate_step(shape, layout, known_devices()["a100-80gb"], 2048, 2048).total < 120
    True
    """
    passes = 4 if layout.checkpointing else 3  # forward, backward twice, and forward again
    blocks = _stage_blocks(shape, layout)
    layer = passes * _layer_seconds(shape, layout, device, length)
    layer += _OPERATIONS * passes / 3 * device.launch_seconds
    head = 3 * _head_seconds(shape, layout, device, length)
    p, m = layout.pipeline_parallel, layout.micro_batches(batch_size)
    compute = blocks * layer + head if p == 1 else max(blocks * layer, (blocks - 1) * layer + head)
    links = blocks * passes * _sum_seconds(shape, layout, device, length)
    if p > 1:
        entering = device.number_bytes * layout.micro_batch * length * shape.hidden_size
        links += 2 * entering / layout.tensor_parallel / device.network
    gathered = _gather_seconds(shape, layout, device)
    overlapped = max(0.0, gathered - compute)  # FSDP fetches the next block while one computes
    micro_batch = compute + links + overlapped
    update = _update_seconds(shape, layout, device)
    return StepTime(m * compute, m * (links + overlapped), (p - 1) * micro_batch, update)


def _layer_seconds(shape: BloomConfig, layout: Layout, device: Device, length: int) -> float:
    """One layer, one micro-batch, forward, without communication."""
    width, t, rows = shape.hidden_size, layout.tensor_parallel, layout.micro_batch * length
    seconds = 0.0
    for across, inner in (
        (3 * width / t, width),
        (width, width / t),
        (4 * width / t, width),
        (width, 4 * width / t),
    ):
        seconds += 2 * rows * across * inner / device.matmul_flops(rows, across, width)
    numbers = rows * width * device.number_bytes
    seconds += numbers * (_PASSES_WHOLE + _PASSES_DIVIDED / t) / device.bandwidth
    scores = 4 * layout.micro_batch * length**2 * width / t
    if layout.flash_attention:  # leaves out the later half of the keys
        return seconds + 0.5 * scores / device.matmul_flops(length, length, width)
    seconds += scores / 2 / device.matmul_flops(length, length, width)
    seconds += scores / 2 / device.matmul_flops(length, shape.head_size, width)
    written = layout.micro_batch * shape.num_heads / t * length**2 * device.number_bytes
    return seconds + _PASSES_SCORES * written / device.bandwidth


def _head_seconds(shape: BloomConfig, layout: Layout, device: Device, length: int) -> float:
    """The head of one micro-batch, forward: product, then softmax in fp32."""
    rows, words = layout.micro_batch * length, shape.vocab_size / layout.tensor_parallel
    product = 2 * rows * words * shape.hidden_size
    seconds = product / device.matmul_flops(rows, words, shape.hidden_size)
    return seconds + 3 * 4 * rows * words / device.bandwidth


def _sum_seconds(shape: BloomConfig, layout: Layout, device: Device, length: int) -> float:
    """Tensor parallelism of one layer and pass: two sums over its t devices."""
    t = layout.tensor_parallel
    if t == 1:
        return 0.0
    sent = 2 * (t - 1) / t * layout.micro_batch * length * shape.hidden_size * device.number_bytes
    return 2 * sent / (device.link if t <= device.node else device.network)


def _gather_seconds(shape: BloomConfig, layout: Layout, device: Device) -> float:
    """FSDP, one micro-batch: weights fetched for the forward and again for the backward pass."""
    if layout.zero_stage < 3 or layout.data_parallel == 1:
        return 0.0
    share = (layout.data_parallel - 1) / layout.data_parallel
    sent = 2 * device.number_bytes * _stage_parameters(shape, layout) * share
    return sent / _between(layout, device)


def _between(layout: Layout, device: Device) -> float:
    inside = layout.tensor_parallel * layout.data_parallel <= device.node and layout.pipeline_parallel == 1
    return device.link if inside else device.network


def _update_seconds(shape: BloomConfig, layout: Layout, device: Device) -> float:
    """Gradients summed in fp32, weights sent back, the optimizer's traffic."""
    parameters, d = _stage_parameters(shape, layout), layout.data_parallel
    traffic = _ADAM_TRAFFIC * parameters / d / device.bandwidth
    if d == 1:
        return traffic
    back = 0 if layout.zero_stage == 3 else device.number_bytes
    return traffic + (d - 1) / d * parameters * (4 + back) / _between(layout, device)


def logged_teraflops(
    shape: BloomConfig, layout: Layout, device: Device, batch_size: int, length: int
) -> float:
    """TFLOP/s of a device as the published logs count it: 8 a parameter and token, 6 if nothing is redone."""
    seconds = estimate_step(shape, layout, device, batch_size, length).total
    passes = 8 if layout.checkpointing else 6
    parameters = count(shape, length=length).parameters
    return passes * parameters * batch_size * length / seconds / layout.devices / 1e12
