"""Prompt templates, prompted datasets and mixtures: text only, no tensors."""

from hortus.prompts.renderer import Renderer
from hortus.prompts.template import Metadata, Rendered, Template, TemplateError
from hortus.prompts.templatefile import TemplateSet, load_collection, load_templates

__all__ = [
    "Metadata",
    "Rendered",
    "Renderer",
    "Template",
    "TemplateError",
    "TemplateSet",
    "load_collection",
    "load_templates",
]
