"""The client of the CRM gateway (spec/fiches §1): one HTTP attempt per call.

Its errors say whether trying again may help; the layer that retries is the caller's (`crm.retry`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx2
from pydantic import SecretStr, ValidationError

from conforme.crm import json_text
from conforme.crm.errors import FicheNotFound, GatewayFailed
from conforme.crm.schemas import FicheDetails, SalesFiche
from conforme.crm.validation import Quarantined, read_fiches, reason_of
from conforme.foundation.errors import Misconfigured
from conforme.foundation.outbound import Outbound, OutboundFailed, answer_failure, exchange_failure
from conforme.settings import Settings

CALL_SECONDS = 120.0
"""Longest time one call may take, body included."""
LONGEST_WAIT_SECONDS = 15.0
"""Cap of what the gateway may ask us to wait before the next attempt."""
SALE_STATUS = 53
"""The CRM's status of a fiche that became a sale."""
_SUBJECT = "CRM gateway"
# Under load the gateway answers 404 where it means 503.
_RETRIED = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


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

    def __init__(self, outbound: Outbound, settings: Settings) -> None:
        if not settings.crm_base_url:
            raise Misconfigured(
                "No CRM gateway is configured: set FICHE_API_BASE_URL", field="FICHE_API_BASE_URL"
            )
        self._outbound = outbound
        self._base_url = settings.crm_base_url
        self._headers = authorization(settings.fiche_api_auth_token)

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
            "include_recordings": _flag(include_recordings),
            "include_transcriptions": "false",
        }
        try:
            answer = await self._get("fiches/sales-with-calls", query, seconds)
        except OutboundFailed as failure:
            raise _failed(subject, failure) from None
        return _listing(subject, _parsed(subject, answer))

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
            "include_mail_devis": _flag(include_mail_devis),
        }
        try:
            answer = await self._get(f"fiches/by-id/{quote(fiche_id, safe='')}", query, seconds)
        except OutboundFailed as failure:
            if failure.upstream_status == HTTPStatus.NOT_FOUND:
                wait = _wait(failure)
                raise FicheNotFound(fiche_id, retryable=True, retry_after=wait) from None
            raise _failed(subject, failure) from None
        return _details(subject, fiche_id, _parsed(subject, answer))

    async def _get(self, path: str, query: Mapping[str, str], seconds: float) -> bytes:
        try:
            async with self._outbound.provider(
                base_url=self._base_url, headers=self._headers, timeout=seconds
            ) as client:
                response = await client.get(path, params=query)
        except httpx2.HTTPError as error:
            raise exchange_failure(_SUBJECT, error) from None
        if not response.is_success:
            raise answer_failure(_SUBJECT, response)
        return response.content


def authorization(token: SecretStr | None) -> dict[str, str]:
    """The header of a token; one that already says `Bearer` is sent as it is."""
    value = token.get_secret_value().strip() if token else ""
    if not value:
        return {}
    return {"authorization": value if value.lower().startswith("bearer ") else f"Bearer {value}"}


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _may_retry(failure: OutboundFailed) -> bool:
    status = failure.upstream_status
    if status is None:
        return failure.retryable
    return status in _RETRIED or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def _wait(failure: OutboundFailed) -> float | None:
    return min(failure.retry_after, LONGEST_WAIT_SECONDS) if failure.retry_after else None


def _failed(subject: str, failure: OutboundFailed) -> GatewayFailed:
    message = f"{subject}: {failure.reason}"
    return GatewayFailed(message, retryable=_may_retry(failure), retry_after=_wait(failure))


def _parsed(subject: str, body: bytes) -> dict[str, Any]:
    try:
        value = json_text.parse(body)
    except json_text.MalformedJsonError:
        raise GatewayFailed(f"{subject}: the answer is not JSON") from None
    if not isinstance(value, dict):
        raise GatewayFailed(f"{subject}: the answer is not an object")
    return value


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
