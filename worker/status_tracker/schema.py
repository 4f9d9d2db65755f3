"""JSON Schema of updates, statuses and changes, and AsyncAPI of the streams and keys.

They come from the structs that the workers decode with, and from a deployment's rules. What JSON
Schema has no word for: the size of an entry and how deep it is nested, text that is no UTF-8, and
that 1.0 is no integer.
"""

from collections.abc import Mapping
from typing import Any, get_args

import msgspec

from status_tracker.decode import Decoder
from status_tracker.keys import Keys, PartitionKeys
from status_tracker.lifecycle import Lifecycle
from status_tracker.models import Change, Reason, Status
from status_tracker.rules import Rules

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

# Python's and ECMAScript's \s are not the same, so each character stands here.
NOT_IN_IDS = r"[\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000{}]"
"""Whitespace, control characters and braces."""

ENTRY_ID = r"^[0-9]+-[0-9]+$"


def update_schema(rules: Rules) -> Schema:
    """Return the schema of what producers send."""
    return _one_of("Update", _updates(rules))


def status_schema(rules: Rules) -> Schema:
    """Return the schema of the documents in the keys of entities."""
    return _any_of("Status", _statuses(rules))


def change_schema(rules: Rules) -> Schema:
    """Return the schema of the documents in the change feed and in histories."""
    return _one_of("Change", _changes(rules))


def _one_of(title: str, schemas: Mapping[str, Schema]) -> Schema:
    refs = [{"$ref": f"#/$defs/{name}"} for name in schemas]
    return {"$schema": DIALECT, "title": title, "oneOf": refs, "$defs": dict(schemas)}


def _any_of(title: str, schemas: Mapping[str, Schema]) -> Schema:
    """Return the same of what may be of two kinds: a status does not say whose it is."""
    schema = _one_of(title, schemas)
    schema["anyOf"] = schema.pop("oneOf")
    return schema


def name_of(kind: str, what: str) -> str:
    """Return what the schema of a kind is called: ``task.update``."""
    return f"{kind}.{what}"


def _updates(rules: Rules) -> dict[str, Schema]:
    schemas = {}
    for kind, struct in Decoder(rules).updates.items():
        schema = _schema_of(struct)
        fields = schema["properties"]
        fields["kind"] = {"const": kind}
        fields["id"] = _id()
        fields["phase"] = {"enum": list(rules.kinds[kind].phases)}
        schemas[name_of(kind, "update")] = {**schema, "title": f"An update of kind {kind}"}
    return schemas


def _statuses(rules: Rules) -> dict[str, Schema]:
    return {
        name_of(kind, "status"): {
            **_published(Status, lifecycle),
            "title": f"The status of an entity of kind {kind}",
        }
        for kind, lifecycle in rules.kinds.items()
    }


def _changes(rules: Rules) -> dict[str, Schema]:
    schemas = {}
    for kind, lifecycle in rules.kinds.items():
        schema = _published(Change, lifecycle)
        fields = schema["properties"]
        fields["kind"] = {"const": kind}
        fields["id"] = _id()
        fields["from"] = {"type": "string", "description": "Absent where this is its first status."}
        fields["event"] = {"type": "string", "pattern": ENTRY_ID}
        fields["forced"] = {"const": True}
        schemas[name_of(kind, "change")] = {**schema, "title": f"A change of kind {kind}"}
    return schemas


def _schema_of(struct: type) -> Schema:
    _, components = msgspec.json.schema_components([struct], ref_template="#/$defs/{name}")
    schema: Schema = components[struct.__name__]
    return schema


def _published(struct: type, lifecycle: Lifecycle) -> Schema:
    """Return the schema of a document that workers write: what is absent is never null."""
    schema = _schema_of(struct)
    del schema["description"]
    fields: Schema = {name: _not_null(field) for name, field in schema["properties"].items()}
    fields["phase"] = {"enum": list(lifecycle.phases)}
    required = list(schema["required"])
    if lifecycle.max_retries is None:
        fields["retries"] = False
    else:
        required.append("retries")
    return {**schema, "properties": fields, "required": required}


def _not_null(field: Schema) -> Schema:
    options = [each for each in field.get("anyOf", ()) if each != {"type": "null"}]
    if not options:
        return field
    return options[0] if len(options) == 1 else {"anyOf": options}


def _id() -> Schema:
    return {
        "type": "string",
        "minLength": 1,
        "maxLength": 256,
        "not": {"pattern": NOT_IN_IDS},
        "description": "Without whitespace, control characters and braces.",
    }


def asyncapi(rules: Rules, keys: Keys, *, partitions: int, revision: int) -> Schema:
    """Return the AsyncAPI document of a deployment: its streams and keys."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": f"Status tracker, prefix {keys.prefix}",
            "version": str(revision),
            "description": "The version is the revision of the rules. Braces around a partition's "
            "number are part of the key, so they are part of the parameter's value.",
        },
        "defaultContentType": "application/json",
        "channels": _Channels(rules, keys, partitions).all(),
        "operations": {
            "receive.update": _operation("receive", "events", "Workers read updates."),
            "send.change": _operation("send", "changes", "Workers add a change."),
            "send.rejection": _operation("send", "rejected", "Workers keep what is not applied."),
            **{
                f"send.{name_of(kind, 'status')}": _operation(
                    "send", f"{kind}.status", "Workers write the status of an entity."
                )
                for kind in rules.kinds
            },
        },
        "components": {
            "messages": {
                **_messages(_updates(rules), "The field data of an entry."),
                **_messages(_changes(rules), "The field data of an entry."),
                **_messages(_statuses(rules), "The value of the key."),
                "rejection": {"payload": _rejection()},
            },
            "schemas": {**_updates(rules), **_changes(rules), **_statuses(rules)},
        },
    }


def _messages(schemas: Mapping[str, Schema], summary: str) -> dict[str, Schema]:
    return {
        name: {"summary": summary, "payload": {"$ref": f"#/components/schemas/{name}"}}
        for name in schemas
    }


def _operation(action: str, channel: str, summary: str) -> Schema:
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "summary": summary}


def _rejection() -> Schema:
    text = {"type": "string"}
    return {
        "type": "object",
        "description": "The fields of an entry.",
        "properties": {
            "reason": {"enum": list(get_args(Reason))},
            "detail": text,
            "data": {"type": "string", "description": "The original bytes."},
            "stream": text,
            "id": {"type": "string", "pattern": ENTRY_ID},
        },
        "required": ["reason", "detail", "data", "stream", "id"],
    }


class _Channels:
    """The streams and keys of a deployment, as AsyncAPI has channels."""

    def __init__(self, rules: Rules, keys: Keys, partitions: int) -> None:
        self._rules = rules
        self._own: PartitionKeys = keys.partition(0)
        self._tags = [f"{{{number}}}" for number in range(partitions)]

    def all(self) -> dict[str, Schema]:
        """Return all of them."""
        own, kinds = self._own, self._rules.kinds
        found = {
            "events": self._channel("stream", own.events, [name_of(k, "update") for k in kinds]),
            "changes": self._channel("stream", own.changes, [name_of(k, "change") for k in kinds]),
            "rejected": self._channel("stream", own.rejected, ["rejection"]),
        }
        for kind, lifecycle in kinds.items():
            phases = list(lifecycle.phases)
            status = [name_of(kind, "status")]
            found |= {
                f"{kind}.status": self._channel("string", own.status(kind, "{id}"), status),
                f"{kind}.phase": self._channel("zset", own.phase(kind, "{phase}"), [], phases),
                f"{kind}.counts": self._channel("hash", own.counts(kind), []),
            }
            if self._rules.history:
                change = [name_of(kind, "change")]
                key = own.history(kind, "{id}")
                found[f"{kind}.history"] = self._channel("list", key, change)
        return found

    def _channel(
        self, redis_type: str, key: str, messages: list[str], phases: list[str] | None = None
    ) -> Schema:
        address = key.replace(self._tags[0], "{partition}")
        known: dict[str, Schema] = {
            "partition": {"enum": self._tags, "description": "The partition's tag."},
            "id": {"description": "The entity's id."},
            "phase": {"enum": phases or []},
        }
        parameters = {name: each for name, each in known.items() if f"{{{name}}}" in address}
        return {
            "address": address,
            **({"parameters": parameters} if parameters else {}),
            "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            "x-redis-type": redis_type,
        }
