"""The wire of `/api/auth` (spec/http-auth §2.5)."""

import re
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field

from conforme.accounts.actor import Caller, Person
from conforme.accounts.grants import Scope
from conforme.accounts.wire import grants_out
from conforme.foundation.web import Text, no_nul

EMAIL = re.compile(
    r"[a-z0-9_'+-]+(?:\.[a-z0-9_'+-]+)*@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}",
    re.ASCII | re.IGNORECASE,
)
MAX_EMAIL = 254
"""RFC 5321 §4.5.3.1.3, without the angle brackets."""


def _email(value: object) -> object:
    """Checked before it is lower-cased: some letters beyond ASCII become one of it."""
    if not isinstance(value, str):
        return value
    trimmed = value.strip()
    if len(trimmed) > MAX_EMAIL or not EMAIL.fullmatch(trimmed):
        raise ValueError("must be an e-mail address")
    return trimmed.lower()


Email = Annotated[str, BeforeValidator(_email)]
Password = Annotated[str, Field(min_length=8, max_length=200), BeforeValidator(no_nul)]
"""Taken as it is: neither trimmed nor normalised."""


class Login(BaseModel):
    email: Email
    password: Password


class Refresh(BaseModel):
    """For callers without cookies; the cookie wins."""

    refresh_token: Annotated[Text | None, Field(min_length=1, max_length=500)] = None


class AcceptInvite(BaseModel):
    invite_token: Annotated[Text, Field(min_length=20, max_length=500)]
    password: Password


class ChangePassword(BaseModel):
    current_password: Annotated[Text, Field(min_length=1, max_length=200)]
    new_password: Password


class GrantOut(BaseModel):
    key: str
    read: bool
    write: bool
    read_scope: Scope
    write_scope: Scope


class UserOut(BaseModel):
    """A person, and what they may do now."""

    id: str
    email: str
    roles: list[str]
    crm_user_id: str | None
    groupes: list[str]
    permissions: list[GrantOut]

    @classmethod
    def of(cls, caller: Caller, person: Person) -> "UserOut":
        return cls(
            id=str(person.id),
            email=person.email,
            roles=list(person.roles),
            crm_user_id=person.crm_user_id,
            groupes=list(person.teams),
            permissions=[GrantOut(**grant) for grant in grants_out(caller.grants)],
        )


class Tokens(BaseModel):
    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 -- a kind, not a token
    expires_in: int
    """Seconds."""
    user: UserOut


class TokenAnswer(BaseModel):
    success: Literal[True] = True
    data: Tokens


class Me(BaseModel):
    user: UserOut


class MeAnswer(BaseModel):
    success: Literal[True] = True
    data: Me


class LoggedOut(BaseModel):
    logged_out: Literal[True] = True


class LogoutAnswer(BaseModel):
    success: Literal[True] = True
    data: LoggedOut = LoggedOut()
