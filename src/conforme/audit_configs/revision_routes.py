"""`/api/audit-configs/{id}/revisions`: what a configuration said, and what changed."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from conforme.accounts.actor import Actor
from conforme.accounts.auth import may
from conforme.audit_configs import queries
from conforme.audit_configs.changes import changes
from conforme.audit_configs.drafts import existing, rules_of
from conforme.audit_configs.revisions import Written, numbered, publish, state
from conforme.audit_configs.schemas import ChangeOut, Difference, RevisionLine, RevisionOut, Revisions
from conforme.foundation.errors import Invalid
from conforme.foundation.web import ERRORS, Answer, Page, Pagination, ResourcesDep, path_id

Reader = Annotated[Actor, may("audit-configs.read")]
Writer = Annotated[Actor, may("audit-configs.read", "audit-configs.write")]
Side = Annotated[str, Query(max_length=20, description="A revision's number, or `draft`.")]
LABEL = "audit config id"
NUMBER_LABEL = "revision number"
DRAFT = "draft"

router = APIRouter(prefix="/api/audit-configs", tags=["audit configs"], responses=ERRORS)


@router.get("/{config_id}/revisions")
async def listing(
    resources: ResourcesDep,
    _actor: Reader,
    config_id: str,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> Revisions:
    """Its immutable revisions, the latest first, and which of them says what the draft says now."""
    page = Page(limit=limit, offset=offset)
    async with resources.database.read() as session:
        digest = rules_of(await existing(session, path_id(config_id, LABEL))).sha256()
        rows, total = await queries.revisions_of(session, int(config_id), page)
    lines = [RevisionLine.model_validate(row) for row in rows]
    for line in lines:
        line.is_draft = line.sha256 == digest
    return Revisions(data=lines, pagination=Pagination.model_validate(page.describe(total)))


@router.post("/{config_id}/revisions")
async def publication(resources: ResourcesDep, actor: Writer, config_id: str) -> Answer[RevisionOut]:
    """Makes the draft a revision now, rather than when it is first run; the latest one when nothing changed."""
    async with resources.database.write() as session:
        made = await publish(session, path_id(config_id, LABEL), created_by=actor.name)
        return Answer(data=_whole(made))


@router.get("/{config_id}/revisions/diff")
async def difference(
    resources: ResourcesDep,
    _actor: Reader,
    config_id: str,
    before: Annotated[Side, Query(alias="from")],
    after: Annotated[Side, Query(alias="to")] = DRAFT,
) -> Answer[Difference]:
    """What changed from one revision to another, or to the draft, field by field."""
    config, sides = path_id(config_id, LABEL), (_side(before, "from"), _side(after, "to"))
    async with resources.database.read() as session:
        old, new = [await state(session, config, side) for side in sides]
    found = [ChangeOut.model_validate(change) for change in changes(old, new)]
    return Answer(data=Difference(before=before, after=after, changes=found))


@router.get("/{config_id}/revisions/{number}")
async def one(resources: ResourcesDep, _actor: Reader, config_id: str, number: str) -> Answer[RevisionOut]:
    """One revision, whole: the rules by which its audits were judged."""
    config, wanted = path_id(config_id, LABEL), path_id(number, NUMBER_LABEL)
    async with resources.database.read() as session:
        return Answer(data=_whole(await numbered(session, config, wanted)))


def _whole(found: Written) -> RevisionOut:
    row = found.row
    return RevisionOut(
        number=row.number,
        sha256=row.sha256,
        created_by=row.created_by,
        created_at=row.created_at,
        content=found.rules,
    )


def _side(value: str, field: Literal["from", "to"]) -> int | None:
    if value == DRAFT:
        return None
    try:
        return path_id(value, NUMBER_LABEL)
    except Invalid:
        raise Invalid(f"Invalid {field} (expected a revision number, or draft)", field=field) from None
