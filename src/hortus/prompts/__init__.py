"""Prompt templates, prompted datasets and mixtures: text only, no tensors.

templates = load_templates("promptsource/templates/ag_news")
data = load_dataset("ag_news.tsv", names=("text", "label"), classes={"label": ("World", ...)})
rendered = templates["classify"].apply(data[0])      # .input, .targets, .choices, .status
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hortus.registry import lazy_attributes

if TYPE_CHECKING:
    from hortus.prompts.catalogue import Catalogue, CatalogueEntry, load_catalogue
    from hortus.prompts.config import CatalogueConfig, DatasetConfig, MixtureConfig, RenderLimits, TaskConfig
    from hortus.prompts.counting import RenderReport
    from hortus.prompts.datasets import Dataset, hold_out, load_dataset
    from hortus.prompts.linter import Finding, LintReport, check_templates
    from hortus.prompts.mixture import Mixture, PromptedExample, PromptedTask, open_task, refuse_held_out
    from hortus.prompts.overlap import OverlapReport, ngram_overlap
    from hortus.prompts.renderer import Renderer
    from hortus.prompts.template import Metadata, Rendered, Template, TemplateError, render_all
    from hortus.prompts.templatefile import TemplateSet, load_collection, load_templates

__all__ = [
    "Catalogue",
    "CatalogueConfig",
    "CatalogueEntry",
    "Dataset",
    "DatasetConfig",
    "Finding",
    "LintReport",
    "Metadata",
    "Mixture",
    "MixtureConfig",
    "OverlapReport",
    "PromptedExample",
    "PromptedTask",
    "RenderLimits",
    "RenderReport",
    "Rendered",
    "Renderer",
    "TaskConfig",
    "Template",
    "TemplateError",
    "TemplateSet",
    "check_templates",
    "hold_out",
    "load_catalogue",
    "load_collection",
    "load_dataset",
    "load_templates",
    "ngram_overlap",
    "open_task",
    "refuse_held_out",
    "render_all",
]

# Imported when first used: the rendering worker lives in this package and must stay small.
_HOMES = {
    "Catalogue": "catalogue",
    "CatalogueConfig": "config",
    "CatalogueEntry": "catalogue",
    "Dataset": "datasets",
    "DatasetConfig": "config",
    "Finding": "linter",
    "LintReport": "linter",
    "Metadata": "template",
    "Mixture": "mixture",
    "MixtureConfig": "config",
    "OverlapReport": "overlap",
    "PromptedExample": "mixture",
    "PromptedTask": "mixture",
    "RenderLimits": "config",
    "RenderReport": "counting",
    "Rendered": "template",
    "Renderer": "renderer",
    "TaskConfig": "config",
    "Template": "template",
    "TemplateError": "template",
    "TemplateSet": "templatefile",
    "check_templates": "linter",
    "hold_out": "datasets",
    "load_catalogue": "catalogue",
    "load_collection": "templatefile",
    "load_dataset": "datasets",
    "load_templates": "templatefile",
    "ngram_overlap": "overlap",
    "open_task": "mixture",
    "refuse_held_out": "mixture",
    "render_all": "template",
}

__getattr__ = lazy_attributes(__name__, _HOMES)
