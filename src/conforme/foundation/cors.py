"""What browsers are told: whose pages may read an answer, and what an answer may do to a page (spec/http-auth §1.6).

The Fetch standard's CORS protocol, with credentials: an origin of the list is echoed, any other is served without the
header, and its browser keeps the answer from the page.
"""

import re
from collections.abc import Iterable, Mapping

from starlette.datastructures import Headers, MutableHeaders

METHODS = "GET,HEAD,PUT,PATCH,POST,DELETE"
EXPOSED = "X-Request-Id, X-Backend-Instance, Retry-After, ETag"
HEADER_NAMES = re.compile(
    r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}(?:[ ]{0,3},[ ]{0,3}[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}){0,49}"
)
PREFLIGHT_STATUS = 204

HARDENING: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
"""On every answer that says nothing else itself: JSON neither runs nor shows anything."""
HTTPS_ONLY = "max-age=31536000"
NEVER_STORED = ("/api/auth/", "/api/admin/")
"""What no cache may keep, on the way or in the browser."""


class BrowserRules:
    """The headers of answers, by who asks and for what.

    `origins` are those whose pages may call with credentials; `https` says that the product is served over HTTPS alone.
    """

    def __init__(self, origins: Iterable[str] = (), *, https: bool = False) -> None:
        self.origins = frozenset(origins)
        self.hardening = {**HARDENING} | ({"Strict-Transport-Security": HTTPS_ONLY} if https else {})

    def mark(self, answer: MutableHeaders, asked: Headers, path: str) -> None:
        """Adds to an answer what browsers must know of it."""
        for name, value in self.hardening.items():
            answer.setdefault(name, value)
        if f"{path.lower().rstrip('/')}/".startswith(NEVER_STORED):
            answer["Cache-Control"] = "no-store"
        answer.add_vary_header("Origin")
        origin = asked.get("origin")
        if origin in self.origins:
            answer["Access-Control-Allow-Origin"] = origin
            answer["Access-Control-Allow-Credentials"] = "true"
            answer["Access-Control-Expose-Headers"] = EXPOSED


def preflight(asked: Headers) -> dict[str, str]:
    """The headers of an answer to `OPTIONS`: the methods, and those header names asked for that could be ones."""
    names = asked.get("access-control-request-headers", "")
    allowed = {"Access-Control-Allow-Headers": names} if HEADER_NAMES.fullmatch(names) else {}
    return {"Access-Control-Allow-Methods": METHODS, "Vary": "Access-Control-Request-Headers", **allowed}
