"""The description of the gateway in OpenAPI 3.1, made of its routes and the contract's types."""

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any

import msgspec

from camfleet.gateway.calls import Route
from camfleet.gateway.problems import ProblemDocument

_REF = "#/components/schemas/{name}"


def describe(routes: Sequence[Route]) -> dict[str, Any]:
    """Return the document, as plain data."""
    kinds = dict.fromkeys((ProblemDocument, *(kind for one in routes for kind in _kinds(one))))
    found, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    schemas = dict(zip(kinds, found, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "camfleet", "version": version("camfleet")},
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "password": {"type": "http", "scheme": "basic"},
            },
        },
    }


def _kinds(route: Route) -> Iterator[Any]:
    yield from (kind for kind in (route.query, route.body) if kind is not None)
    yield from (kind for kind in route.answers.values() if not _is_plain(kind))
    for kind in (route.query,) if route.query else ():
        yield from (field.type for field in msgspec.structs.fields(kind))


def _is_plain(answer: Any) -> bool:
    return answer is None or isinstance(answer, str | tuple)


def _operation(route: Route, schemas: dict[Any, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": f"{route.method.lower()} {route.path}",
        "parameters": list(_parameters(route, schemas)),
        "responses": dict(_responses(route, schemas)),
    }
    if route.public:
        operation["security"] = []
    if route.basic:
        operation["security"] = [{"token": []}, {"password": []}]
    if route.scopes:
        operation["description"] = f"A token needs the scope {' or '.join(route.scopes)}."
    content: dict[str, Any] = {kind: {} for kind in route.uploads}
    if route.body:
        content["application/json"] = {"schema": schemas[route.body]}
    if content:
        operation["requestBody"] = {"content": content}
    return operation


def _parameters(route: Route, schemas: dict[Any, Any]) -> Iterator[dict[str, Any]]:
    for name in route.parameters:
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
    for name, meaning in route.headers.items():
        required = meaning.startswith("Required")
        schema = {"type": "string"}
        yield {
            "name": name,
            "in": "header",
            "required": required,
            "description": meaning,
            "schema": schema,
        }
    for field in msgspec.structs.fields(route.query) if route.query else ():
        schema = schemas[field.type]
        yield {
            "name": field.encode_name,
            "in": "query",
            "required": field.required,
            "schema": schema,
        }


def _responses(route: Route, schemas: dict[Any, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for status, answer in route.answers.items():
        media = (answer,) if isinstance(answer, str) else answer
        content: dict[str, Any] = {}
        if isinstance(media, tuple):
            content = {kind: {} for kind in media}
        elif answer is not None:
            content = {"application/json": {"schema": schemas[answer]}}
        about = {"description": route.summary}
        yield str(status), {**about, "content": content} if content else about
    problem = {"application/problem+json": {"schema": schemas[ProblemDocument]}}
    yield "default", {"description": "What went wrong", "content": problem}
