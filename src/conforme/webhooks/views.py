"""Rows as the wire shows them."""

from collections.abc import Sequence

from conforme.webhooks.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from conforme.webhooks.schemas import AttemptOut, DeliveryLine, DeliveryOut, EndpointOut
from conforme.webhooks.sending import origin_of


def delivery_out(row: WebhookDelivery, attempts: Sequence[WebhookAttempt]) -> DeliveryOut:
    return DeliveryOut(
        **DeliveryLine.model_validate(row).model_dump(),
        origin=origin_of(row.url),
        response_body=row.response_body,
        attempts=[AttemptOut.model_validate(attempt) for attempt in attempts],
    )


def endpoint_out(row: WebhookEndpoint) -> EndpointOut:
    return EndpointOut(
        id=row.id,
        subject=row.subject,
        origin=origin_of(row.url),
        signed=row.secret is not None,
        previous_secret_until=row.previous_secret_until,
        disabled_at=row.disabled_at,
        disabled_because=row.disabled_because,
        asked_by=row.asked_by,
        created_at=row.created_at,
    )
