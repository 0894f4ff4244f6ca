"""Prompt templates, prompted datasets and mixtures: text only, no tensors.

templates = load_templates("promptsource/templates/ag_news")
data = load_dataset("ag_news.tsv", names=("text", "label"), classes={"label": ("World", ...)})
rendered = templates["classify"].apply(data[0])      # .input, .targets, .choices, .status
"""

from hortus.prompts.catalogue import Catalogue, CatalogueEntry, load_catalogue
from hortus.prompts.config import CatalogueConfig, DatasetConfig, MixtureConfig, RenderLimits, TaskConfig
from hortus.prompts.counting import RenderReport
from hortus.prompts.datasets import Dataset, load_dataset
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
    "load_catalogue",
    "load_collection",
    "load_dataset",
    "load_templates",
    "ngram_overlap",
    "open_task",
    "refuse_held_out",
    "render_all",
]
