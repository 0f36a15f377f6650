"""Generates the JSON Schema of the configuration, for editors and for the values of the Helm chart.

The models give types and limits, ``tools/docs/words/configuration.yaml`` the descriptions and examples. The schema is
draft-07, the version that Helm and most editors know, without ``$ref``, so that another schema can contain it as it is.
It accepts each file that ``streamcanary check`` accepts without overrides from the environment. Patterns are limited to
what ECMA 262, RE2 and Python read alike.

Scalars may contain ``${VAR}``. That, the alternatives of a secret and ``null`` are in the same object as the type
itself, not below ``anyOf``: a validator then names what is wrong, instead of listing what each alternative lacks.
"""

import json
import re
import types
from collections.abc import Iterable
from enum import Enum
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, WithJsonSchema
from pydantic.fields import FieldInfo
from ruamel.yaml import YAML

from .config_conditions import SECTIONS, VARIABLE, conditions_of, restrict
from .config_sections import Section, Words, models_in, sections, words_path
from .configuration import default_of, limits_of
from .page import NONE, Stale, words
from .product import RESERVED_PARAMETERS, Settings, accepted_parameters

_FILES = (
    PurePosixPath("config/streamcanary.schema.json"),
    PurePosixPath("daemon/streamcanary/cli/streamcanary.schema.json"),
)
"""For editors and the chart, and for `streamcanary schema`."""

DRAFT = "http://json-schema.org/draft-07/schema#"
_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_SIZES: dict[type, tuple[str, str]] = {
    dict: ("minProperties", "maxProperties"),
    tuple: ("minItems", "maxItems"),
    list: ("minItems", "maxItems"),
}
_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")

Schema = dict[str, Any]


def schema_files() -> dict[str, str]:
    """Return the text of the JSON Schema by the paths of the files that have it. Raises as :func:`config_schema`."""
    text = json.dumps(config_schema(), indent=1, ensure_ascii=False) + "\n"
    return {str(path): text for path in _FILES}


def config_schema() -> Schema:
    """Return the JSON Schema of a configuration file.

    Raises:
        Stale: if a section of the conditions above does not exist.
    """
    unknown = SECTIONS - {section.key for section in sections()}
    if unknown:
        raise Stale(f"tools/docs/config_conditions.py has conditions for sections that do not exist: {sorted(unknown)}")
    descriptions = words("configuration")
    root = _Generator(descriptions["keys"], descriptions["sections"]).section(Section("", "", Settings))
    root["title"] = "Configuration of streamcanary"
    root["properties"]["canaries"]["minProperties"] = 1
    return {"$schema": DRAFT, **root}


class _Generator:
    """Generates the schemas of sections and their keys, with the descriptions of both."""

    def __init__(self, keys: dict[str, Any], descriptions: dict[str, str]) -> None:
        self._keys = keys
        self._sections = descriptions

    def section(self, section: Section) -> Schema:
        """Return the schema of a map with the keys of ``section``."""
        fields = dict(section.fields())
        schema: Schema = {
            "title": section.title.replace("`", ""),
            "description": _plain(self._sections[section.key]),
            "type": "object",
            "properties": {name: self._key(section, name, field) for name, field in fields.items()},
        }
        if required := [name for name, field in fields.items() if field.is_required()]:
            schema["required"] = required
        schema["additionalProperties"] = False
        if conditions := list(conditions_of(section, fields)):
            schema["allOf"] = conditions
        return schema

    def _key(self, section: Section, name: str, field: FieldInfo) -> Schema:
        entry = Words(**self._keys[words_path(self._keys, section, name)])
        path = section.below(name)
        schema = self._value(field.annotation, field.metadata, section, path)
        if path == "canaries.*.request":
            known = (accepted_parameters("chat") | accepted_parameters("responses")) - RESERVED_PARAMETERS
            schema |= {"properties": {each: {} for each in sorted(known)}, "additionalProperties": False}
        schema = restrict(path, schema)
        limits, default = limits_of(field), NONE if field.is_required() or entry.default else default_of(field)
        sentences = [
            field.description or entry.says,
            schema.pop("description", ""),
            f"Limits: {limits}." if limits and schema.get("type", ["?"])[0] == "string" else "",
            f"Default: {entry.default}." if entry.default else "",
        ]
        schema.pop("title", "")  # of a section, which may name the type of the one around it
        head: Schema = {
            "title": path.replace("*", "NAME"),
            "description": _plain(" ".join(filter(None, sentences))),
        }
        if default != NONE:
            head["default"] = _yaml(default.strip("`"))
        return {**head, "examples": [_yaml(entry.example)], **schema}

    def _value(self, annotation: Any, metadata: Iterable[Any], section: Section, path: str) -> Schema:
        """Return the schema of a value at ``path``, which is in ``section`` or below."""
        metadata = [inner for each in metadata for inner in (each.metadata if isinstance(each, FieldInfo) else [each])]
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            return self._value(arguments[0], [*arguments[1:], *metadata], section, path)
        is_described = any(isinstance(each, WithJsonSchema) for each in metadata)
        if origin in (Union, types.UnionType) and (not is_described or types.NoneType in arguments):
            return self._union(arguments, metadata, section, path)
        if is_described:
            return _scalar(annotation, metadata)
        if origin is dict:
            value = self._value(arguments[1], (), section, f"{path}.*")
            names = _bare(TypeAdapter(arguments[0]).json_schema())
            schema = {"type": "object", **({"propertyNames": names} if names else {}), "additionalProperties": value}
            return {**schema, **_sizes(dict, metadata)}
        if origin in (tuple, list):
            items = self._value(arguments[0], (), section, f"{path}[]")
            return {"type": "array", "items": items, **_sizes(tuple, metadata)}
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return self.section(Section(path, section.variant, annotation))
        return _scalar(annotation, metadata)

    def _union(self, members: tuple[Any, ...], metadata: list[Any], section: Section, path: str) -> Schema:
        others = [member for member in members if member is not types.NoneType]
        models = [found for found in models_in(Union[tuple(others)]) if not found[0]]  # noqa: UP007 - not a literal
        if len(models) > 1:
            schema = self._variants([Section(path, tag, model) for _, model, tag in models])
        elif models and len(others) > 1:
            (word,) = [_scalar(member, ()) for member in others if not models_in(member)]
            schema = _either(word, self.section(Section(path, section.variant, models[0][1])))
        else:
            (member,) = others
            schema = self._value(member, metadata, section, path)
        return _nullable(schema) if len(others) < len(members) else schema

    def _variants(self, variants: list[Section]) -> Schema:
        """Return the schema of a map whose ``type`` selects its keys; errors are those of the selected variant."""
        branches, default = [], ""
        for variant in variants:
            schema, kind = self.section(variant), variant.model.model_fields["type"]
            del schema["type"]  # the map has it already
            condition: Schema = {"properties": {"type": {"const": variant.variant}}}
            if kind.is_required():
                condition["required"] = ["type"]
            else:
                default = variant.variant
            branches.append({"if": condition, "then": schema})
        kinds = _with_variable({"type": "string", "enum": [variant.variant for variant in variants]})
        described = {"description": "Selects the other keys.", **({"default": default} if default else {}), **kinds}
        required = {} if default else {"required": ["type"]}
        return {"type": "object", "properties": {"type": described}, **required, "allOf": branches}


def _scalar(annotation: Any, metadata: Iterable[Any]) -> Schema:
    """Return the schema of a value without keys or entries of its own, which may contain a variable."""
    if annotation is Any:
        return {}
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return _with_variable({"type": "string", "enum": [each.value for each in annotation]})
    if get_origin(annotation) is Literal and get_args(annotation) == (True,):
        return {"enum": [True]}
    return _with_variable(_bare(TypeAdapter(Annotated[(annotation, None, *metadata)]).json_schema()))


def _bare(schema: Schema) -> Schema:
    """Return a schema of pydantic without what editors and ``check`` treat differently, and with standard keywords."""
    ignored = {"title", "description", "examples", "format", "default"}
    schema = {_BOUNDS.get(key, key): value for key, value in schema.items() if key not in ignored}
    return {} if schema == {"type": "string"} else schema


def _with_variable(schema: Schema) -> Schema:
    """Return the schema of a scalar that may contain ``${VAR}`` as well."""
    schema = dict(schema) or {"type": "string"}
    kinds = _kinds(schema)
    alternatives: list[Schema] = []
    for keyword in ("enum", "const"):
        if keyword in schema:
            values = schema.pop(keyword)
            alternatives.append({"enum": values if keyword == "enum" else [values]})
    if (longest := schema.pop("maxLength", None)) is not None:
        alternatives.append({"maxLength": longest})
    if "string" not in kinds and "array" not in kinds:
        schema |= {"type": [*kinds, "string"], "pattern": VARIABLE}
    elif "pattern" in schema:
        schema["pattern"] = f"{schema['pattern']}|{VARIABLE}"
    if "items" in schema:
        schema["items"] = _with_variable(_bare(schema["items"]))
    return {**schema, "anyOf": [*alternatives, {"pattern": VARIABLE}]} if alternatives else schema


def _nullable(schema: Schema) -> Schema:
    """Return ``schema`` extended by null."""
    if "type" not in schema:
        return {**schema, "enum": [*schema["enum"], None]}
    if "allOf" in schema:  # conditions on the keys of a map
        schema = {**schema, "allOf": [{"if": {"type": "object"}, "then": {"allOf": schema["allOf"]}}]}
    return {**schema, "type": [*_kinds(schema), "null"]}


def _kinds(schema: Schema) -> list[str]:
    return schema["type"] if isinstance(schema["type"], list) else [schema["type"]]


def _either(word: Schema, section: Schema) -> Schema:
    """Return the schema of a word or a map."""
    return {**section, "type": ["string", "object"], "anyOf": [*word["anyOf"], {"type": "object"}]}


def _sizes(kind: type, metadata: Iterable[Any]) -> Schema:
    least, most = _SIZES[kind]
    found = {}
    for each in metadata:
        if (size := getattr(each, "min_length", None)) is not None:
            found[least] = size
        if (size := getattr(each, "max_length", None)) is not None:
            found[most] = size
    return found


def _plain(text: str) -> str:
    """Return Markdown as one line without the targets of links."""
    return " ".join(_LINK.sub(r"\1", text).split())


def _yaml(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)
