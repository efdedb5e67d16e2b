"""Who works at the CRM (spec/fiches §1.3): people and sales teams. Only what is named here is kept of an item."""

from typing import Annotated

from pydantic import ConfigDict, StringConstraints

from conforme.crm.base import GatewayModel, Key, NullableKey, NullableNumber

MAX_ID = 80
CrmId = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID, pattern=r"\S")]


class _DirectoryModel(GatewayModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class CrmUser(_DirectoryModel):
    """A person of the CRM; the id alone is certain."""

    id: CrmId
    nom: NullableKey = None
    prenom: NullableKey = None
    telephone: NullableKey = None
    email: NullableKey = None
    login: NullableKey = None
    agence: NullableKey = None
    agence_id: NullableKey = None
    role: NullableKey = None
    role_id: NullableKey = None
    etat: NullableKey = None
    actif: bool | None = None
    tv: bool | None = None
    se: bool | None = None


class CrmGroup(_DirectoryModel):
    """A sales team of the CRM; `user_ids` is None when members were not asked for."""

    id: CrmId
    nom: Key
    membres_count: NullableNumber = None
    responsable_1: NullableKey = None
    responsable_2: NullableKey = None
    responsable_3: NullableKey = None
    user_ids: list[CrmId] | None = None
