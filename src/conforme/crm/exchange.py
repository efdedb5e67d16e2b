"""One exchange with the CRM gateway, whatever is asked: address, token, one attempt, and how it fails in our words."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import httpx2
from pydantic import SecretStr

from conforme.crm import json_text
from conforme.crm.errors import GatewayFailed
from conforme.foundation.errors import Misconfigured
from conforme.foundation.outbound import Outbound, OutboundFailed, answer_failure, exchange_failure
from conforme.settings import Settings

LONGEST_WAIT_SECONDS = 15.0
"""Cap of what the gateway may ask us to wait before the next attempt."""
_SUBJECT = "CRM gateway"
# Under load the gateway answers 404 where it means 503.
_RETRIED = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


class Exchange:
    """The gateway as configured by `FICHE_API_*`.

    Raises `Misconfigured` when it is made without an address.
    """

    def __init__(self, outbound: Outbound, settings: Settings, token: SecretStr | None = None) -> None:
        """`token` is used instead of the product's own."""
        if not settings.crm_base_url:
            raise Misconfigured(
                "No CRM gateway is configured: set FICHE_API_BASE_URL", field="FICHE_API_BASE_URL"
            )
        self._outbound = outbound
        self._base_url = settings.crm_base_url
        self._headers = authorization(token or settings.fiche_api_auth_token)

    async def get(self, path: str, query: Mapping[str, str], seconds: float) -> bytes:
        """The body of a 2xx, fetched within `seconds`.

        Raises:
            OutboundFailed: no answer, or another one.
        """
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


def flag(value: bool) -> str:
    return "true" if value else "false"


def wait_asked(failure: OutboundFailed) -> float | None:
    return min(failure.retry_after, LONGEST_WAIT_SECONDS) if failure.retry_after else None


def failed(subject: str, failure: OutboundFailed) -> GatewayFailed:
    """The failure as the gateway's: what was attempted and why it failed, without a word of its answer."""
    message = f"{subject}: {failure.reason}"
    return GatewayFailed(message, retryable=_may_retry(failure), retry_after=wait_asked(failure))


def parsed(subject: str, body: bytes) -> dict[str, Any]:
    """The JSON object of an answer.

    Raises:
        GatewayFailed: it is none.
    """
    try:
        value = json_text.parse(body)
    except json_text.MalformedJsonError:
        raise GatewayFailed(f"{subject}: the answer is not JSON") from None
    if not isinstance(value, dict):
        raise GatewayFailed(f"{subject}: the answer is not an object")
    return value


def _may_retry(failure: OutboundFailed) -> bool:
    status = failure.upstream_status
    if status is None:
        return failure.retryable
    return status in _RETRIED or status >= HTTPStatus.INTERNAL_SERVER_ERROR
