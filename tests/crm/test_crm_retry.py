"""Which failures of the gateway are worth another attempt."""

import pytest

from conforme.crm.errors import FicheNotFound, GatewayFailed
from conforme.crm.retry import CRM_RETRY


@pytest.mark.parametrize("error", [GatewayFailed("busy", retryable=True), FicheNotFound("1", retryable=True)])
def test_what_may_pass_is_tried_three_times_with_growing_waits(error: Exception) -> None:
    assert CRM_RETRY.when(error)
    assert CRM_RETRY.attempts == 3
    assert [CRM_RETRY.wait_seconds(attempt, error, chance=0) for attempt in (1, 2, 9)] == [1, 2, 15]


@pytest.mark.parametrize("error", [FicheNotFound("1"), GatewayFailed("no"), RuntimeError("bug")])
def test_what_will_not_pass_is_tried_once(error: Exception) -> None:
    assert not CRM_RETRY.when(error)


def test_the_gateway_s_wish_to_wait_is_honoured() -> None:
    assert CRM_RETRY.wait_seconds(1, GatewayFailed("busy", retryable=True, retry_after=9)) == 9
