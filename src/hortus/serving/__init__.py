"""Serving a language model to many clients over HTTP, with continuous batching.

Nothing heavy is imported until a name is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hortus.registry import lazy_attributes
from hortus.serving.config import ServingConfig

if TYPE_CHECKING:
    from hortus.serving.answerer import Answerer, Prepared
    from hortus.serving.app import Service, create_app
    from hortus.serving.engine import BusyError, Engine
    from hortus.serving.sequence import TextRequest
    from hortus.serving.server import Server, serve

__all__ = [
    "Answerer",
    "BusyError",
    "Engine",
    "Prepared",
    "Server",
    "Service",
    "ServingConfig",
    "TextRequest",
    "create_app",
    "serve",
]

_HOMES = {
    "Answerer": "answerer",
    "BusyError": "engine",
    "Engine": "engine",
    "Prepared": "answerer",
    "Server": "server",
    "Service": "app",
    "TextRequest": "sequence",
    "create_app": "app",
    "serve": "server",
}

__getattr__ = lazy_attributes(__name__, _HOMES)
