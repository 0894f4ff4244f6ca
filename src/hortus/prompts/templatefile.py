"""Reading and writing `templates.yaml` files of the PromptSource format, unmodified.

The two tags of the format are plain mappings here; no other Python tag is known to the loader. Unknown fields
are kept. A shared node (an anchor) becomes separate values, so that editing one template changes no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from hortus.artifact import replacing_file
from hortus.errors import DataError, nearest
from hortus.prompts.template import Metadata, Template

__all__ = ["TemplateSet", "load_collection", "load_templates"]

FILE_NAME = "templates.yaml"
_TEMPLATE_FIELDS = ("answer_choices", "id", "jinja", "metadata", "name", "reference")
_METADATA_FIELDS = ("choices_in_prompt", "languages", "metrics", "original_task")

# libyaml's reader is ten times faster; both build the same values.
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _TemplateNode(dict[str, Any]):
    """Written with the tag !Template."""


class _MetadataNode(dict[str, Any]):
    """Written with the tag !TemplateMetadata."""


class _Loader(_SafeLoader):
    """A safe loader with the format's tags; refuses a key given twice, which would lose a template."""


def _construct_mapping(loader: Any, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key, _ in node.value:
        if key.value in seen:
            raise yaml.MarkedYAMLError(
                problem=f"key {key.value!r} is given twice", problem_mark=key.start_mark
            )
        seen.add(key.value)
    loader.flatten_mapping(node)
    return {
        loader.construct_object(key, deep=True): loader.construct_object(value, deep=True)
        for key, value in node.value
    }


for _tag in (yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, "!Template", "!TemplateMetadata"):
    _Loader.add_constructor(_tag, _construct_mapping)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(_TemplateNode, lambda dumper, data: dumper.represent_mapping("!Template", data))
_Dumper.add_representer(
    _MetadataNode, lambda dumper, data: dumper.represent_mapping("!TemplateMetadata", data)
)


class TemplateSet(dict[str, Template]):
    """The templates of one dataset by name, in the order of the file.

    >>> templates = TemplateSet("ag_news", templates=[Template.new("topic", "{{ text }} ||| {{ label }}")])
    >>> templates["topic"].jinja
    '{{ text }} ||| {{ label }}'
    """

    def __init__(self, dataset: str, subset: str | None = None, templates: Iterable[Template] = ()):
        super().__init__()
        self.dataset, self.subset = dataset, subset
        self.extra: dict[str, Any] = {}
        for template in templates:
            self.add(template)

    @property
    def key(self) -> str:
        """`dataset` or `dataset/subset`."""
        return self.dataset if self.subset is None else f"{self.dataset}/{self.subset}"

    def __missing__(self, name: str) -> Template:
        raise DataError(f"{self.key} has no template {name!r}", do=nearest(name, self))

    def add(self, template: Template) -> None:
        """Add a template.

        Raises:
            DataError: its name or id is taken.
        """
        if template.name in self:
            raise DataError(f"{self.key} has two templates named {template.name!r}", do="rename one of them")
        if any(template.id == other.id for other in self.values()):
            raise DataError(f"{self.key} has two templates with the id {template.id}", do="give one a new id")
        self[template.name] = template

    def select(
        self, names: Iterable[str] = (), *, without: Iterable[str] = (), original_only: bool = False
    ) -> list[Template]:
        """The named templates (all when none is named) but for some, of the original task only if asked.

        Raises:
            DataError: a name is unknown, or nothing is left.
        """
        names = list(names)
        chosen = [self[name] for name in names] if names else list(self.values())
        left_out = {self[name].id for name in without}
        chosen = [template for template in chosen if template.id not in left_out]
        if original_only:
            chosen = [template for template in chosen if template.metadata.original_task]
        if not chosen:
            raise DataError(f"no template of {self.key} is selected", do=f"choose among: {', '.join(self)}")
        return chosen

    def save(self, path: str | Path) -> None:
        """Write a templates.yaml that reads back equal; the second writing is byte for byte the first."""
        document = {
            **self.extra,
            "dataset": self.dataset,
            **({} if self.subset is None else {"subset": self.subset}),
            "templates": {template.id: _node(template) for template in self.values()},
        }
        with replacing_file(path) as temporary:
            text = yaml.dump(document, Dumper=_Dumper, sort_keys=True)
            temporary.write_text(text, encoding="utf-8")


def _node(template: Template) -> _TemplateNode:
    metadata = {name: getattr(template.metadata, name) for name in _METADATA_FIELDS}
    metadata = {name: list(value) if isinstance(value, tuple) else value for name, value in metadata.items()}
    fields = {name: getattr(template, name) for name in _TEMPLATE_FIELDS}
    fields["metadata"] = _MetadataNode(
        _present(metadata, template.metadata.absent) | dict(template.metadata.extra)
    )
    return _TemplateNode(_present(fields, template.absent) | dict(template.extra))


def _present(fields: dict[str, Any], absent: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value or name not in absent}


def load_templates(folder_or_file: str | Path) -> TemplateSet:
    """Read a published templates.yaml, or the one that a folder holds: name -> `Template`.

    Raises:
        DataError: no file, more than one, bad YAML (with its line), a missing field, or a name used twice.
    """
    path = Path(folder_or_file)
    if path.is_dir():
        found = sorted(path.rglob(FILE_NAME)) if not (path / FILE_NAME).is_file() else [path / FILE_NAME]
        if len(found) != 1:
            listed = ", ".join(str(file.parent.relative_to(path)) for file in found[:8])
            do = f"name one of: {listed}" if found else f"give the {FILE_NAME} file or its folder"
            raise DataError(f"{path} holds {len(found)} {FILE_NAME} files", allowed="exactly one", do=do)
        path = found[0]
    return _read(path)


def load_collection(folder: str | Path) -> dict[str, TemplateSet]:
    """Read every templates.yaml below a folder: `dataset` or `dataset/subset` -> `TemplateSet`.

    Raises:
        DataError: there is none, or one cannot be read.
    """
    files = sorted(Path(folder).rglob(FILE_NAME))
    if not files:
        raise DataError(f"{folder} holds no {FILE_NAME}", do="give a folder of prompt templates")
    sets = [_read(file) for file in files]
    return {templates.key: templates for templates in sets}


def _read(path: Path) -> TemplateSet:
    try:
        document = yaml.load(path.read_bytes(), Loader=_Loader)
    except OSError as error:
        raise DataError(f"cannot read templates from {path}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, TypeError) as error:
        raise DataError(f"{path} is not readable as templates: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict) or not isinstance(document.get("templates"), dict):
        raise DataError(f"{path} has no mapping 'templates'", allowed="a file of the PromptSource format")
    templates = TemplateSet(str(document.get("dataset", "")), document.get("subset"))
    templates.extra = {
        key: value for key, value in document.items() if key not in ("dataset", "subset", "templates")
    }
    for key, node in document["templates"].items():
        templates.add(_template(key, node, path))
    return templates


def _template(key: str, node: Any, path: Path) -> Template:
    if (
        not isinstance(node, dict)
        or not isinstance(node.get("jinja"), str)
        or not isinstance(node.get("name"), str)
    ):
        raise DataError(f"{path}: template {key} needs texts 'name' and 'jinja'")
    if node.get("id", key) != key:
        raise DataError(f"{path}: template {key} has the id {node['id']}", allowed="an id equal to its key")
    choices = node.get("answer_choices")
    if choices is not None and not isinstance(choices, str):
        raise DataError(f"{path}: template {key} has answer_choices {choices!r}", allowed="a text or null")
    return Template(
        name=node["name"],
        jinja=node["jinja"],
        answer_choices=choices,
        reference=node.get("reference", ""),
        metadata=_metadata(node.get("metadata") or {}),
        id=key,
        extra={name: value for name, value in node.items() if name not in _TEMPLATE_FIELDS},
        absent=frozenset(_TEMPLATE_FIELDS) - node.keys(),
    )


def _metadata(node: Mapping[str, Any]) -> Metadata:
    fields = {name: node.get(name) for name in _METADATA_FIELDS}
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    extra = {name: value for name, value in node.items() if name not in _METADATA_FIELDS}
    return Metadata(**fields, extra=extra, absent=frozenset(_METADATA_FIELDS) - node.keys())
