"""Shares of languages in what a model sees: p proportional to size^alpha, with caps.

alpha = 1 keeps the natural proportions, 0 makes all languages equal; 0.3 is what the multilingual
ablations of "What Language Model to Train" used.
"""

from __future__ import annotations

from collections.abc import Mapping

from hortus.errors import ConfigError, DataError

__all__ = ["language_shares"]


def language_shares(
    sizes: Mapping[str, float], alpha: float, caps: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Shares proportional to size^alpha that sum to 1, none above its cap.

    What a cap takes away goes to the uncapped languages in proportion. When every language is capped
    below its part (a corpus of code alone), the caps cannot hold and are ignored.

    Args:
        sizes: bytes, tokens or documents by language; languages of size 0 get no share.
        alpha: 0 to 1.
        caps: the largest share by language, e.g. {"code": 0.5}.

    Raises:
        DataError: no language has any size.

    >>> language_shares({"code": 9_000, "en": 1_000}, alpha=1, caps={"code": 0.5})
    {'code': 0.5, 'en': 0.5}
    """
    if not 0 <= alpha <= 1:
        raise ConfigError(f"alpha={alpha}", allowed="0 (all languages equal) to 1 (natural proportions)")
    weights = {language: float(size) ** alpha for language, size in sizes.items() if size > 0}
    if not weights:
        raise DataError("no language has any text to sample", do="add a source that has some")
    caps = {language: cap for language, cap in (caps or {}).items() if language in weights}
    capped: dict[str, float] = {}
    while True:
        free = {language: weight for language, weight in weights.items() if language not in capped}
        room, mass = 1 - sum(capped.values()), sum(free.values())
        if not free or room < 0:
            total = sum(weights.values())
            return {language: weight / total for language, weight in weights.items()}
        shares = {language: room * weight / mass for language, weight in free.items()}
        above = {language: caps[language] for language in free if shares[language] > caps.get(language, 1)}
        if not above:
            return {language: capped.get(language, shares.get(language, 0.0)) for language in weights}
        capped |= above
