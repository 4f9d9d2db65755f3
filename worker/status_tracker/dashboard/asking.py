"""Reading requests and writing answers: queries and bodies as structs, ETags, time limits."""

import asyncio
import hashlib
from collections.abc import Awaitable
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from status_tracker.dashboard.api.answers import Query
from status_tracker.dashboard.problems import ProblemError, refusals

Q = TypeVar("Q", bound=Query)
T = TypeVar("T")

MOST_BYTES = 1_048_576
"""Bytes of a body."""

BODY_WITHIN = 10.0
"""Seconds for a body to come."""

ANSWERED_WITHIN = 10.0
"""Seconds for the deployment to answer."""

_encode = msgspec.json.Encoder().encode


def query(request: Request, struct: type[Q]) -> Q:
    """Return the parameters; raises `ProblemError` for one that is wrong, missing or not known."""
    try:
        return msgspec.convert(dict(request.query_params), struct, strict=False)
    except msgspec.ValidationError as error:
        raise ProblemError(400, str(error), field=_field(str(error))) from None


def page_query(request: Request, struct: type[Q]) -> Q:
    """Return the parameters of a page, and pass over those that links of others add."""
    known = {field.encode_name for field in msgspec.structs.fields(struct)}
    given = {name: text for name, text in request.query_params.items() if name in known}
    try:
        return msgspec.convert(given, struct, strict=False)
    except msgspec.ValidationError as error:
        field = _field(str(error)) or ""
        what = "is missing" if field not in given else "is not what it can be"
        raise ProblemError(400, f"{field}: {what}; follow a link of the dashboard") from None


async def body(request: Request, shape: Any) -> Any:
    """Return the body as a struct or another type; raises `ProblemError`."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        # What a form elsewhere can send is never this.
        raise ProblemError(415, "Content-Type: must be application/json")
    data = bytearray()
    try:
        async with asyncio.timeout(BODY_WITHIN):
            async for part in request.stream():
                data += part
                if len(data) > MOST_BYTES:
                    raise ProblemError(413, f"the body has more than {MOST_BYTES:,} bytes")
    except TimeoutError:
        raise ProblemError(408, f"the body did not come within {BODY_WITHIN:g} s") from None
    except ClientDisconnect:
        raise ProblemError(400, "the body did not come to its end") from None
    try:
        return msgspec.json.decode(bytes(data), type=shape)
    except msgspec.ValidationError as error:
        raise ProblemError(422, str(error), field=_field(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProblemError(400, "the body is no JSON") from None


def _field(message: str) -> str | None:
    """Return the field that msgspec complains of."""
    _, at, path = message.partition(" - at `$.")
    if at:
        return path.rstrip("`")
    quoted = message.split("`")
    return quoted[1] if len(quoted) > 2 and "field" in quoted[0] else None


async def in_time(work: Awaitable[T]) -> T:
    """Return what the deployment answers; raises TimeoutError where that takes too long."""
    with refusals():
        async with asyncio.timeout(ANSWERED_WITHIN):
            return await work


def answer(content: Any, status: int = 200) -> Response:
    """Return an answer in JSON."""
    return Response(_encode(content), status_code=status, media_type="application/json")


def tagged(request: Request, content: Any) -> Response:
    """Return an answer with its ETag, or 304 where whoever asks has it already."""
    document = _encode(content)
    tag = f'"{hashlib.blake2b(document, digest_size=16).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    known = request.headers.get("if-none-match", "")
    if known.strip() == "*" or tag in {
        each.strip().removeprefix("W/") for each in known.split(",")
    }:
        return Response(status_code=304, headers=headers)
    return Response(document, media_type="application/json", headers=headers)
