"""The refresh cookie (spec/http-auth §2.4), and which pages may make a browser send it.

A browser sends a cookie along with what any page makes it ask. So whoever asks with the cookie must be a page of the
product itself or of an origin that is allowed; without the cookie there is nothing to misuse.
"""

from datetime import UTC, datetime
from urllib.parse import urlsplit

from fastapi import Request, Response

from conforme.foundation.errors import Forbidden
from conforme.settings import Settings

PATH = "/api/auth"
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def refresh_cookie(request: Request) -> str | None:
    """The refresh token that the browser holds; None when there is none or it is empty."""
    settings: Settings = request.app.state.resources.settings
    return request.cookies.get(settings.auth_refresh_cookie_name) or None


def keep(response: Response, token: str, settings: Settings) -> None:
    """Hands the refresh token to the browser, out of reach of any script."""
    response.set_cookie(
        settings.auth_refresh_cookie_name,
        token,
        max_age=settings.auth_refresh_ttl_seconds,
        path=PATH,
        secure=settings.cookie_secure,
        httponly=True,
        samesite=settings.auth_cookie_samesite,
    )


def clear(response: Response, settings: Settings) -> None:
    """Takes it back: the same cookie, long expired."""
    response.set_cookie(
        settings.auth_refresh_cookie_name,
        "",
        expires=LONG_AGO,
        path=PATH,
        secure=settings.cookie_secure,
        httponly=True,
        samesite=settings.auth_cookie_samesite,
    )


def refuse_foreign_pages(request: Request) -> None:
    """Guards what the cookie opens.

    Raises:
        Forbidden: the cookie comes along, and the page that asks is of another site.
    """
    settings: Settings = request.app.state.resources.settings
    if settings.auth_refresh_cookie_name not in request.cookies:
        return
    origin = request.headers.get("origin")
    if origin is None:
        # Browsers name the origin of every POST. Those that hide it still say how far away it is.
        foreign = request.headers.get("sec-fetch-site", "").strip().lower() == "cross-site"
    else:
        foreign = origin not in settings.cors_allowed_origins and not _own(request, origin)
    if foreign:
        raise Forbidden


def _own(request: Request, origin: str) -> bool:
    """Whether an origin is the address that the request was made to; one without TLS is not one with it."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    downgraded = request.url.scheme == "https" and parts.scheme != "https"
    named = parts.scheme in {"http", "https"} and bool(parts.netloc)
    return named and not downgraded and parts.netloc.lower() == request.headers.get("host", "").lower()
