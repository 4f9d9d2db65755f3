"""Templates, and the answers that are made of them."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jinja2
import msgspec
from starlette.responses import Response

from status_tracker.dashboard.pages import words
from status_tracker.dashboard.pages.phases import Appearance, appearances
from status_tracker.dashboard.pages.timeline import spells
from status_tracker.models import Status
from status_tracker.rules import Rules
from status_tracker.text import escaped, escaped_lines

GONE = Appearance("over", "slash", 0)

HERE = Path(__file__).parents[1]
STATIC = HERE / "static"

CSP = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)


def address(path: str, **parameters: Any) -> str:
    """Return a relative address, so that the pages work below any path; None is left out."""
    given = {name: value for name, value in parameters.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def element(kind: str, entity_id: str) -> str:
    """Return what an entity's element is called: ids hold anything."""
    name = f"{kind}\0{entity_id}".encode(errors="surrogatepass")
    return "e" + hashlib.blake2b(name, digest_size=9).hexdigest()


def _digest() -> str:
    """Return what changes with any of the files that pages load, which browsers may keep."""
    files = sorted(STATIC.iterdir())
    found = hashlib.blake2b(digest_size=6)
    for each in files:
        found.update(each.name.encode() + each.read_bytes())
    return found.hexdigest()


DIGEST = _digest()


def _asset(name: str) -> str:
    return f"static/{DIGEST}/{name}"


def environment() -> jinja2.Environment:
    """Return the templates."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "document": document,
        "escaped": escaped,
        "exact": words.exact,
        "lines": escaped_lines,
        "number": words.number,
        "percent": words.percent,
        "shown": words.shown,
        "span": words.span,
    }
    found.globals |= {
        "address": address,
        "ago": words.ago,
        "asset": _asset,
        "element": element,
        "share": words.share,
        "spells": spells,
    }
    return found


def document(status: Status) -> str:
    """Return a status as its key has it, in lines."""
    text = msgspec.json.format(msgspec.json.encode(status)).decode()
    return escaped_lines(text)


class Looks:
    """How phases look, by kind."""

    def __init__(self, rules: Rules) -> None:
        self._kinds = {kind: appearances(life) for kind, life in rules.kinds.items()}

    def __call__(self, kind: str, phase: str) -> Appearance:
        """Return it; of a phase that the rules do not have any more, that of what is over."""
        return self._kinds.get(kind, {}).get(phase, GONE)


_templates = environment()


def macros(template: str) -> Any:
    """Return the macros of a template, which give HTML."""
    return _templates.get_template(template).module


def render(template: str, values: Mapping[str, Any]) -> str:
    """Return what a template makes of values."""
    return _templates.get_template(template).render(values)


def page(template: str, values: Mapping[str, Any], status: int = 200) -> Response:
    """Answer with a page."""
    return Response(
        render(template, values),
        status_code=status,
        media_type="text/html",
        headers={"Content-Security-Policy": CSP, "Referrer-Policy": "same-origin"},
    )
