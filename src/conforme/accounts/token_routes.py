"""`/api/admin/api-tokens`: credentials for machines."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from conforme.accounts import api_tokens
from conforme.accounts.actor import Actor
from conforme.accounts.auth import CurrentCaller, may
from conforme.accounts.models import ApiToken
from conforme.accounts.token_schemas import CreateToken, Issued, Revoked, TokenList, TokenOut
from conforme.foundation.web import ERRORS, Answer, Page, Pagination, ResourcesDep, path_id

router = APIRouter(prefix="/api/admin/api-tokens", tags=["API tokens"], responses=ERRORS)

Reader = Annotated[Actor, may("admin.users.read")]
Writer = Annotated[Actor, may("admin.users.write")]
MAX_LISTED = 500
LABEL = "API token id"


@router.get("")
async def listing(
    resources: ResourcesDep,
    actor: Reader,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = MAX_LISTED,
    offset: Annotated[int, Query(ge=0, le=1_000_000_000)] = 0,
) -> Answer[TokenList]:
    """One's own tokens, newest first; with scope ALL everybody's. Secrets are never shown again."""
    page = Page(limit=limit, offset=offset)
    async with resources.database.read() as session:
        tokens, total = await api_tokens.page_of(session, actor, page)
    shown = [_out(token) for token in tokens]
    paging = Pagination.model_validate(page.describe(total))
    return Answer(data=TokenList(api_tokens=shown, count=len(shown), pagination=paging))


@router.post("", status_code=201)
async def create(
    resources: ResourcesDep, caller: CurrentCaller, _actor: Writer, body: CreateToken, response: Response
) -> Answer[Issued]:
    """Makes a token within what the caller holds. `token` is shown this once."""
    wish = api_tokens.Wish(
        name=body.name,
        grants=[grant.model_dump() for grant in body.permission_grants],
        expires_at=body.expires_at,
        groupes=body.groupes,
        crm_user_id=body.crm_user_id,
    )
    async with resources.database.write() as session:
        secret, token = await api_tokens.create(session, caller, wish)
    return _issued(secret, token, response)


@router.post("/{token_id}/rotate")
async def rotate(
    resources: ResourcesDep, caller: CurrentCaller, actor: Writer, token_id: str, response: Response
) -> Answer[Issued]:
    """Gives one's own token another secret; the one before stops at once."""
    number = path_id(token_id, LABEL)
    async with resources.database.write() as session:
        secret, token = await api_tokens.rotate(session, caller, actor, number)
    return _issued(secret, token, response)


@router.delete("/{token_id}")
async def revoke(resources: ResourcesDep, actor: Writer, token_id: str) -> Answer[Revoked]:
    """Ends a token at once; one that was revoked stays so."""
    number = path_id(token_id, LABEL)
    async with resources.database.write() as session:
        token = await api_tokens.revoke(session, actor, number)
    return Answer(data=Revoked(api_token=_out(token)))


def _issued(secret: str, token: ApiToken, response: Response) -> Answer[Issued]:
    response.headers["Cache-Control"] = "no-store"
    return Answer(data=Issued(token=secret, api_token=_out(token)))


def _out(token: ApiToken) -> TokenOut:
    names = [name for name in TokenOut.model_fields if name != "permission_grants"]
    stored = {name: getattr(token, name) for name in names}
    return TokenOut.model_validate(stored | {"permission_grants": token.grants})
