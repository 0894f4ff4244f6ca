"""Small corpora with known topics."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from hortus.topics.simulation import draw_documents


@pytest.fixture(scope="session")
def block_counts() -> sparse.csr_array:
    """90 documents of 40 tokens from 3 topics over 30 words, each topic with 10 words of its own."""
    phi = np.kron(np.eye(3), np.full(10, 0.1))
    theta = np.random.default_rng(5).dirichlet(np.full(3, 0.2), 90)
    return draw_documents(theta, phi, np.full(90, 40), seed=6)


@pytest.fixture(scope="session")
def topics_data() -> Path:
    """The real corpora, where HORTUS_TEST_DATA names their folder."""
    root = os.environ.get("HORTUS_TEST_DATA")
    if not root or not (Path(root) / "topics").is_dir():
        pytest.skip("HORTUS_TEST_DATA does not name a folder with topics/")
    return Path(root) / "topics"
