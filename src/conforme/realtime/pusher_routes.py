"""`POST /api/realtime/pusher/auth` and `/test` (spec/realtime §2)."""

import json
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, JsonValue, ValidationError

from conforme.accounts.actor import Actor, Scope
from conforme.accounts.auth import CurrentCaller, CurrentPerson, may
from conforme.foundation.database import now
from conforme.foundation.errors import Forbidden, Invalid, TooLarge
from conforme.foundation.web import ERRORS, ResourcesDep, Text, iso
from conforme.realtime.pusher import access, pusher
from conforme.realtime.pusher_access import authorise_subscription, channel_data
from conforme.realtime.pusher_names import (
    PRESENCE_PREFIX,
    TEST_CHANNELS,
    check_allowed,
    check_channel_name,
    check_event_name,
)
from conforme.realtime.pusher_signing import channel_auth
from conforme.realtime.reduction import as_object, fitted

router = APIRouter(prefix="/api/realtime/pusher", tags=["realtime"], responses=ERRORS)

MAX_BODY_BYTES = 16 * 1024
MAX_FIELDS = 20
FORM = "application/x-www-form-urlencoded"
TEST_EVENT = "realtime.test"


class Subscribing(BaseModel):
    """What pusher-js sends before it subscribes; `user_id` is ignored: who calls is known."""

    socket_id: Annotated[Text, Field(pattern=r"^[0-9]{1,20}\.[0-9]{1,20}$")]
    channel_name: Annotated[Text, Field(min_length=1, max_length=4096, pattern=r"\S")]
    user_id: JsonValue = None
    user_info: dict[str, JsonValue] = Field(default_factory=dict)


class Authorised(BaseModel):
    """Pusher's own answer; `channel_data` for presence channels."""

    auth: str
    channel_data: str | None = None


class Trying(BaseModel):
    channel: Annotated[Text, Field(max_length=4096)] | None = None
    event: Annotated[Text, Field(max_length=4096)] = TEST_EVENT
    payload: JsonValue = None


class Tried(BaseModel):
    success: bool
    channel: str
    event: str
    payload: JsonValue


_BODY = {
    "requestBody": {
        "required": True,
        "content": {kind: {"schema": Subscribing.model_json_schema()} for kind in ("application/json", FORM)},
    }
}


async def subscribing(request: Request) -> Subscribing:
    """The body, as JSON or as the form that pusher-js sends; `user_info` of a form is JSON text."""
    body = await request.body()
    if len(body) > MAX_BODY_BYTES:
        raise TooLarge(f"The body exceeds {MAX_BODY_BYTES} bytes")
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != FORM:
        return _checked(json.loads(body))
    try:
        fields: dict[str, Any] = dict(
            parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
        )
        if "user_info" in fields:
            fields["user_info"] = json.loads(fields["user_info"])
    except (ValueError, RecursionError):
        raise Invalid("The form cannot be read") from None
    return _checked(fields)


def _checked(given: Any) -> Subscribing:
    try:
        return Subscribing.model_validate(given)
    except ValidationError as error:
        issues = error.errors(include_url=False, include_input=False, include_context=False)
        raise RequestValidationError(
            [{**issue, "loc": ("body", *issue["loc"])} for issue in issues]
        ) from None


@router.post("/auth", response_model_exclude_none=True, openapi_extra=_BODY)
async def post_auth(
    request: Request,
    resources: ResourcesDep,
    person: CurrentPerson,
    caller: CurrentCaller,
    _actor: Annotated[Actor, may("realtime.auth")],
) -> Authorised:
    """Lets a person's browser subscribe to a channel, when they may see what is told on it."""
    asked = await subscribing(request)
    check_channel_name(asked.channel_name)
    check_allowed(asked.channel_name)
    provider = access(resources.settings)
    await authorise_subscription(resources.database, caller, asked.channel_name)
    data = None
    if asked.channel_name.startswith(PRESENCE_PREFIX):
        data = channel_data(person, asked.user_info)
    auth = channel_auth(provider.key, provider.secret, asked.socket_id, asked.channel_name, data)
    return Authorised(auth=auth, channel_data=data)


@router.post("/test", response_model=Tried)
async def post_test(
    body: Trying, resources: ResourcesDep, actor: Annotated[Actor, may("realtime.test")]
) -> Any:
    """Publishes one event on a test channel, for administrators."""
    private = resources.settings.pusher_use_private_channels
    channel = body.channel or ("private-realtime-test" if private else "realtime-test")
    check_channel_name(channel, "channel")
    check_event_name(body.event)
    if actor.scope is not Scope.ALL or channel not in TEST_CHANNELS:
        raise Forbidden
    given = body.payload
    payload = {"message": "hello from backend", "ts": iso(now())} if given is None else given
    provider = access(resources.settings)
    if not provider.dry_run:
        async with pusher(provider, resources.outbound) as sender:
            await sender.trigger(body.event, [channel], fitted(as_object(payload), provider.limit))
    return JSONResponse({"success": True, "channel": channel, "event": body.event, "payload": payload})
