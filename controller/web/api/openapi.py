"""The description of the API in OpenAPI 3.1. Its schemas are those of the response types."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic.json_schema import models_json_schema

from controller.web.api.badges import SVG, BadgeQuery
from controller.web.api.detail import PodDetail
from controller.web.api.fleet import FleetShares, FoundPods
from controller.web.api.models import (
    CheckList,
    ManifestErrorList,
    ManifestWarningList,
    Model,
    PodList,
    ProbeOptions,
    Problem,
    Status,
    Totals,
)
from controller.web.fleet import FleetQuery, PodSearch
from controller.web.query import EventQuery, Paging, PodQuery, Query
from controller.web.responses import JSON, PROBLEM

Json = dict[str, Any]
FLEET_ERRORS = (400, 404, 503)
"""404: the controller has no fleet. 503: Consul cannot be read."""
REFERENCE = "#/components/schemas/{model}"
MODELS = (
    PodList,
    PodDetail,
    CheckList,
    ManifestErrorList,
    ManifestWarningList,
    Status,
    ProbeOptions,
    Totals,
    FleetShares,
    FoundPods,
    Problem,
)


def description(version: str) -> Json:
    """Returns the whole document; `version` is the program's."""
    _, schemas = models_json_schema([(model, "serialization") for model in MODELS], ref_template=REFERENCE)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Podpulse",
            "version": version,
            "summary": "What one controller knows of its pods. Nothing can be changed from here.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "."}],
        "paths": _paths(),
        "components": {"schemas": schemas["$defs"]},
    }


def _paths() -> Json:
    name = {"in": "path", "required": True, "schema": {"type": "string"}}
    names = [{"name": "node", **name}, {"name": "pod", **name}]
    return {
        "/pods": _get("listPods", "Pods: filtered, in order, page by page", PodList, _parameters(PodQuery), 400),
        "/pods/{node}/{pod}": _get("getPod", "One pod in full", PodDetail, names, 404, 503),
        "/badges/{node}/{pod}.svg": _badge(names),
        "/checks": _get("listChecks", "The checks that run, in the words of manifests", CheckList),
        "/manifest-errors": _get(
            "listManifestErrors", "Invalid manifests", ManifestErrorList, _parameters(Paging), 400
        ),
        "/manifest-warnings": _get(
            "listManifestWarnings",
            "Fields of manifests that are unknown and ignored",
            ManifestWarningList,
            _parameters(Paging),
            400,
        ),
        "/status": _get("getStatus", "The state of the controller itself", Status),
        "/probe-options": _get("getProbeOptions", "The options that matter to a probe", ProbeOptions),
        "/fleet": _get(
            "getFleet",
            "The members of the fleet, and who checks which node",
            FleetShares,
            _parameters(FleetQuery),
            *FLEET_ERRORS,
        ),
        "/fleet/pods": _get(
            "findPods", "Pods of all nodes of the fleet", FoundPods, _parameters(PodSearch), *FLEET_ERRORS
        ),
        "/events": _events(),
        "/openapi.json": _operation(
            "getDescription", "This description", {"200": _content("This description", JSON, {"type": "object"})}
        ),
    }


def _operation(name: str, summary: str, responses: Json, **more: Any) -> Json:
    return {"get": {"operationId": name, "summary": summary, **more, "responses": responses}}


def _get(operation: str, summary: str, model: type[Model], parameters: Sequence[Json] = (), *errors: int) -> Json:
    responses = {"200": _content(summary, JSON, _reference(model)), **_errors(*errors)}
    return _operation(operation, summary, responses, parameters=parameters)


def _badge(names: Sequence[Json]) -> Json:
    what = "The share of the time in which the pod was up, as an image"
    responses = {"200": _content(what, SVG, {"type": "string"})}
    responses["304"] = {"description": "The client has this image"}
    responses |= _errors(400, 404, 503)
    return _operation("getBadge", what, responses, parameters=[*names, *_parameters(BadgeQuery)])


def _errors(*statuses: int) -> Json:
    return {str(status): _content("An error", PROBLEM, _reference(Problem)) for status in statuses}


def _events() -> Json:
    """The text describes the events of the stream, because OpenAPI 3.1 cannot."""
    description = (
        "Server-sent events. A `change` event is sent when something may have changed, at most once a second. Its data "
        "has the schema Totals, of the pods with the given labels. The server ends the stream after some minutes, and "
        "the client must connect again."
    )
    responses = {
        "200": _content("The stream", "text/event-stream", {"type": "string"}),
        "400": _content("An error", PROBLEM, _reference(Problem)),
        "503": _content("Too many streams are open", PROBLEM, _reference(Problem)),
    }
    more = {"parameters": _parameters(EventQuery), "description": description}
    return _operation("streamEvents", "Changes as server-sent events", responses, **more)


def _content(text: str, media_type: str, schema: Mapping[str, Any]) -> Json:
    return {"description": text, "content": {media_type: {"schema": dict(schema)}}}


def _reference(model: type[Model]) -> Json:
    return {"$ref": REFERENCE.format(model=model.__name__)}


def _parameters(model: type[Query]) -> list[Json]:
    """Returns the fields of a query as parameters."""
    schema = model.model_json_schema(ref_template=REFERENCE)
    return [
        {"name": name, "in": "query", "description": field.pop("description"), "schema": field}
        for name, field in schema["properties"].items()
    ]
