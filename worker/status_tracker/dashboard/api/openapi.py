"""The OpenAPI document of the interface: from the structs that it reads and writes."""

from collections.abc import Mapping
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

import msgspec
from msgspec import Struct

from status_tracker.dashboard.api import answers
from status_tracker.dashboard.api.answers import Problem, Query
from status_tracker.dashboard.api.telling import NDJSON, SSE
from status_tracker.dashboard.problems import MEDIA_TYPE
from status_tracker.monitoring.health import Report
from status_tracker.rules import Rules
from status_tracker.schema import name_of, update_schema

Schema = dict[str, Any]

REF = "#/components/schemas/{name}"


class Operation(Struct, frozen=True, kw_only=True):
    """One endpoint, as the document has it."""

    path: str
    summary: str
    answer: Any
    query: type[Query] = Query
    body: Any = None
    status: int = 200
    dry_run: Any = None
    """The answer where nothing was to be done, whose status is 200."""
    problems: tuple[int, ...] = ()
    is_tagged: bool = False

    @property
    def method(self) -> str:
        """In lower case."""
        return "get" if self.body is None else "post"


STREAM, UPDATES, OPENAPI = "stream", "updates", "openapi"
"""What no struct says."""

READS = [
    Operation(
        path="/kinds",
        summary="The kinds, their phases in order, and which may follow which",
        answer=answers.Kinds,
        is_tagged=True,
    ),
    Operation(
        path="/kinds/{kind}/counts",
        summary="How many entities are in each phase",
        answer=answers.Counts,
        problems=(404,),
    ),
    Operation(
        path="/kinds/{kind}/entities",
        summary="A page of the entities in a phase, by when they entered it",
        query=answers.OfPage,
        answer=answers.Entities,
        problems=(404,),
    ),
    Operation(
        path="/entity",
        summary="The status of an entity",
        query=answers.OfEntity,
        answer=answers.Entity,
        problems=(404,),
        is_tagged=True,
    ),
    Operation(
        path="/entity/history",
        summary="The last changes of an entity, the newest first",
        query=answers.OfEntity,
        answer=answers.HistoryOf,
        problems=(404,),
    ),
    Operation(
        path="/entity/wait",
        summary="Wait until an entity is settled, or in one of some phases",
        query=answers.OfWait,
        answer=answers.Waited,
        problems=(404,),
    ),
    Operation(
        path="/changes",
        summary="The change feed, without an end; Last-Event-ID resumes it",
        query=answers.OfChanges,
        answer=STREAM,
    ),
    Operation(
        path="/rejected",
        summary="A page of the entries that were not applied, by when they were rejected",
        query=answers.OfRejected,
        answer=answers.RejectedEntries,
    ),
    Operation(
        path="/fleet",
        summary="Who reads which partition, how far behind it is, and what is wrong",
        answer=Report,
    ),
    Operation(
        path="/stalled",
        summary="Entities without an update for longer than their limit, by when it passed",
        query=answers.OfStalled,
        answer=answers.Entities,
        problems=(404,),
    ),
    Operation(path="/openapi.json", summary="This document", answer=OPENAPI),
]

ACTIONS = [
    Operation(
        path="/updates",
        summary="Send one update, or several in their order",
        body=UPDATES,
        answer=answers.Sent,
        status=202,
    ),
    Operation(
        path="/rejected/replay",
        summary="Send rejected entries again, or say what they would do; they stay where they are",
        body=answers.ToReplay,
        answer=answers.Replayed,
        status=202,
        dry_run=answers.DryRun,
    ),
    Operation(
        path="/rejected/purge",
        summary="Take rejected entries away from where they are kept",
        body=answers.ToPurge,
        answer=answers.Purged,
    ),
    Operation(
        path="/remove",
        summary="Take entities away, whatever their statuses are",
        body=answers.ToRemove,
        answer=answers.Sent,
        status=202,
    ),
]


def document(rules: Rules, *, actions: bool, challenge: str | None, has_auth: bool) -> Schema:
    """Return the document; what is no endpoint here is not in it."""
    operations = [*READS, *(ACTIONS if actions else ())]
    structs = {each.answer for each in operations if isinstance(each.answer, type)}
    structs |= {each.dry_run for each in operations if each.dry_run is not None}
    structs |= {each.body for each in operations if isinstance(each.body, type)}
    _, schemas = msgspec.json.schema_components([Problem, *structs], ref_template=REF)
    if actions:
        schemas |= _update_schemas(rules)
    paths: dict[str, Schema] = {}
    for each in operations:
        paths.setdefault(each.path, {})[each.method] = _operation(each, rules, has_auth)
    scheme = _scheme(challenge)
    components: Schema = {"schemas": schemas}
    if scheme:
        components["securitySchemes"] = {"auth": scheme}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Status tracker", "version": version("status-tracker")},
        "servers": [{"url": "."}],
        "paths": paths,
        "components": components,
        **({"security": [{"auth": []}]} if scheme else {}),
    }


def _scheme(challenge: str | None) -> Schema | None:
    if challenge is None:
        return None
    return {"type": "http", "scheme": challenge.partition(" ")[0].lower()}


def _update_schemas(rules: Rules) -> dict[str, Schema]:
    """Return the schemas of updates as an emitter takes them.

    It fills in the time, leaves out what is null, and knows all fields.
    """
    schemas = {}
    for name, schema in update_schema(rules)["$defs"].items():
        fields = dict(schema["properties"])
        for flag in {"force", "restart"} & fields.keys():
            fields[flag] = {**fields[flag], "type": ["boolean", "null"]}
        schemas[name] = {
            **schema,
            "properties": fields,
            "required": [each for each in schema["required"] if each != "updatedAt"],
            "additionalProperties": False,
        }
    return schemas


def _operation(each: Operation, rules: Rules, has_auth: bool) -> Schema:
    name = f"{each.method}{each.path.replace('{kind}', 'kind').replace('.', '/').title()}"
    found: Schema = {
        "operationId": name.replace("/", ""),
        "summary": each.summary,
        "parameters": [*_in_path(each, rules), *_in_query(each.query, rules)],
        "responses": _responses(each, has_auth),
    }
    if each.body is not None:
        schema = _updates(rules) if each.body == UPDATES else _ref(each.body)
        found["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    return found


def _in_path(each: Operation, rules: Rules) -> list[Schema]:
    if "{kind}" not in each.path:
        return []
    return [{"name": "kind", "in": "path", "required": True, "schema": _kind(rules)}]


def _kind(rules: Rules) -> Schema:
    return {"type": "string", "enum": list(rules.kinds)}


def _in_query(struct: type[Query], rules: Rules) -> list[Schema]:
    _, components = msgspec.json.schema_components([struct], ref_template=REF)
    schema = components[struct.__name__]
    required = schema.get("required", ())
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "schema": _kind(rules) if name == "kind" else _given(field),
        }
        for name, field in schema["properties"].items()
    ]


def _given(field: Mapping[str, Any]) -> Schema:
    """Return the schema of a parameter: it is there, or it is not, but never null."""
    options = [each for each in field.get("anyOf", ()) if each != {"type": "null"}]
    return dict(options[0]) if len(options) == 1 else dict(field)


def _responses(each: Operation, has_auth: bool) -> Schema:
    found: Schema = {str(each.status): _success(each.status, each.answer)}
    if each.dry_run is not None:
        found["200"] = _success(200, each.dry_run)
    if each.is_tagged:
        found["304"] = {"description": "As the ETag in If-None-Match says"}
    numbers = {400, 421, 503, *each.problems}
    if has_auth:
        numbers.add(401)
    if each.body is not None:
        numbers |= {403, 408, 413, 415, 422}
    problem = {MEDIA_TYPE: {"schema": _ref(Problem)}}
    for number in sorted(numbers):
        found[str(number)] = {"description": HTTPStatus(number).phrase, "content": problem}
    return found


def _success(status: int, content: Any) -> Schema:
    described = {"description": HTTPStatus(status).phrase}
    if content == STREAM:
        text = {"schema": {"type": "string"}}
        return {**described, "content": {SSE.media_type: text, NDJSON.media_type: text}}
    schema = {"type": "object"} if content == OPENAPI else _ref(content)
    return {**described, "content": {"application/json": {"schema": schema}}}


def _updates(rules: Rules) -> Schema:
    one = {"anyOf": [{"$ref": REF.format(name=name_of(kind, "update"))} for kind in rules.kinds]}
    return {
        "anyOf": [
            one,
            {"type": "array", "items": one, "minItems": 1, "maxItems": answers.MOST_SENT},
        ]
    }


def _ref(struct: type) -> Schema:
    return {"$ref": REF.format(name=struct.__name__)}
