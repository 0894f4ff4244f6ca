"""Scaling laws: loss = E + A/N^α + B/D^β for N parameters and D tokens, the best N and D of a compute budget,
what over-training costs, and what text is worth when it is read again.

With C = 6·N·D the best N is G·(C/6)^(β/(α+β)), G = (αA / βB)^(1/(α+β)) (Hoffmann et al. 2022).

- chinchilla: the constants that Besiroglu et al. 2024 fitted to Hoffmann et al.'s runs; unlike those first
  printed, they agree with that paper's other two estimates (about 20 tokens a parameter).
- kaplan: as published, not derived here: N ∝ C^0.73, L ∝ C^-0.05 (Kaplan et al. 2020), placed so that the
  optimum at 3.88e23 FLOP is 392 billion parameters, the calibration in "What Language Model to Train if You
  Have One Million GPU Hours?" (2022), and the loss there is Kaplan's (3.1e8 PF-days / C)^0.05. The two
  exponents fix α and β, the two levels A and B; E is 0.
- repeated text: U unique tokens read 1 + R times are worth U + U·R*·(1 - exp(-R/R*)), R* = 15.39
  (Muennighoff et al. 2023); what that paper says of too many parameters for the text is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hortus.artifact import read_json
from hortus.errors import ArtifactError, ConfigError, nearest

__all__ = ["CHINCHILLA", "KAPLAN", "Law", "OverTraining", "effective_tokens", "find_law", "over_training"]

_REPETITIONS = 15.39
_PETAFLOP_DAY = 8.64e19


@dataclass(frozen=True, kw_only=True)
class Law:
    """Loss in nats a token by parameters and tokens.

    `most_flops` is the largest budget among the runs that it was fitted to, None where not known.
    """

    name: str
    origin: str
    irreducible: float
    """E"""
    scale_parameters: float
    """A"""
    scale_tokens: float
    """B"""
    exponent_parameters: float
    """α"""
    exponent_tokens: float
    """β"""
    most_flops: float | None = None

    def loss(self, parameters: float, tokens: float) -> float:
        """Of a model of that size after that much text that was not read before."""
        of_size = self.scale_parameters / parameters**self.exponent_parameters
        return self.irreducible + of_size + self.scale_tokens / tokens**self.exponent_tokens

    def optimum(self, flops: float) -> tuple[float, float]:
        """Parameters and tokens of the lowest loss at C = 6·N·D.

        >>> [f"{value:.2e}" for value in CHINCHILLA.optimum(4.18e23)]
        ['6.13e+10', '1.14e+12']
        """
        a, b = self.exponent_parameters, self.exponent_tokens
        ratio = (a * self.scale_parameters / (b * self.scale_tokens)) ** (1 / (a + b))
        parameters = ratio * (flops / 6) ** (b / (a + b))
        return parameters, flops / 6 / parameters

    def tokens_for(self, loss: float, parameters: float) -> float | None:
        """Tokens after which a model of that size has that loss; None where it never does."""
        left = loss - self.irreducible - self.scale_parameters / parameters**self.exponent_parameters
        return (self.scale_tokens / left) ** (1 / self.exponent_tokens) if left > 0 else None

    def stretched(self, flops: float) -> float | None:
        """How many times the largest budget that it was fitted to; None where not known."""
        return None if self.most_flops is None else flops / self.most_flops


def _kaplan() -> Law:
    budget, parameters = 3.88e23, 392e9
    allocation, decay = 0.73, 0.050
    loss = (3.1e8 / (budget / _PETAFLOP_DAY)) ** decay
    # β/(α+β) is the allocation, αβ/(α+β) the decay; at the optimum the two terms are as β to α.
    alpha, beta = decay / allocation, decay / (1 - allocation)
    tokens = budget / 6 / parameters
    return Law(
        name="kaplan",
        origin="as published (Kaplan et al. 2020; 392B at 3.88e23 FLOP), not derived",
        irreducible=0.0,
        scale_parameters=allocation * loss * parameters**alpha,
        scale_tokens=(1 - allocation) * loss * tokens**beta,
        exponent_parameters=alpha,
        exponent_tokens=beta,
    )


CHINCHILLA = Law(
    name="chinchilla",
    origin="Hoffmann et al. 2022, constants of Besiroglu et al. 2024",
    irreducible=1.8172,
    scale_parameters=482.01,
    scale_tokens=2085.43,
    exponent_parameters=0.3478,
    exponent_tokens=0.3658,
)
KAPLAN = _kaplan()
_KNOWN = {law.name: law for law in (CHINCHILLA, KAPLAN)}


def find_law(name: str) -> Law:
    """A published law by name, or the one in a file that `hortus budget fit` wrote.

    Raises:
        ConfigError: neither.
        ArtifactError: the file holds no law.
    """
    if name in _KNOWN:
        return _KNOWN[name]
    path = Path(name)
    if not path.is_file():
        raise ConfigError(
            f"law={name!r} is neither a law nor a file",
            allowed=f"{', '.join(_KNOWN)}, or a file of `hortus budget fit --output`",
            do=nearest(name, _KNOWN),
        )
    content: Any = read_json(path)
    if not isinstance(content, Mapping) or "law" not in content:
        raise ArtifactError(f"{path} holds no law", do="give a file of `hortus budget fit --output`")
    try:
        return Law(**content["law"])
    except TypeError as error:
        raise ArtifactError(f"{path} holds no law: {error}", do="fit it again") from error


@dataclass(frozen=True)
class OverTraining:
    """A smaller model trained to the loss of the compute-optimal one."""

    parameters: float
    tokens: float
    extra_training: float
    """FLOP more than the compute-optimal training, as a share of it."""
    pays_after: float
    """Tokens served from which training and serving together cost less (2·N FLOP a served token)."""


def over_training(law: Law, flops: float, share: float) -> OverTraining | None:
    """The model of `share` times the optimal size, 0 < share < 1; None where it never reaches that loss.

    >>> smaller = over_training(CHINCHILLA, 4.18e23, 0.5)
    >>> round(smaller.tokens / 1e12, 1), round(smaller.extra_training, 2)
    (2.9, 0.26)
    """
    size, tokens = law.optimum(flops)
    small = share * size
    needed = law.tokens_for(law.loss(size, tokens), small)
    if needed is None:
        return None
    extra = 6 * small * needed - flops
    return OverTraining(small, needed, extra / flops, extra / (2 * (size - small)))


def effective_tokens(unique: float, seen: float) -> float:
    """What `seen` tokens are worth when only `unique` of them differ, in tokens not read before.

    >>> round(effective_tokens(100.0, 400.0))  # four passes
    373
    """
    if seen <= unique:
        return seen
    repeated = seen / unique - 1
    return unique + unique * _REPETITIONS * -math.expm1(-repeated / _REPETITIONS)
