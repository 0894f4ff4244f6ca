"""Shares of languages in what a model sees: p proportional to size^alpha, within bounds.

alpha = 1 keeps the natural proportions, 0 makes all languages equal; 0.3 is what the multilingual
ablations of "What Language Model to Train" used.
"""

from __future__ import annotations

from collections.abc import Mapping

from hortus.errors import ConfigError, DataError

__all__ = ["MAX_UPSAMPLING", "language_shares"]

# No language is seen more than this many times as often as its size warrants: without this bound a cap on
# code would fill half of a training run with the one README of a source tree.
MAX_UPSAMPLING = 200.0


def language_shares(
    sizes: Mapping[str, float],
    alpha: float,
    caps: Mapping[str, float] | None = None,
    max_upsampling: float = MAX_UPSAMPLING,
) -> dict[str, float]:
    """Shares proportional to size^alpha that sum to 1, within a cap and an upsampling limit each.

    What a bound takes away goes to the unbounded languages in proportion. Where the bounds leave a rest
    that nobody may take, the caps give way, not the upsampling limit.

    Args:
        sizes: bytes, tokens or documents by language; languages of size 0 get no share.
        alpha: 0 to 1.
        caps: the largest share by language, e.g. {"code": 0.5}.
        max_upsampling: largest ratio of a share to the language's natural share.

    Raises:
        ConfigError: alpha is out of range.
        DataError: no language has any size.

    >>> language_shares({"code": 9_000, "en": 1_000}, alpha=1, caps={"code": 0.5})
    {'code': 0.5, 'en': 0.5}
    >>> language_shares({"code": 999_999, "en": 1}, alpha=1, caps={"code": 0.5})["en"]
    0.0002
    """
    if not 0 <= alpha <= 1:
        raise ConfigError(f"alpha={alpha}", allowed="0 (all languages equal) to 1 (natural proportions)")
    sizes = {language: float(size) for language, size in sizes.items() if size > 0}
    if not sizes:
        raise DataError("no language has any text to sample", do="add a source that has some")
    total = sum(sizes.values())
    weights = {language: size**alpha for language, size in sizes.items()}
    limits = {language: max_upsampling * size / total for language, size in sizes.items()}
    bounds = {language: min(limit, (caps or {}).get(language, 1.0)) for language, limit in limits.items()}
    if sum(bounds.values()) >= 1:
        return _bounded(weights, bounds)
    # Everyone without a cap is at the upsampling limit and there is still room: the capped ones take it.
    capped = {language: weights[language] for language in weights if bounds[language] < limits[language]}
    rest = 1 - sum(bounds[language] for language in weights if language not in capped)
    shares = _bounded(capped, {language: limits[language] / rest for language in capped})
    return {
        language: rest * shares[language] if language in capped else bounds[language] for language in weights
    }


def _bounded(weights: Mapping[str, float], bounds: Mapping[str, float]) -> dict[str, float]:
    """Shares in the proportion of `weights`, each at most its bound; the bounds sum to at least 1."""
    fixed: dict[str, float] = {}
    while True:
        room = 1 - sum(fixed.values())
        mass = sum(weight for language, weight in weights.items() if language not in fixed)
        shares = {
            language: fixed[language] if language in fixed else room * weight / mass
            for language, weight in weights.items()
        }
        above = {
            name: bounds[name] for name, share in shares.items() if name not in fixed and share > bounds[name]
        }
        if not above or len(above) + len(fixed) == len(weights):
            return shares
        fixed |= above
