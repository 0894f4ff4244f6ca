"""The studio: interactive prompt engineering in the browser over the project's own engine.

Nothing heavy is imported until a name is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hortus.registry import lazy_attributes
from hortus.studio.config import StudioConfig

if TYPE_CHECKING:
    from hortus.studio.apps import PromptApp
    from hortus.studio.server import create_app, run_studio
    from hortus.studio.studio import Studio

__all__ = ["PromptApp", "Studio", "StudioConfig", "create_app", "run_studio"]

_HOMES = {"PromptApp": "apps", "Studio": "studio", "create_app": "server", "run_studio": "server"}

__getattr__ = lazy_attributes(__name__, _HOMES)
