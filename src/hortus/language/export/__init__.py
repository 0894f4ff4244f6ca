"""Models in the formats that other tools read, each compared with the original before it gets its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hortus.registry import lazy_attributes

if TYPE_CHECKING:
    from hortus.language.export.comparison import Comparison
    from hortus.language.export.gguf import export_gguf
    from hortus.language.export.hugging_face import export_hugging_face
    from hortus.language.export.onnx import export_onnx

__all__ = ["Comparison", "export_gguf", "export_hugging_face", "export_onnx"]

_HOMES = {
    "Comparison": "comparison",
    "export_gguf": "gguf",
    "export_hugging_face": "hugging_face",
    "export_onnx": "onnx",
}

__getattr__ = lazy_attributes(__name__, _HOMES)
