"""The wire of `/api/webhooks`: no payload, no URL and no secret is ever shown."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from conforme.foundation.web import Pagination, Text, Wire, WireTime

Status = Literal["pending", "sent", "failed"]
Identifier = Annotated[Text, Field(min_length=1, max_length=200)]


class DeliveryLine(Wire):
    """One delivery in a list."""

    id: str
    endpoint_id: str
    job_id: str
    event: str
    status: Status
    status_code: int | None
    attempt: int
    """Number of the attempt that is due, or of the last one."""
    max_attempts: int
    next_retry_at: WireTime | None
    sent_at: WireTime | None
    dead_at: WireTime | None
    created_at: WireTime


class AttemptOut(Wire):
    """How one attempt went."""

    attempt: int
    at: WireTime
    status_code: int | None
    error: str | None
    milliseconds: int
    response_excerpt: str | None


class DeliveryOut(DeliveryLine):
    """A delivery with what became of its attempts."""

    origin: str
    """`scheme://host:port` it goes to: paths of webhooks are often secrets."""
    response_body: str | None
    attempts: list[AttemptOut]


class EndpointOut(Wire):
    id: str
    subject: str
    origin: str
    signed: bool
    previous_secret_until: WireTime | None
    disabled_at: WireTime | None
    disabled_because: str | None
    asked_by: str
    created_at: WireTime


class Deliveries(BaseModel):
    success: Literal[True] = True
    data: list[DeliveryLine]
    pagination: Pagination


class Delivery(BaseModel):
    success: Literal[True] = True
    data: DeliveryOut


class Redelivered(BaseModel):
    success: Literal[True] = True
    data: DeliveryLine


class Endpoints(BaseModel):
    success: Literal[True] = True
    data: list[EndpointOut]
    pagination: Pagination


class Endpoint(BaseModel):
    success: Literal[True] = True
    data: EndpointOut


class DeliveryFilters(BaseModel):
    """Which deliveries to list."""

    status: Status | None = None
    event: Identifier | None = None
    job_id: Identifier | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 50
    offset: Annotated[int, Field(ge=0, le=1_000_000)] = 0


class RedeliverMany(BaseModel):
    """Which dead letters to send again."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["failed"] = "failed"
    job_id: Identifier | None = None
    endpoint_id: Identifier | None = None


class RedeliveredMany(BaseModel):
    success: Literal[True] = True
    redelivered: int
    remaining: int
    """Dead letters that are left: ask again."""


class NewSecret(BaseModel):
    """The secret to sign with from now on. What is wrong with it is told without repeating it."""

    model_config = ConfigDict(extra="forbid")

    secret: Text
