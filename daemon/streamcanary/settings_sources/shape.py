"""Returns what a model expects at a path: the known keys, and whether a value is text or may be a number.

A shape is the tuple of types that a value may have, with unions and annotations resolved.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from inspect import get_annotations
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, PlainValidator
from pydantic.fields import FieldInfo

from streamcanary.model.config_types.secret import FILE_KEY, Secret
from streamcanary.settings_sources.problem import KeyPath

Shape = tuple[Any, ...]

TYPE_KEY = "type"
"""The key that selects one of several models for a map."""

_READ_NUMBERS = (int, float, bool, Any, object)


class ParsedFromText:
    """Marks a shape with a validator that parses text, such as ``30s`` for a number of seconds."""


@cache
def _keys_of(model: type[BaseModel]) -> tuple[tuple[str, Shape], ...]:
    """Return the keys of a model, each with its shape; those that it declares itself come before the inherited ones."""
    declared = [get_annotations(base) for base in model.__mro__]
    fields = sorted(
        model.model_fields.items(), key=lambda item: next(n for n, names in enumerate(declared) if item[0] in names)
    )
    return tuple((field.alias or name, shape_of(field.annotation, field.metadata)) for name, field in fields)


def shape_of(annotation: Any, metadata: Iterable[Any] = ()) -> Shape:
    """Return the types that ``annotation`` allows; ``metadata`` are its annotations."""
    if any(isinstance(item, (BeforeValidator, PlainValidator)) for item in metadata):
        return (*shape_of(annotation), ParsedFromText)
    origin: Any = get_origin(annotation)
    if origin is Annotated:
        inner, *further = get_args(annotation)
        return shape_of(inner, further)
    if origin in (Union, UnionType):
        return tuple(shape for member in get_args(annotation) for shape in shape_of(member))
    return (annotation,)


def matching_models(shape: Shape, value: Any) -> list[type[BaseModel]]:
    """Return the models that ``value`` may be; its ``type`` (or the default of that key) selects one, if any."""
    found = [member for member in shape if isinstance(member, type) and issubclass(member, BaseModel)]
    tag = value.get(TYPE_KEY, _default_tag(found)) if isinstance(value, Mapping) else None
    chosen = [model for model in found if tag in _tags(model)]
    return chosen or found


def _default_tag(models: Iterable[type[BaseModel]]) -> Any:
    kinds = (model.model_fields[TYPE_KEY] for model in models if TYPE_KEY in model.model_fields)
    return next((kind.default for kind in kinds if not kind.is_required()), None)


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    field = model.model_fields.get(TYPE_KEY)
    return get_args(field.annotation) if field and get_origin(field.annotation) is Literal else ()


def models_by_type(shape: Shape) -> dict[str, type[BaseModel]]:
    """Return the models that the key ``type`` selects, by its value; empty if there are fewer than two."""
    found = {tag: model for model in matching_models(shape, None) for tag in _tags(model)}
    return found if len(found) > 1 else {}


def known_keys(shape: Shape, value: Any) -> dict[str, Shape]:
    """Return the keys of the models of ``shape``, each with its shape; a secret that is a map has the key ``file``."""
    found: dict[str, Shape] = {FILE_KEY: (Path,)} if Secret in shape and isinstance(value, Mapping) else {}
    for model in matching_models(shape, value):
        for key, inner in _keys_of(model):
            found[key] = (*found.get(key, ()), *inner)
    return found


def fields_by_key(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the fields of ``model`` by their keys in a file."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def entry_shape(shape: Shape) -> Shape | None:
    """Return the shape of the entries of a map or list; ``None`` if ``shape`` is neither."""
    found: Shape = ()
    for member in shape:
        origin: Any = get_origin(member)
        arguments = get_args(member)
        if origin is dict:
            found += shape_of(arguments[1])
        elif origin in (tuple, list):
            found += shape_of(arguments[0])
    return found or None


def children_of(shape: Shape, value: Any) -> dict[str | int, Shape]:
    """Return the possible children of ``value`` with their shapes: the keys of its models, and its entries."""
    found: dict[str | int, Shape] = dict(known_keys(shape, value).items())
    inner = _entry_shape_or_any(shape)
    if inner is not None and isinstance(value, Mapping):
        found.update({key: inner for key in value if key not in found})
    elif inner is not None and isinstance(value, list):
        found.update(dict.fromkeys(range(len(value)), inner))
    return found


def child_shape(shape: Shape, value: Any, key: str | int) -> Shape:
    """Return the shape of the child of ``value`` at ``key``, as in :func:`children_of`; empty if it can have none."""
    known = known_keys(shape, value)
    if key in known:
        return known[str(key)]
    exists = key in value if isinstance(value, Mapping) else isinstance(value, list) and key in range(len(value))
    return (_entry_shape_or_any(shape) or ()) if exists else ()


def _entry_shape_or_any(shape: Shape) -> Shape | None:
    inner = entry_shape(shape)
    return (Any,) if inner is None and any(member in (Any, object) for member in shape) else inner


def child_value(value: Any, key: str | int) -> Any:
    """Return the child of ``value`` at ``key``, or ``None``."""
    if isinstance(value, Mapping):
        return value.get(key)
    return value[key] if isinstance(value, list) and isinstance(key, int) and key < len(value) else None


def leaves(shape: Shape, value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Shape, Any]]:
    """Yield path, shape and value of every scalar that exists and that the model knows."""
    if not isinstance(value, (Mapping, list)):
        yield path, shape, value
        return
    for key, inner in children_of(shape, value).items():
        if isinstance(value, list) or key in value:
            yield from leaves(inner, child_value(value, key), (*path, key))


def shape_and_value_at(shape: Shape, value: Any, path: KeyPath) -> tuple[Shape, Any]:
    """Return the shape and the value at ``path`` below ``value``."""
    for part in path:
        shape, value = child_shape(shape, value, part), child_value(value, part)
    return shape, value


def may_be_number(shape: Shape) -> bool:
    """Return whether a value of ``shape`` may be a number or Boolean, so that text is read as YAML."""
    return any(
        member in _READ_NUMBERS or (isinstance(member, type) and issubclass(member, BaseModel)) for member in shape
    )
