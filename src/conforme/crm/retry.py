"""When a call to the gateway is worth another attempt (spec/fiches §1): what durable steps are given as `retry`."""

from conforme.crm.errors import FicheNotFound, GatewayFailed
from conforme.foundation.jobs import Retry

ATTEMPTS = 3


def worth_retrying(error: BaseException) -> bool:
    """Statuses and transport errors that the gateway gets over; its plain refusals are final."""
    return isinstance(error, FicheNotFound | GatewayFailed) and error.retryable


CRM_RETRY = Retry(attempts=ATTEMPTS, base_seconds=1.0, cap_seconds=15.0, when=worth_retrying)
