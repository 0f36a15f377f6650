"""The OpenAPI document (https://spec.openapis.org/oas/v3.1.0), made of the table of endpoints and their types."""

import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any, Final, get_type_hints

import msgspec
from msgspec import NODEFAULT, Struct
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from streamcanary.web.api.endpoints import JSON, Endpoint
from streamcanary.web.api.query import repeatable_parameters
from streamcanary.web.problems import MEDIA_TYPE, Problem

Schema = dict[str, Any]

_COMPONENTS: Final = "#/components/schemas/{name}"
_BODY_COMPONENTS: Final = "#/components/schemas/{model}"
_BOUNDS: Final = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_COMMON_PROBLEMS: Final = (400, 401, 403, 421, 503)
_BODY_PROBLEMS: Final = (413, 415)
_LITERAL = re.compile(r"``([^`]*)``")
_ROLE = re.compile(r":\w+:`~?(?:[\w.]*\.)?(\w+)`")
_INFO: Final = {
    "title": "streamcanary",
    "version": "1",
    "description": "What a streamcanary daemon knows: canaries, runs, alerts, silences. Times without a format are "
    "seconds since the epoch, durations are seconds.",
    "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
}


def openapi_endpoint(others: Sequence[Endpoint]) -> Endpoint:
    """Return the endpoint of the document, which describes ``others`` and itself."""
    cached: list[bytes] = []

    async def document(request: Request) -> Response:
        if not cached:
            cached.append(msgspec.json.encode(openapi_document([*others, endpoint])))
        return Response(cached[0], media_type=JSON, headers={"Cache-Control": "max-age=300"})

    endpoint = Endpoint(
        method="GET",
        path="/api/openapi.json",
        handle=document,
        tag="status",
        summary="Return this document.",
        result=dict[str, Any],
    )
    return endpoint


def openapi_document(endpoints: Iterable[Endpoint]) -> Schema:
    """Return the document of ``endpoints``."""
    endpoints = list(endpoints)
    components = _components(endpoints)
    paths: dict[str, Schema] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": _INFO,
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": _problem_responses(endpoints),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "`web.token`, if set."}},
        },
    }


def _components(endpoints: Sequence[Endpoint]) -> dict[str, Schema]:
    types = [endpoint.result for endpoint in endpoints if endpoint.result is not None]
    _, components = msgspec.json.schema_components([*types, Problem], ref_template=_COMPONENTS)
    bodies = {endpoint.body.__name__: _body_schema(endpoint.body) for endpoint in endpoints if endpoint.body}
    return {name: _cleaned(schema) for name, schema in sorted({**components, **bodies}.items())}


def _problem_responses(endpoints: Sequence[Endpoint]) -> dict[str, Schema]:
    content = {MEDIA_TYPE: {"schema": {"$ref": _COMPONENTS.format(name=Problem.__name__)}}}
    statuses = sorted(set().union(*map(_problems_of, endpoints)))
    return {HTTPStatus(each).name: {"description": HTTPStatus(each).phrase, "content": content} for each in statuses}


def _problems_of(endpoint: Endpoint) -> set[int]:
    return {*_COMMON_PROBLEMS, *endpoint.problems, *(_BODY_PROBLEMS if endpoint.method == "POST" else ())}


def _operation(endpoint: Endpoint) -> Schema:
    success: Schema = {"description": HTTPStatus(endpoint.success).phrase}
    if endpoint.result is not None:
        ((schema,), _) = msgspec.json.schema_components([endpoint.result], ref_template=_COMPONENTS)
        success["content"] = {endpoint.media_type: {"schema": schema}}
    operation: Schema = {
        "operationId": _operation_id(endpoint),
        "tags": [endpoint.tag],
        "summary": endpoint.summary,
        **({"description": endpoint.description} if endpoint.description else {}),
    }
    parameters = [_path_parameter(name, text) for name, text in endpoint.path_parameters.items()]
    parameters += [] if endpoint.query is None else _query_parameters(endpoint.query)
    if parameters:
        operation["parameters"] = parameters
    if endpoint.body is not None:
        schema = {"$ref": _COMPONENTS.format(name=endpoint.body.__name__)}
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": schema}}}
    problems = sorted(_problems_of(endpoint))
    operation["responses"] = {
        str(endpoint.success): success,
        **{str(status): {"$ref": f"#/components/responses/{HTTPStatus(status).name}"} for status in problems},
    }
    return operation


def _operation_id(endpoint: Endpoint) -> str:
    words = re.findall(r"\w+", endpoint.path.removeprefix("/api/v1"))
    return "_".join([endpoint.method.lower(), *words])


def _path_parameter(name: str, description: str) -> Schema:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {"type": "string", "minLength": 1},
    }


def _query_parameters(query: type[Struct]) -> list[Schema]:
    hints = get_type_hints(query, include_extras=True)
    repeatable = repeatable_parameters(query)
    parameters = []
    for field in msgspec.structs.fields(query):
        schema = _inline_schema(hints[field.name])
        parameter = {"name": field.name, "in": "query", "description": schema.pop("description", ""), "schema": schema}
        if field.default not in (NODEFAULT, "", (), 0):
            schema["default"] = field.default
        if field.name in repeatable:
            parameter |= {"style": "form", "explode": True}
        parameters.append(parameter)
    return parameters


def _inline_schema(kind: Any) -> Schema:
    """Return the schema of a parameter, without references."""
    ((schema,), components) = msgspec.json.schema_components([kind], ref_template=_COMPONENTS)
    return dict(_inlined(schema, components))


def _inlined(value: Any, components: dict[str, Schema]) -> Any:
    if isinstance(value, list):
        return [_inlined(each, components) for each in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        found = {**components[value["$ref"].rpartition("/")[2]], **value}
        return _inlined({key: each for key, each in found.items() if key not in ("$ref", "title")}, components)
    return {key: _inlined(each, components) for key, each in value.items()}


def _body_schema(body: type[BaseModel]) -> Schema:
    return dict(_with_standard_bounds(body.model_json_schema(by_alias=True, ref_template=_BODY_COMPONENTS)))


def _with_standard_bounds(value: Any) -> Any:
    """Return a schema of pydantic, in which some bounds have the names of its own annotations."""
    if isinstance(value, list):
        return [_with_standard_bounds(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {_BOUNDS.get(key, key): _with_standard_bounds(each) for key, each in value.items() if key != "title"}


def _cleaned(value: Any) -> Any:
    """Return a schema with descriptions in Markdown instead of reStructuredText."""
    if isinstance(value, list):
        return [_cleaned(each) for each in value]
    if not isinstance(value, dict):
        return value
    schema = {key: _cleaned(each) for key, each in value.items()}
    if isinstance(text := schema.get("description"), str):
        schema["description"] = _ROLE.sub(r"`\1`", _LITERAL.sub(r"`\1`", text))
    return schema
