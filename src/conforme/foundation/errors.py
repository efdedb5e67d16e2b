"""One root of errors: each carries its HTTP status and a stable code.

ConformeError
├── Invalid              400 VALIDATION_ERROR
│   └── InvalidJson      400 INVALID_JSON
├── Unauthenticated      401 AUTHENTICATION_ERROR
├── Forbidden            403 AUTHORIZATION_ERROR
├── NotFound             404 NOT_FOUND
├── Conflict             409 CONFLICT
├── TooLarge             413 PAYLOAD_TOO_LARGE
├── TooMany              429 RATE_LIMITED
├── External             502 EXTERNAL_API_ERROR
├── Unavailable          503 SERVICE_UNAVAILABLE
└── Misconfigured        500 CONFIGURATION_ERROR

The message of an error is written for the caller: it never carries a key nor personal data.
"""

from http import HTTPStatus
from typing import ClassVar


class ConformeError(Exception):
    """Internal server error"""

    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR
    code: ClassVar[str] = "INTERNAL_ERROR"

    def __init__(
        self, message: str | None = None, *, field: str | None = None, hint: str | None = None
    ) -> None:
        self.message = message or (type(self).__doc__ or "").strip()
        self.field = field
        """Path of the offending input, for example `steps.0.weight`."""
        self.hint = hint
        """What to do about it; `message` on the wire, where the contract has one."""
        super().__init__(self.message)


class Invalid(ConformeError):
    """Invalid input"""

    status = HTTPStatus.BAD_REQUEST
    code = "VALIDATION_ERROR"


class InvalidJson(Invalid):
    """Invalid JSON body"""

    code = "INVALID_JSON"


class Unauthenticated(ConformeError):
    """Authentication required"""

    status = HTTPStatus.UNAUTHORIZED
    code = "AUTHENTICATION_ERROR"


class Forbidden(ConformeError):
    """Forbidden"""

    status = HTTPStatus.FORBIDDEN
    code = "AUTHORIZATION_ERROR"


class NotFound(ConformeError):
    """Not found"""

    status = HTTPStatus.NOT_FOUND
    code = "NOT_FOUND"

    @classmethod
    def of(cls, resource: str, identifier: object) -> "NotFound":
        return cls(f"{resource} with ID '{identifier}' not found")


class Conflict(ConformeError):
    """Conflict"""

    status = HTTPStatus.CONFLICT
    code = "CONFLICT"


class TooLarge(ConformeError):
    """Payload too large"""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code = "PAYLOAD_TOO_LARGE"


class TooMany(ConformeError):
    """Too many attempts; try again later"""

    status = HTTPStatus.TOO_MANY_REQUESTS
    code = "RATE_LIMITED"

    def __init__(self, message: str | None = None, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Whole seconds until it may be tried again; `Retry-After` on the wire."""


class External(ConformeError):
    """External API error"""

    status = HTTPStatus.BAD_GATEWAY
    code = "EXTERNAL_API_ERROR"

    def __init__(
        self, message: str | None = None, *, retryable: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.retry_after = retry_after
        """Seconds the other side asked us to wait, when it said so."""


class Unavailable(ConformeError):
    """Service unavailable"""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "SERVICE_UNAVAILABLE"


class Misconfigured(ConformeError):
    """Configuration error"""

    code = "CONFIGURATION_ERROR"
