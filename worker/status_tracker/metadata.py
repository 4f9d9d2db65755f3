"""What everyone who connects must agree on: the server, partitions, layout, and the rules."""

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Literal

import msgspec
from msgspec import Struct
from redis.exceptions import ResponseError

from status_tracker.connection.client import Client, checked, server_info
from status_tracker.decode import Decoder
from status_tracker.errors import ConfigError
from status_tracker.fold import Fold
from status_tracker.keys import Keys, Layout
from status_tracker.lua.amend import amend
from status_tracker.rules import Rules, parse_rules, rules_json
from status_tracker.text import decoded, decoded_fields, shortened

VERSION = "2"
"""Of the keys' names and contents."""

FIRST_VERSION = "1"
"""Of the first release, whose rules were each worker's own. A worker takes it over."""

FIELDS = ("version", "partitions", "layout", "revision", "rules")
"""What the `meta` key of every deployment holds, besides the rules of each revision."""

OLDEST_SERVER = (7, 0)
"""The first with `XGROUP SETID … ENTRIESREAD`, and that refuses a script whole when it is full."""


class RulesLostError(ResponseError):
    """The `meta` key does not have rules that were in force, nor does anybody here.

    An operator can mend that, so it is waited out like other states of the keys.
    """


class Deployment(Struct, frozen=True, kw_only=True, dict=True):
    """What everyone who connects agrees on."""

    keys: Keys
    partitions: int
    revision: int
    """How many rules the deployment has had, from 1."""
    rules: Rules
    """Those in force."""
    texts: Mapping[int, str]
    """Revision → its rules as JSON; some of the earlier ones may be missing."""

    @cached_property
    def decoder(self) -> Decoder:
        """Reads the updates of these rules; for all partitions, it is made once."""
        return Decoder(self.rules)

    @cached_property
    def folds(self) -> Mapping[str, Fold]:
        """What an update does, by kind; likewise."""
        return {kind: Fold(kind, self.rules) for kind in self.rules.kinds}

    def had(self, rules: Rules) -> int | None:
        """Return the latest revision with these rules, None where there never was one."""
        if rules == self.rules:
            return self.revision
        return next((number for number, each in self.revisions() if each == rules), None)

    def revisions(self) -> Iterator[tuple[int, Rules]]:
        """Yield the rules of each revision that can be read, the latest first."""
        for revision in sorted(self.texts, reverse=True):
            try:
                yield revision, _parsed(self.texts[revision])
            except ValueError:
                continue  # an older release may have written what this one has no word for

    def phases(self) -> dict[str, list[str]]:
        """Return the phases of each kind, of all revisions: a status may keep one that is gone."""
        found: dict[str, dict[str, None]] = {}
        for _, rules in self.revisions():
            for kind, lifecycle in rules.kinds.items():
                found.setdefault(kind, {}).update(dict.fromkeys(lifecycle.phases))
        return {kind: list(phases) for kind, phases in found.items()}


def deployment_of(prefix: str, fields: Mapping[str, str]) -> Deployment:
    """Return a deployment from the fields of its `meta` key.

    Raises `ConfigError` where there is none, or one that this release does not know.
    """
    key = Keys(prefix, "single").meta
    if not fields:
        raise ConfigError(
            f"no deployment with prefix {prefix}: start a worker first, or give another --prefix"
        )
    _refuse_half_filled(key, fields)
    if fields.get("version") == FIRST_VERSION:
        raise ConfigError(
            f"version: {key} is of the first release, whose rules were its workers' own: start a "
            "worker of this release, which takes the deployment over"
        )
    _compare(key, {"version": VERSION}, fields)
    for field in FIELDS:
        if field not in fields:
            raise ConfigError(f"{field}: {key} has no such field: restore it from a backup")
    if not re.fullmatch(r"[1-9]\d{0,3}", fields["partitions"]):
        raise ConfigError(f"partitions: {key} says {fields['partitions']}, which cannot be")
    if fields["layout"] not in ("single", "cluster"):
        raise ConfigError(
            f"layout: {key} says {fields['layout']}, which this release does not know"
        )
    layout: Layout = "cluster" if fields["layout"] == "cluster" else "single"
    revision = _revision(key, fields)
    return Deployment(
        keys=Keys(prefix, layout),
        partitions=int(fields["partitions"]),
        revision=revision,
        rules=_rules(key, fields["rules"]),
        texts=_texts(revision, fields),
    )


async def read_deployment(client: Client, prefix: str) -> Deployment:
    """Return a deployment, without creating one; raises what `deployment_of` raises."""
    return deployment_of(prefix, await _read(client, Keys(prefix, "single").meta))


async def ensure_deployment(
    client: Client,
    prefix: str,
    *,
    partitions: int,
    layout: Layout | Literal["auto"],
    rules: Rules,
    old_rules: Rules | None = None,
    known: Deployment | None = None,
) -> Deployment:
    """Check a deployment against its `meta` key; create it, by these rules, where there is none.

    One of the first release is taken over, by `old_rules`. What was lost is written back, as far
    as it is known. `auto` takes the layout that the deployment was created with, and creates one
    with the layout that suits the server.

    Raises `ConfigError` where the server is too old or has no place for the layout, or where the
    deployment was created otherwise; `RulesLostError` where rules were lost that are not known.
    """
    is_cluster = await _check_server(client)
    if is_cluster and layout == "single":
        raise ConfigError(
            "layout: configured is single, but the server is part of a Redis Cluster; "
            'set layout = "cluster" (or "auto")'
        )
    key = Keys(prefix, "single").meta
    wanted = {"partitions": str(partitions)} | ({} if layout == "auto" else {"layout": layout})
    suited = {"layout": "cluster" if is_cluster else "single"}
    fields = await _read(client, key)
    _refuse_half_filled(key, fields)
    _compare(key, wanted, fields)
    if fields.get("version") == FIRST_VERSION and old_rules is not None:
        rules = old_rules
    while lacking := _lacking(key, fields, rules, known):
        lost = await _lost_rules(client, key, prefix, partitions, known)
        seen, fields = fields, await _read(client, key)
        if fields == seen:
            if lost is not None:
                raise lost
            agreed = suited | fields | wanted | {"version": VERSION} | lacking
            fields = await amend(client, meta=key, seen=fields, fields=agreed)
        _compare(key, wanted, fields)  # somebody else may have been first
    deployment = deployment_of(prefix, fields)
    if is_cluster and deployment.keys.layout == "single":
        raise ConfigError(
            f"layout: {key} says that this deployment was created with single, which has no "
            "place on a Redis Cluster; choose another prefix, with layout cluster"
        )
    return deployment


async def revise(client: Client, deployment: Deployment, rules: Rules) -> Deployment:
    """Make rules the next revision of a deployment; return the deployment as it is then.

    Raises `ConfigError` where somebody else was faster.
    """
    key, text = deployment.keys.meta, rules_json(rules)
    revision = str(deployment.revision + 1)
    fields = await amend(
        client,
        meta=key,
        seen={"version": VERSION, "revision": str(deployment.revision)},
        fields={"rules": text, "revision": revision, f"rules:{revision}": text},
    )
    if fields.get("revision") != revision or fields.get("rules") != text:
        raise ConfigError(
            f"revision: {key} has {fields.get('revision', 'none')} by now, written by somebody "
            "else: look at what changed, and apply yours again"
        )
    return deployment_of(deployment.keys.prefix, fields)


async def begin_import(
    client: Client,
    prefix: str,
    *,
    snapshot: str,
    partitions: int,
    layout: Layout,
    revision: int,
    texts: Mapping[int, str],
) -> Deployment:
    """Return a deployment that nobody uses before `finish_import`; create it where there is none.

    On a Redis Cluster its layout is `cluster`, whatever is asked for. Raises `ConfigError` where
    there is another one than a snapshot of this name began to fill, with these partitions.
    """
    key = Keys(prefix, "single").meta
    is_cluster = await _check_server(client)
    # Without a version: whoever does not know `importing` refuses that.
    wanted = {
        "importing": snapshot,
        "partitions": str(partitions),
        "layout": "cluster" if is_cluster else layout,
        **_as_fields(revision, texts),
    }
    deployment = deployment_of(prefix, _as_if_finished(wanted))
    fields = await _read(client, key) or await amend(client, meta=key, seen={}, fields=wanted)
    if fields.get("importing") is None:
        raise ConfigError(
            f"{key}: there is a deployment already: an import fills one that is not there yet; "
            "choose another --prefix, or another server"
        )
    _compare(key, {name: wanted[name] for name in ("importing", "partitions", "layout")}, fields)
    return deployment


async def finish_import(client: Client, deployment: Deployment, imported: str) -> None:
    """Let everybody use a deployment that is filled; note what it was filled from."""
    key = deployment.keys.meta
    seen = {"revision": str(deployment.revision)}
    await amend(client, meta=key, seen=seen, fields={"version": VERSION, "imported": imported})
    await client.execute("HDEL", key, "importing")


async def read_revision(client: Client, keys: Keys) -> tuple[str, str]:
    """Return the version and the revision as they are there; "" for none."""
    found = await client.execute("HMGET", keys.meta, "version", "revision")
    version, revision = (decoded(each or b"") for each in found)
    return version, revision


def _refuse_half_filled(key: str, fields: Mapping[str, str]) -> None:
    if "importing" in fields:
        raise ConfigError(
            f"importing: {key} says that the import of snapshot {fields['importing']} was not "
            "finished: go on with it (status-tracker import FILE), or delete the deployment's keys"
        )


def _as_if_finished(fields: Mapping[str, str]) -> dict[str, str]:
    """Return the fields of a deployment that is being imported, as they are going to be."""
    rest = {name: text for name, text in fields.items() if name != "importing"}
    return rest | {"version": VERSION}


def _lacking(
    key: str, fields: Mapping[str, str], rules: Rules, known: Deployment | None
) -> dict[str, str]:
    """Return the rules that are to be written, as fields; none where they are there."""
    version = fields.get("version")
    if version in (None, FIRST_VERSION):
        if known is not None:
            return _as_fields(known.revision, known.texts)
        # Where the version alone is gone, nobody knows what was there besides.
        if version is not None or not fields.keys() & {"rules", "revision"}:
            return _as_fields(1, {1: rules_json(rules)})
    elif (
        known is not None
        and version == VERSION
        and _number(fields.get("revision")) < known.revision
    ):
        if not _texts(known.revision, fields).items() <= known.texts.items():
            raise RulesLostError(
                f"{key} has revision {fields.get('revision', 'none')}, with other rules than this "
                f"worker knows, which goes by revision {known.revision}: restore {key}, or "
                "restart the workers"
            )
        return _as_fields(known.revision, known.texts)
    return {}


def _as_fields(revision: int, texts: Mapping[int, str]) -> dict[str, str]:
    fields = {f"rules:{number}": text for number, text in texts.items()}
    return fields | {"revision": str(revision), "rules": texts[revision]}


async def _lost_rules(
    client: Client, key: str, prefix: str, partitions: int, known: Deployment | None
) -> RulesLostError | None:
    """Return an error where a partition goes by rules that are later than those that are known."""
    revision = 0 if known is None else known.revision
    hashes = [Keys(prefix, "single").partition(each).partition for each in range(partitions)]
    replies = await client.execute_all([("HGET", each, "revision") for each in hashes])
    for name, reply in zip(hashes, checked(replies), strict=True):
        held = _number(decoded(reply or b""))
        if held > revision:
            return RulesLostError(
                f"{key} was lost, but {name} goes by revision {held} of the rules: a worker that "
                f"still runs writes it back; else restore {key}, or, to begin again with revision "
                "1, delete the field revision of every such hash"
            )
    return None


async def _check_server(client: Client) -> bool:
    """Refuse a server that is too old; tell whether it is part of a cluster."""
    info = await server_info(client)
    version = info["redis_version"]
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST_SERVER:
        raise ConfigError(
            f"the server is Redis {version}; needed is Redis 7.0 or later, or any Valkey"
        )
    return info.get("cluster_enabled") == "1"


async def _read(client: Client, key: str) -> dict[str, str]:
    try:
        flat = await client.execute("HGETALL", key)
    except ResponseError as error:
        if "WRONGTYPE" not in str(error):
            raise
        raise ConfigError(f"{key} is not the hash of a deployment: choose another prefix") from None
    return decoded_fields(flat)


def _revision(key: str, fields: Mapping[str, str]) -> int:
    """Return the number of the rules in force, of which there must be a copy."""
    text = fields["revision"]
    if not re.fullmatch(r"[1-9]\d{0,8}", text):
        raise ConfigError(f"revision: {key} says {shortened(text)}, which cannot be")
    if fields.get(f"rules:{text}") != fields["rules"]:
        raise ConfigError(
            f"rules: {key} does not have the same in rules and in rules:{text}: restore both; new "
            "rules are written by `status-tracker rules apply`"
        )
    return int(text)


def _rules(key: str, text: str) -> Rules:
    try:
        return _parsed(text)
    except ValueError as error:
        raise ConfigError(
            f"rules: {key} has none that this release can read ({error}): run a release that can, "
            "or restore them"
        ) from None


def _parsed(text: str) -> Rules:
    """Read rules as JSON; raises ValueError."""
    try:
        return parse_rules(msgspec.json.decode(text, type=dict[str, Any]))
    except RecursionError:
        raise ValueError("lists or tables are too deep in each other") from None


def _texts(revision: int, fields: Mapping[str, str]) -> dict[int, str]:
    found = {
        _number(name.removeprefix("rules:")): text
        for name, text in fields.items()
        if name.startswith("rules:")
    }
    return {number: text for number, text in sorted(found.items()) if 0 < number <= revision}


def _number(text: str | None) -> int:
    """Return a revision; 0 where there is none, or somebody wrote something else."""
    return int(text) if text and re.fullmatch(r"\d{1,9}", text) else 0


def _compare(key: str, wanted: Mapping[str, str], meta: Mapping[str, str]) -> None:
    """Refuse a deployment that was created with other values than the wanted ones."""
    for field, value in wanted.items():
        created = meta.get(field, value)
        if created == value:
            continue
        remedy = f"set {field} to {created}, or choose another prefix"
        if field == "importing":
            remedy = "go on with that one, or delete the deployment's keys"
        if field == "version":
            remedy = "run a release that writes that version, or choose another prefix"
        raise ConfigError(
            f"{field}: configured is {value}, but {key} says that this deployment was created "
            f"with {created}: {remedy}"
        )
