"""The weather of a simulated provider: which share of requests goes wrong, and how long an answer takes."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Fault(StrEnum):
    """What can go wrong with a request, as its sender sees it."""

    RATE_LIMITED = "rate_limited"
    """429 with `Retry-After`; the request is not processed."""
    SERVER_ERROR = "server_error"
    """500; not processed."""
    UNAVAILABLE = "unavailable"
    """503 without `Retry-After`; not processed."""
    TIMEOUT = "timeout"
    """Silence for `hang_seconds`, then the connection is cut; not processed."""
    DISCONNECT = "disconnect"
    """Processed, but the connection is cut in the middle of the answer."""
    MALFORMED = "malformed"
    """Processed and answered 200 with a body that breaks the protocol."""


class FaultPlan(BaseModel):
    """Share of requests (0 to 1) that meet each kind of fault; the rest is answered.

    Given `rate` instead of `shares`, the rate is spread evenly over refusals and silence (429, 500, 503, timeout).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    shares: dict[Fault, float] = Field(default_factory=dict[Fault, float])
    retry_after_seconds: float = Field(default=1.0, ge=0)
    hang_seconds: float = Field(default=10.0, ge=0)
    down: bool = False
    """Every request is answered 503."""

    @model_validator(mode="before")
    @classmethod
    def _spread(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or "rate" not in value:
            return value
        kinds = (Fault.RATE_LIMITED, Fault.SERVER_ERROR, Fault.UNAVAILABLE, Fault.TIMEOUT)
        fields = {key: field for key, field in value.items() if key != "rate"}
        return fields | {"shares": dict.fromkeys(kinds, float(value["rate"]) / len(kinds))}

    @model_validator(mode="after")
    def _at_most_everything(self) -> Self:
        if any(share < 0 for share in self.shares.values()) or sum(self.shares.values()) > 1 + 1e-9:
            raise ValueError("shares must not be negative and must add up to at most 1")
        return self

    @classmethod
    def of_rate(cls, rate: float, **fields: Any) -> Self:
        return cls.model_validate({"rate": rate} | fields)

    def draw(self, fraction: float) -> Fault | None:
        """The fault that a number drawn evenly from [0, 1) falls on."""
        for kind in Fault:
            share = self.shares.get(kind, 0.0)
            if fraction < share:
                return kind
            fraction -= share
        return None


class Latency(BaseModel):
    """Time to answer: `base_ms` plus `per_unit_ms` for each unit the route declared (an output token, a second)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_ms: float = Field(default=0.0, ge=0)
    per_unit_ms: float = Field(default=0.0, ge=0)

    def seconds(self, units: float) -> float:
        return (self.base_ms + self.per_unit_ms * units) / 1000
