"""The client of the CRM gateway (spec/fiches §1): one HTTP attempt per call.

Its errors say whether trying again may help; the layer that retries is the caller's (`crm.retry`).
"""

from dataclasses import dataclass
from datetime import date
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from pydantic import SecretStr, ValidationError

from conforme.crm.errors import FicheNotFound, GatewayFailed
from conforme.crm.exchange import Exchange, failed, flag, parsed, wait_asked
from conforme.crm.schemas import FicheDetails, SalesFiche
from conforme.crm.validation import Quarantined, read_fiches, reason_of
from conforme.foundation.outbound import Outbound, OutboundFailed
from conforme.settings import Settings

CALL_SECONDS = 120.0
"""Longest time one call may take, body included."""
SALE_STATUS = 53
"""The CRM's status of a fiche that became a sale."""


@dataclass(frozen=True, slots=True)
class SalesListing:
    """The sales of some days.

    `total` is the gateway's own count; what it announced and neither `fiches` nor `quarantined` holds was not sent.
    """

    fiches: tuple[SalesFiche, ...]
    quarantined: tuple[Quarantined, ...]
    total: int


class CrmGateway:
    """The gateway as configured by `FICHE_API_*`.

    Raises `Misconfigured` when it is made without an address.
    """

    def __init__(self, outbound: Outbound, settings: Settings, token: SecretStr | None = None) -> None:
        """`token` is used instead of the product's own."""
        self._exchange = Exchange(outbound, settings, token)

    async def sales(
        self, start: date, end: date, *, include_recordings: bool, seconds: float = CALL_SECONDS
    ) -> SalesListing:
        """Sales from `start` to `end`, both included.

        Raises:
            GatewayFailed: it cannot be reached or its answer is no listing; a malformed fiche is set aside instead.
        """
        subject = f"Failed to fetch sales with calls for {start.isoformat()}..{end.isoformat()}"
        query = {
            "start_date": start.isoformat(),
            "end_date": end.isoformat(),
            "status_id": str(SALE_STATUS),
            "include_recordings": flag(include_recordings),
            "include_transcriptions": "false",
        }
        try:
            answer = await self._exchange.get("fiches/sales-with-calls", query, seconds)
        except OutboundFailed as failure:
            raise failed(subject, failure) from None
        return _listing(subject, parsed(subject, answer))

    async def fiche(
        self, fiche_id: str, *, include_mail_devis: bool = False, seconds: float = CALL_SECONDS
    ) -> FicheDetails:
        """One fiche with its sections and calls.

        Raises:
            FicheNotFound: the gateway does not know it.
            GatewayFailed: it cannot be reached, or answers something else than this fiche.
        """
        subject = f"Failed to fetch fiche details for {fiche_id}"
        query = {
            "include_recordings": "true",
            "include_transcriptions": "false",
            "include_mail_devis": flag(include_mail_devis),
        }
        try:
            answer = await self._exchange.get(f"fiches/by-id/{quote(fiche_id, safe='')}", query, seconds)
        except OutboundFailed as failure:
            if failure.upstream_status == HTTPStatus.NOT_FOUND:
                wait = wait_asked(failure)
                raise FicheNotFound(fiche_id, retryable=True, retry_after=wait) from None
            raise failed(subject, failure) from None
        return _details(subject, fiche_id, parsed(subject, answer))


def _listing(subject: str, answer: dict[str, Any]) -> SalesListing:
    items, total = answer.get("fiches"), answer.get("total")
    if answer.get("success") is False:
        raise GatewayFailed(f"{subject}: the gateway reports a failure")
    if not isinstance(items, list):
        raise GatewayFailed(f"{subject}: fiches: list_type")
    if not isinstance(total, int) or isinstance(total, bool):
        raise GatewayFailed(f"{subject}: total: int_type")
    fiches, quarantined = read_fiches(items)
    return SalesListing(fiches, quarantined, total)


def _details(subject: str, fiche_id: str, answer: dict[str, Any]) -> FicheDetails:
    if answer.get("success") is False:
        raise FicheNotFound(fiche_id)
    try:
        details = FicheDetails.model_validate(answer)
    except ValidationError as error:
        raise GatewayFailed(f"{subject}: {reason_of(error)}") from None
    if details.information and details.information.fiche_id != fiche_id:
        raise GatewayFailed(f"{subject}: the gateway answered another fiche")
    return details
