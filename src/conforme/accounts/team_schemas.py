"""The wire of teams and of the CRM's directory (spec/http-auth §4): snake_case, ids as strings."""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from conforme.crm.directory_schemas import MAX_ID
from conforme.foundation.web import Pagination, Text, WireId

T = TypeVar("T")

MAX_TEXT = 200
MAX_ROLES = 50
Line = Annotated[Text, StringConstraints(strip_whitespace=True, pattern=r"\S", max_length=MAX_TEXT)]
Responsable = Annotated[Text, StringConstraints(max_length=MAX_TEXT)] | None
RoleKey = Annotated[Text, StringConstraints(min_length=1, max_length=MAX_ID)]


def _digits_as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


CrmKey = Annotated[
    Text,
    StringConstraints(strip_whitespace=True, pattern=r"\S", max_length=MAX_ID),
    BeforeValidator(_digits_as_text),
]
"""An id of the CRM; a number is read as its digits."""


class Counted(BaseModel):
    """What every list has beside its items."""

    count: int
    """Of the items in this answer."""
    pagination: Pagination


class TeamName(BaseModel):
    id: WireId
    crm_group_id: str
    name: str


class TeamOut(TeamName):
    responsable_1: str | None
    responsable_2: str | None
    responsable_3: str | None
    membres_count: int


class PersonOut(BaseModel):
    id: WireId
    email: str
    status: str
    crm_user_id: str | None


class InvitedOut(PersonOut):
    roles: list[str]


class MemberOut(BaseModel):
    user_id: WireId
    email: str
    status: str
    crm_user_id: str | None


class TeamWithMembers(TeamOut):
    members: list[MemberOut]
    user_ids: list[WireId]


class TeamList(Counted):
    teams: list[TeamWithMembers | TeamOut]


class TeamAnswer(BaseModel):
    team: TeamOut


class TeamDeleted(BaseModel):
    deleted: Literal[True] = True
    team: TeamName


class MemberAdded(BaseModel):
    added: Literal[True] = True
    team: TeamName
    user: PersonOut


class MemberRemoved(BaseModel):
    removed: Literal[True] = True


class Synced(BaseModel):
    synced: Literal[True] = True
    teams_upserted: int
    members_added: int
    note: str


class CrmUserLine(BaseModel):
    """A person of the CRM, and the account linked to them."""

    id: str
    nom: str | None
    prenom: str | None
    telephone: str | None
    email: str | None
    login: str | None
    agence: str | None
    agence_id: str | None
    role: str | None
    role_id: str | None
    etat: str | None
    actif: bool | None
    tv: bool | None
    se: bool | None
    app_user: PersonOut | None


class CrmUserList(Counted):
    utilisateurs: list[CrmUserLine]
    skipped: int
    """Malformed items of the CRM."""


class CrmTeamLine(BaseModel):
    id: str
    nom: str
    membres_count: int | None
    responsable_1: str | None
    responsable_2: str | None
    responsable_3: str | None


class CrmTeamWithUsers(CrmTeamLine):
    user_ids: list[str]


class CrmTeamList(Counted):
    groupes: list[CrmTeamWithUsers | CrmTeamLine]
    skipped: int
    """Malformed items of the CRM."""


class FromCrmOut(BaseModel):
    user: InvitedOut
    team: TeamName | None
    groupe: TeamName | None
    invite_token: str | None
    """Shown this once."""


class _Incoming(BaseModel):
    """Unknown keys are dropped, as the contract says."""

    model_config = ConfigDict(extra="ignore")


class _Responsables(_Incoming):
    responsable_1: Responsable = None
    responsable_2: Responsable = None
    responsable_3: Responsable = None


class UpsertTeam(_Responsables):
    crm_group_id: CrmKey
    name: Line


class ChangeTeam(_Responsables):
    name: Annotated[Line, Field(default="")]

    @model_validator(mode="after")
    def _something(self) -> "ChangeTeam":
        if not self.changes():
            raise ValueError("name or a responsable is required")
        return self

    def changes(self) -> dict[str, str | None]:
        return self.model_dump(exclude_unset=True)


class AddMember(_Incoming):
    user_id: WireId


class FromCrm(_Incoming):
    crm_user_id: CrmKey
    role_keys: Annotated[list[RoleKey], Field(min_length=1, max_length=MAX_ROLES)] | None = None
    crm_group_id: CrmKey | None = None
