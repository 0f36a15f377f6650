"""The sections and keys of the configuration, from its models, and where each is described."""

import types
from collections.abc import Iterator
from inspect import get_annotations
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from .product import Settings


class Section(NamedTuple):
    """A model at a path of the configuration; ``variant`` is its ``type`` if several models are possible there."""

    path: str
    variant: str
    model: type[BaseModel]

    @property
    def key(self) -> str:
        """The key in tools/docs/words/configuration.yaml: ``alerts.receivers.*[slack]``."""
        return f"{self.path}[{self.variant}]" if self.variant else self.path

    @property
    def title(self) -> str:
        """The heading: ``alerts.receivers.NAME, type slack``."""
        shown = self.path.replace("*", "NAME") or "Top level"
        return f"{shown}, `type: {self.variant}`" if self.variant else shown

    @property
    def anchor(self) -> str:
        """The id of the heading: ``alerts-receivers-slack``."""
        parts = self.path.replace("*", "").replace("[]", "").split(".")
        return "-".join(filter(None, [*parts, self.variant])).replace("_", "-") or "top-level"

    def fields(self) -> Iterator[tuple[str, FieldInfo]]:
        """Yield the keys as written in YAML, with their fields: ``type`` first, inherited keys last."""
        declared = [get_annotations(base) for base in self.model.__mro__]

        def rank(item: tuple[str, FieldInfo]) -> tuple[bool, int]:
            return item[0] != "type", next(number for number, names in enumerate(declared) if item[0] in names)

        for name, field in sorted(self.model.model_fields.items(), key=rank):
            yield field.alias or name, field

    def below(self, name: str) -> str:
        """Return the path of a key."""
        return f"{self.path}.{name}" if self.path else name


class Words(NamedTuple):
    """The description of a key. ``default`` and ``type`` override those of the model."""

    says: str
    example: str
    default: str = ""
    type: str = ""


def sections(model: type[BaseModel] = Settings, path: str = "", variant: str = "") -> Iterator[Section]:
    """Yield every model below ``model``, each before those inside it."""
    here = Section(path, variant, model)
    yield here
    for name, field in here.fields():
        for suffix, inner, kind in models_in(field.annotation):
            yield from sections(inner, here.below(name) + suffix, kind or variant)


def models_in(annotation: Any) -> list[tuple[str, type[BaseModel], str]]:
    """Return the models inside a type: the path below it, the model, and its ``type`` if it is one of several."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return models_in(arguments[0])
    if origin in (Union, types.UnionType):
        found = [each for argument in arguments for each in models_in(argument)]
        several = len(found) > 1
        return [(suffix, model, _tag(model) if several else kind) for suffix, model, kind in found]
    if origin is dict:
        return [(f".*{suffix}", model, kind) for suffix, model, kind in models_in(arguments[1])]
    if origin in (tuple, list):
        return [(f"[]{suffix}", model, kind) for suffix, model, kind in models_in(arguments[0])]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [("", annotation, "")]
    return []


def _tag(model: type[BaseModel]) -> str:
    (tag,) = get_args(model.model_fields["type"].annotation)
    return str(tag)


def words_path(keys: dict[str, Any], section: Section, name: str) -> str:
    """Return the entry that describes a key: its own, or that of all variants."""
    own, shared = f"{section.key}.{name}" if section.path else name, section.below(name)
    return shared if own not in keys and shared in keys else own
