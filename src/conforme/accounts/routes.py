"""`/api/auth`: how people sign in and out (spec/http-auth §2.5)."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Request, Response

from conforme.accounts import access_tokens, cookies, sessions, signing_in
from conforme.accounts.auth import CurrentPerson, identify, presented
from conforme.accounts.schemas import (
    AcceptInvite,
    ChangePassword,
    Login,
    LogoutAnswer,
    Me,
    MeAnswer,
    Refresh,
    TokenAnswer,
    Tokens,
    UserOut,
)
from conforme.accounts.sessions import Client, Opened
from conforme.foundation.errors import Unauthenticated
from conforme.foundation.resources import Resources
from conforme.foundation.web import ERRORS, resources_of

router = APIRouter(
    prefix="/api/auth",
    tags=["auth"],
    responses=ERRORS,
    dependencies=[Depends(cookies.refuse_foreign_pages)],
)

MAX_ADDRESS, MAX_AGENT = 64, 300
NOT_VALID = "Invalid or expired access token"
NOTHING_SENT = Refresh()


def client_of(request: Request) -> Client:
    """The peer as the server knows it: which proxies are believed is the server's setting."""
    address = _bounded(request.client.host if request.client else None, MAX_ADDRESS)
    return Client(address, _bounded(request.headers.get("user-agent"), MAX_AGENT))


def _bounded(value: str | None, most: int) -> str | None:
    return value.replace("\0", "")[:most] if value else None


Having = Annotated[Resources, Depends(resources_of)]
From = Annotated[Client, Depends(client_of)]
Cookie = Annotated[str | None, Depends(cookies.refresh_cookie)]
Sent = Annotated[Refresh, Body()]


async def _tokens(resources: Resources, response: Response, opened: Opened) -> TokenAnswer:
    token, caller, person = await signing_in.signed(resources, opened)
    cookies.keep(response, opened.refresh_token, resources.settings)
    expires_in = resources.settings.auth_access_ttl_seconds
    user = UserOut.of(caller, person)
    return TokenAnswer(data=Tokens(access_token=token, expires_in=expires_in, user=user))


@router.post("/login")
async def login(asked: Login, client: From, resources: Having, response: Response) -> TokenAnswer:
    """Signs in by e-mail address and password; the refresh token comes as a cookie."""
    opened = await signing_in.login(resources, asked.email, asked.password, client)
    return await _tokens(resources, response, opened)


@router.post("/refresh")
async def refresh(
    client: From, resources: Having, response: Response, cookie: Cookie, sent: Sent = NOTHING_SENT
) -> TokenAnswer:
    """A new access token and the next refresh token; each refresh token is good for one use."""
    access_tokens.signing_key(resources.settings)
    token = cookie or sent.refresh_token
    if token is None:
        raise Unauthenticated("Missing refresh token")
    return await _tokens(resources, response, await signing_in.refresh(resources, token, client))


@router.post("/logout")
async def logout(
    request: Request, resources: Having, response: Response, cookie: Cookie, sent: Sent = NOTHING_SENT
) -> LogoutAnswer:
    """Ends the session of the refresh token, and that of the access token where one is sent; always succeeds."""
    token = cookie or sent.refresh_token
    caller = await identify(request)
    async with resources.database.write() as session:
        if token is not None:
            await sessions.end_session_of(session, token, sessions.LOGOUT)
        if caller is not None and caller.person is not None:
            await sessions.end_session(session, caller.person.session_id, sessions.LOGOUT)
    cookies.clear(response, resources.settings)
    return LogoutAnswer()


@router.post("/logout-everywhere")
async def logout_everywhere(person: CurrentPerson, resources: Having, response: Response) -> LogoutAnswer:
    """Ends every session of the caller, this one too."""
    async with resources.database.write() as session:
        await sessions.end_sessions(session, person.id, sessions.EVERYWHERE)
    cookies.clear(response, resources.settings)
    return LogoutAnswer()


@router.post("/invite/accept")
async def accept_invite(
    asked: AcceptInvite, client: From, resources: Having, response: Response
) -> TokenAnswer:
    """Sets the password of a person who was invited, and signs them in."""
    opened = await signing_in.accept_invite(resources, asked.invite_token, asked.password, client)
    return await _tokens(resources, response, opened)


@router.post("/password")
async def change_password(
    asked: ChangePassword, person: CurrentPerson, client: From, resources: Having, response: Response
) -> TokenAnswer:
    """Changes the caller's password: every session of theirs ends, and this one goes on under new tokens."""
    opened = await signing_in.change_password(
        resources, person, asked.current_password, asked.new_password, client
    )
    return await _tokens(resources, response, opened)


@router.get("/me")
async def me(request: Request, resources: Having) -> MeAnswer:
    """Who the access token stands for, and what they may do now."""
    credential = presented(request)
    if not credential:
        raise Unauthenticated("Missing access token")
    caller = await identify(request)
    if caller is None or caller.person is None:
        raise Unauthenticated(await _why_nobody(resources, credential))
    return MeAnswer(data=Me(user=UserOut.of(caller, caller.person)))


async def _why_nobody(resources: Resources, credential: str) -> str:
    """Why an access token stands for nobody; those of machines do not either."""
    decoded = access_tokens.decoded(credential, resources.settings)
    if decoded is None or decoded["token_type"] != access_tokens.TYPE:
        return NOT_VALID
    claims = access_tokens.claims_of(decoded)
    if claims is None:
        return "Invalid access token"
    async with resources.database.read() as session:
        return NOT_VALID if await signing_in.exists(session, claims.user_id) else "User not found"
