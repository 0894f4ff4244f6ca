"""Low-rank adapters (Hu et al. 2022): a few trained matrices beside frozen ones, in peft's file format.

y = W x + (α/r) B A x with A (r, in) drawn as a linear layer's weights and B (out, r) zero, so that training
starts from the model as it was. Heads that are new are trained whole and are stored in the same file.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hortus.artifact import replacing_folder, write_json
from hortus.errors import ConfigError
from hortus.models import family
from hortus.objectives.finetune_config import FinetuneConfig

__all__ = ["AdaptedLinear", "add_adapters", "merge_adapters", "save_adapters"]

_USUAL = ("query", "value", "query_key_value")  # our names of the layers that are adapted by default
_HEADS = ("classifier", "pre_classifier", "pooler", "span")  # trained whole: adapters go on what was learned
_TASK_TYPES = {"classify": "SEQ_CLS", "answer": "QUESTION_ANS"}


class AdaptedLinear(nn.Linear):
    """A frozen linear layer with an adapter; it uses the given layer's tensors.

    >>> layer, x = nn.Linear(4, 3), torch.ones(2, 4)
    >>> adapted = AdaptedLinear(layer, rank=2, alpha=4.0, dropout=0.0)
    >>> torch.equal(adapted(x), layer(x)), adapted.merged().weight.shape
    (True, torch.Size([3, 4]))
    """

    def __init__(self, layer: nn.Linear, rank: int, alpha: float, dropout: float):
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias = layer.weight, layer.bias
        self.scale, self.dropout = alpha / rank, dropout
        self.lora_a = nn.Parameter(layer.weight.new_empty(rank, layer.in_features))
        self.lora_b = nn.Parameter(layer.weight.new_zeros(layer.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))

    def forward(self, states: Tensor) -> Tensor:
        """(…, in) -> (…, out)."""
        low = F.linear(F.dropout(states, self.dropout, self.training), self.lora_a)
        return F.linear(states, self.weight, self.bias) + F.linear(low, self.lora_b) * self.scale

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """A plain layer with W + (α/r) B A."""
        layer = nn.Linear(self.in_features, self.out_features, self.bias is not None, device="meta")
        layer.weight = nn.Parameter(self.weight + self.scale * self.lora_b @ self.lora_a)
        if self.bias is not None:
            layer.bias = nn.Parameter(self.bias.detach().clone())
        return layer


def add_adapters(network: Any, config: FinetuneConfig) -> None:
    """Freeze a network but for its new head, and put adapters beside the chosen layers.

    Raises:
        ConfigError: no layer has a name that ends like this.
    """
    network.requires_grad_(False)
    targets = _targets(network, config)
    found = [
        (name, module)
        for name, module in network.named_modules()
        if type(module) is nn.Linear and _ends(_published(network, name), targets)
    ]
    if not found:
        raise ConfigError(
            f"lora_targets={', '.join(targets)}: no linear layer of this network has such a name",
            allowed="ends of published names, e.g. q_lin or attention.self.query",
        )
    for name, module in found:
        adapted = AdaptedLinear(module, config.lora_rank, config.lora_alpha, config.lora_dropout)
        _put(network, name, adapted)
    for name in _heads(network):
        network.get_submodule(name).requires_grad_(True)


def merge_adapters(network: Any) -> None:
    """Turn adapted layers into plain ones with the same output."""
    for name, module in list(network.named_modules()):
        if isinstance(module, AdaptedLinear):
            _put(network, name, module.merged())


def save_adapters(network: Any, folder: Path, config: FinetuneConfig, base: str) -> None:
    """Write adapter_config.json and adapter_model.safetensors, which peft opens on the base model."""
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    for name, module in network.named_modules():
        if isinstance(module, AdaptedLinear):
            published = f"base_model.model.{_published(network, name)}"
            tensors[f"{published}.lora_A.weight"] = module.lora_a.detach().cpu().contiguous()
            tensors[f"{published}.lora_B.weight"] = module.lora_b.detach().cpu().contiguous()
    heads = [_published(network, name) for name in _heads(network)]
    for name, head in zip(_heads(network), heads, strict=True):
        for kind, parameter in network.get_submodule(name).named_parameters():
            tensors[f"base_model.model.{head}.{kind}"] = parameter.detach().cpu().contiguous()
    settings = {
        "peft_type": "LORA",
        "task_type": _task_type(network),
        "base_model_name_or_path": base,
        "r": config.lora_rank,
        "lora_alpha": config.lora_alpha,
        "lora_dropout": config.lora_dropout,
        "target_modules": list(_targets(network, config)),
        "modules_to_save": heads or None,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    with replacing_folder(folder) as temporary:
        write_json(temporary / "adapter_config.json", settings)
        save_file(tensors, str(temporary / "adapter_model.safetensors"), metadata={"format": "pt"})


def _task_type(network: Any) -> str | None:
    if network.architecture == "encoder":
        return _TASK_TYPES.get(network.config.head)
    return "CAUSAL_LM" if network.architecture == "decoder" else "SEQ_2_SEQ_LM"


def _targets(network: Any, config: FinetuneConfig) -> tuple[str, ...]:
    if config.lora_targets:
        return config.lora_targets
    usual = {
        _published(network, name).rpartition(".")[2]
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in _USUAL
    }
    return tuple(sorted(usual))


def _heads(network: Any) -> list[str]:
    if getattr(network.config, "head", None) not in _TASK_TYPES:
        return []
    return [
        name for name, _ in network.named_children() if name in _HEADS and getattr(network, name) is not None
    ]


def _published(network: Any, name: str) -> str:
    names = family(network.model_type).names
    try:
        return names.published(f"{name}.weight").removesuffix(".weight")
    except KeyError:
        return name


def _ends(name: str, targets: tuple[str, ...]) -> bool:
    return any(name == target or name.endswith(f".{target}") for target in targets)


def _put(network: nn.Module, name: str, module: nn.Module) -> None:
    place, _, last = name.rpartition(".")
    setattr(network.get_submodule(place), last, module)
