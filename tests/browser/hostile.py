"""Text that means to be more than text, in every field that a producer can set."""

from tests.browser.deployment import Site, reject, update
from tests.servers import wait_until

TEXTS = [
    "<script>alert(1)</script>",
    "\"><img/src=x/onerror='alert(2)'>",
    "'/onmouseover='alert(3)'/x='",
    "<svg/onload=alert(4)>",
    "</textarea></title></style></script><iframe/src=javascript:alert(5)>",
    "javascript:alert(6)",
    "&lt;b&gt;&amp;&#x3c;",
    "\u202egpj.exe\u2066\u200f",
    "Überweisungsbestätigungsschlüssel-für-Straßenverkehrsämter",
    "日本語の識別子はここで終わらないこともある",
    "👩‍👩‍👧‍👦🏳️‍🌈" * 8,
    "مرحبا-שלום",
    "__proto__",
    "null",
    "../../%2e%2e/%00?a=b&c#d",
    "W" * 256,
]
"""Each may be an id."""

MESSAGES = [
    "\x1b[31mred\x1b]0;title\x07\x00\r\n\t.",
    "<b>" * 3_333,
    "M" * 10_000,
    "word " * 2_000,
    " ".join(TEXTS),
]
"""What only a message may be."""

RAW = [
    b"",
    b"\xff\xfe\x00\x1b[2J<script>alert(7)</script>",
    b"<img src=x onerror=alert(8)>" * 3_000,
    *[update(kind="W" * 200, id="W" * 300, phase="W")] * 3,
    *(
        update(kind=text, id=f"{text} ", phase=text, updatedAt=text, progress=text)
        for text in [*TEXTS, *MESSAGES]
    ),
    *(update(kind="task", id=f"rejected-{text}", phase=text, updatedAt=1e12) for text in TEXTS),
]
"""Entries that no worker applies."""


def fill(site: Site) -> None:
    """Have it all applied or rejected."""
    messages = MESSAGES * len(TEXTS)
    for text, message in zip(TEXTS, messages, strict=False):
        for phase in ("pending", "waiting"):
            site.emitter.task(text, phase)
        site.emitter.task(text, "running", progress=0.5, error_message=message)
        site.emitter.task(f"{text[:250]}-fails", "pending")
        site.emitter.task(f"{text[:250]}-fails", "failed", error_message=text)
        site.emitter.asset(text, "uploading", error_message=text)
    for number, data in enumerate(RAW):
        reject(site, data, number % 4)
    for text in TEXTS:
        site.wait(text, "uploading", kind="asset")
    wait_until(lambda: len(site.reader.rejected(limit=1_000).entries) == len(RAW))
