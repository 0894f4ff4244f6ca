"""Shared fixtures: the folder of real data, where a test needs it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder that HORTUS_TEST_DATA names; the test is skipped where it is not set."""
    folder = os.environ.get("HORTUS_TEST_DATA")
    if not folder:
        pytest.skip("HORTUS_TEST_DATA is not set: this test reads real data from there")
    return Path(folder)
