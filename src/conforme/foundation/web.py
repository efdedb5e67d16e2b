"""The conventions of the wire (spec/http-auth §1): envelope, errors, ids, dates and paging."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar

import structlog
from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import to_json
from sqlalchemy.exc import DataError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from conforme.foundation.errors import ConformeError, Invalid, NotFound, TooMany, Unavailable
from conforme.foundation.redaction import redact_text

if TYPE_CHECKING:
    from conforme.foundation.resources import Resources

log = structlog.get_logger(__name__)

M = TypeVar("M", bound=BaseModel)
INT64_MAX = 2**63 - 1
_SURROGATE = re.compile(r"[\ud800-\udfff]")
CAPACITY_ERRORS = frozenset({"53300", "53400", "57P03"})
"""PostgreSQL's way to say that it is full or starting: the caller may try again."""


def iso(moment: datetime | None) -> str | None:
    """ISO-8601 in UTC with milliseconds and `Z`."""
    if moment is None:
        return None
    # Cut rather than asked for by `timespec`, which takes twice as long: a page of a list has thousands.
    text = moment.astimezone(UTC).isoformat()
    return f"{text[:23]}Z" if text[19] == "." else f"{text[:19]}.000Z"


def decimal_text(value: Decimal | None) -> str | None:
    """A score on the wire: no exponent, no trailing zeros ("85.5", "100", "0")."""
    if value is None:
        return None
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _digits(value: Any) -> Any:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | str)
        or not re.fullmatch(r"[0-9]{1,19}", str(value))
    ):
        raise ValueError("must be a whole number")
    return int(value)


def _int64(value: int) -> int:
    if not 0 < value <= INT64_MAX:
        raise ValueError("is out of range")
    return value


WireId = Annotated[
    int, BeforeValidator(_digits), AfterValidator(_int64), PlainSerializer(str, return_type=str)
]
"""A 64-bit id: a decimal string on the wire, number or digits when read."""
WireTime = Annotated[datetime, PlainSerializer(iso, return_type=str)]
WireScore = Annotated[Decimal, PlainSerializer(decimal_text, return_type=str)]


def no_nul(value: Any) -> Any:
    """Text that UTF-8 and PostgreSQL can hold; refusing the rest names the field instead of failing later."""
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("must not contain NUL characters")
        if _SURROGATE.search(value):
            raise ValueError("must not contain halves of characters")
    return value


Text = Annotated[str, BeforeValidator(no_nul)]


class Wire(BaseModel):
    """What goes out in camelCase."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, from_attributes=True)


def in_words(model: type[M], body: Any, sentence: str) -> M:
    """The body as the model reads it. Raises `Invalid` with the contract's sentence, naming the first wrong field."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        issue = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(str(part) for part in issue["loc"]) or "body"
        hint = f"{field}: {issue['msg'].removeprefix('Value error, ')}"
        raise Invalid(sentence, field=field, hint=hint) from None


def path_id(value: str, label: str) -> int:
    """A numeric id of a path.

    Raises:
        Invalid: `Invalid <label>`, as the contract words it.
    """
    try:
        return _int64(_digits(value))
    except ValueError:
        raise Invalid(f"Invalid {label}", field=label) from None


def ok(data: Any = None, **beside: Any) -> dict[str, Any]:
    """The success envelope; `beside` holds what the contract puts next to `data`."""
    return {"success": True, "data": data, **beside} if data is not None else {"success": True, **beside}


def json_answer(body: Any) -> Response:
    """A large body that is JSON already, past FastAPI's look at each of its values."""
    return Response(to_json(body), media_type="application/json")


def failure(
    error: str, code: str | None = None, *, details: Sequence[Mapping[str, str]] = (), **beside: Any
) -> dict[str, Any]:
    """The error envelope; what a caller wrote into it comes back without personal data."""
    body: dict[str, Any] = {"success": False, "error": redact_text(error)}
    if code:
        body["code"] = code
    if details:
        body["details"] = [{name: redact_text(text) for name, text in detail.items()} for detail in details]
    return body | beside


def resources_of(request: Request) -> "Resources":
    return request.app.state.resources


ResourcesDep = Annotated[Any, Depends(resources_of)]


class Failure(BaseModel):
    """What every error answers."""

    success: bool
    error: str
    code: str | None = None
    details: list[dict[str, str]] | None = None


ERRORS: dict[int | str, dict[str, Any]] = {
    status.value: {"model": Failure, "description": status.phrase}
    for status in (
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.CONFLICT,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
    )
}
"""For `responses=`: every status a route may answer beside its success."""


def _answer(error: ConformeError) -> JSONResponse:
    details = [{"field": error.field, "message": error.message}] if error.field else []
    beside = {"message": error.hint} if error.hint else {}
    headers = {"Retry-After": str(error.retry_after)} if isinstance(error, TooMany) else None
    return JSONResponse(
        failure(error.message, error.code, details=details, **beside), error.status, headers=headers
    )


async def answer_known(request: Request, error: Exception) -> JSONResponse:
    """Answers an error of ours with its status and code."""
    assert isinstance(error, ConformeError)  # noqa: S101 -- the handler is registered for this class alone
    level = "error" if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR else "info"
    getattr(log, level)("request refused", path=request.url.path, status=int(error.status), code=error.code)
    return _answer(error)


async def _malformed(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 -- as above
    details = [
        {
            "field": ".".join(str(part) for part in issue["loc"][1:]) or str(issue["loc"][0]),
            "message": issue["msg"],
        }
        for issue in error.errors()[:20]
    ]
    first = details[0]
    message = f"{first['field']}: {first['message']}"
    return JSONResponse(failure(message, Invalid.code, details=details), status_code=Invalid.status)


async def _database_trouble(request: Request, error: Exception) -> JSONResponse:
    cause = getattr(error, "orig", None)
    state = getattr(cause, "sqlstate", None)
    if isinstance(error, DataError):
        return _answer(Invalid("A value is out of range or holds characters that cannot be stored"))
    if isinstance(error, OperationalError | PoolTimeout) or state in CAPACITY_ERRORS:
        log.error("database unavailable", path=request.url.path, sqlstate=state)
        return _answer(Unavailable("The database is not available; try again"))
    return await unexpected(request, error)


async def unexpected(request: Request, error: Exception) -> JSONResponse:
    """What nobody caught: told to the log in full, to the caller as no more than that."""
    log.error("request failed", path=request.url.path, error=type(error).__name__, exc_info=error)
    return _answer(ConformeError())


def install_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(ConformeError, answer_known)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(DBAPIError, _database_trouble)
    app.add_exception_handler(PoolTimeout, _database_trouble)
    app.add_exception_handler(Exception, unexpected)


def route_not_found(request: Request) -> NotFound:
    query = f"?{request.url.query}" if request.url.query else ""
    return NotFound.of("Route", f"{request.url.path}{query}")


T = TypeVar("T")


class Answer(BaseModel, Generic[T]):
    """The success envelope as a type, for the API's document."""

    success: Literal[True] = True
    data: T


class Pagination(BaseModel):
    """What `Page.describe` gives."""

    total: int
    limit: int
    offset: int
    current_page: int
    total_pages: int
    has_next_page: bool
    has_prev_page: bool


class Page(BaseModel):
    """`limit`/`offset` of a list."""

    limit: int
    offset: int

    def describe(self, total: int) -> dict[str, Any]:
        """The `pagination` object of the contract (spec/audits §10.2)."""
        pages = -(-total // self.limit)
        return {
            "total": total,
            "limit": self.limit,
            "offset": self.offset,
            "current_page": self.offset // self.limit + 1,
            "total_pages": pages,
            "has_next_page": self.offset + self.limit < total,
            "has_prev_page": self.offset > 0,
        }
