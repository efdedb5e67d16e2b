"""The CRM's directory (spec/fiches §1.3): its people and its sales teams, in one attempt each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import structlog
from pydantic import ValidationError

from conforme.crm.base import GatewayModel
from conforme.crm.directory_schemas import CrmGroup, CrmUser
from conforme.crm.errors import GatewayFailed
from conforme.crm.exchange import Exchange, failed, flag, parsed
from conforme.foundation.outbound import Outbound, OutboundFailed
from conforme.settings import Settings

log = structlog.get_logger(__name__)

CALL_SECONDS = 60.0
"""Longest time one call may take, body included."""

Item = TypeVar("Item", bound=GatewayModel)


@dataclass(frozen=True, slots=True)
class Listed(Generic[Item]):
    """What could be read of a listing, in its order, and how many items could not."""

    items: tuple[Item, ...]
    skipped: int


class CrmDirectory:
    """The directory as configured by `FICHE_API_*`.

    Raises `Misconfigured` when it is made without an address; its calls raise `GatewayFailed` when the gateway cannot
    be reached or its answer is no listing.
    """

    def __init__(self, outbound: Outbound, settings: Settings) -> None:
        self._exchange = Exchange(outbound, settings)

    async def users(self) -> Listed[CrmUser]:
        """Everybody the CRM knows."""
        subject = "Failed to fetch CRM users"
        answer = await self._asked(subject, "utilisateurs", {})
        return _read(_items(subject, "utilisateurs", answer), CrmUser)

    async def groups(self, *, include_users: bool) -> Listed[CrmGroup]:
        """Every sales team; with the CRM ids of its members on demand."""
        subject = "Failed to fetch CRM groups"
        answer = await self._asked(subject, "utilisateurs/groupes", {"include_users": flag(include_users)})
        return _read(_items(subject, "groupes", answer), CrmGroup)

    async def _asked(self, subject: str, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        try:
            answer = await self._exchange.get(path, query, CALL_SECONDS)
        except OutboundFailed as failure:
            raise failed(subject, failure) from None
        return parsed(subject, answer)


def _items(subject: str, key: str, answer: dict[str, Any]) -> list[Any]:
    if answer.get("success") is False:
        raise GatewayFailed(f"{subject}: the gateway reports a failure")
    data = answer.get("data")
    items = data.get(key) if isinstance(data, dict) else None
    if not isinstance(items, list):
        raise GatewayFailed(f"{subject}: data.{key}: list_type")
    return items


def _read(items: Sequence[Any], kind: type[Item]) -> Listed[Item]:
    read: list[Item] = []
    for item in items:
        try:
            read.append(kind.model_validate(item))
        except ValidationError:
            continue
    skipped = len(items) - len(read)
    if skipped:
        log.warning("malformed items of the CRM directory skipped", kind=kind.__name__, count=skipped)
    return Listed(tuple(read), skipped)
