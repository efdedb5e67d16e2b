"""The wire of API tokens: snake_case, ids as strings."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from conforme.accounts.grants import Scope
from conforme.accounts.team_schemas import Counted
from conforme.foundation.web import Text, WireId, WireTime

MAX_GROUPES = 100


def _only_text(value: Any) -> Any:
    if value is not None and not isinstance(value, str):
        raise ValueError("must be an ISO-8601 time")
    return value


def _in_utc(value: datetime) -> datetime:
    """A time without a zone is UTC."""
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        raise ValueError("is out of range") from None


Moment = Annotated[datetime, BeforeValidator(_only_text), AfterValidator(_in_utc)]


class GrantIn(BaseModel):
    model_config = ConfigDict(extra="ignore")

    key: Annotated[Text, StringConstraints(min_length=1, max_length=80)]
    read: bool = False
    write: bool = False
    scope: Scope = Scope.SELF


class CreateToken(BaseModel):
    """Unknown keys are dropped: who owns a token comes from the credentials, never from the body."""

    model_config = ConfigDict(extra="ignore")

    name: Annotated[Text, StringConstraints(strip_whitespace=True, pattern=r"\S", max_length=200)]
    permission_grants: Annotated[list[GrantIn], Field(min_length=1, max_length=100)]
    expires_at: Moment | None = None
    groupes: Annotated[
        list[Annotated[Text, StringConstraints(pattern=r"\S", max_length=500)]],
        Field(max_length=MAX_GROUPES),
    ] = []
    crm_user_id: Annotated[Text, StringConstraints(pattern=r"\S", max_length=80)] | None = None


class GrantOut(BaseModel):
    key: str
    read: bool
    write: bool
    scope: Scope


class TokenOut(BaseModel):
    """A token without its secret."""

    id: WireId
    name: str
    hint: str
    permission_grants: list[GrantOut]
    groupes: list[str]
    crm_user_id: str | None
    owner_id: WireId | None
    made_by: str
    expires_at: WireTime | None
    last_used_at: WireTime | None
    revoked_at: WireTime | None
    created_at: WireTime


class Issued(BaseModel):
    token: str
    """Shown this once."""
    api_token: TokenOut


class Revoked(BaseModel):
    revoked: Literal[True] = True
    api_token: TokenOut


class TokenList(Counted):
    api_tokens: list[TokenOut]
