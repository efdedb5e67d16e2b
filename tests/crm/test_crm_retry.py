"""One layer of retries, one budget for all of it."""

from dataclasses import dataclass, field

import pytest

from conforme.crm.errors import FicheNotFound, GatewayFailed
from conforme.crm.retry import CRM_RETRY, persistently

BUSY = GatewayFailed("busy", retryable=True)


@dataclass
class Script:
    """Fails with each error in turn, then answers; notes how long it was made to wait."""

    errors: list[Exception]
    calls: int = 0
    waits: list[float] = field(default_factory=list)

    async def call(self, seconds: float) -> str:
        assert seconds > 0
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


async def test_what_may_pass_is_tried_three_times_with_growing_waits() -> None:
    script = Script([BUSY, BUSY])
    assert await persistently(script.call, seconds=120, sleep=script.sleep) == "answer"
    assert script.calls == 3
    first, second = script.waits
    assert 0.5 <= first <= 1
    assert 1.25 <= second <= 2


async def test_the_last_error_stands_when_attempts_are_used_up() -> None:
    final = FicheNotFound("1", retryable=True)
    script = Script([BUSY, BUSY, final, BUSY])
    with pytest.raises(FicheNotFound) as caught:
        await persistently(script.call, seconds=120, sleep=script.sleep)
    assert caught.value is final
    assert script.calls == CRM_RETRY.attempts


@pytest.mark.parametrize("error", [FicheNotFound("1"), GatewayFailed("no"), RuntimeError("bug")])
async def test_what_will_not_pass_is_tried_once(error: Exception) -> None:
    script = Script([error])
    with pytest.raises(type(error)):
        await persistently(script.call, seconds=120, sleep=script.sleep)
    assert script.calls == 1


async def test_the_gateway_s_wish_to_wait_is_honoured() -> None:
    script = Script([GatewayFailed("busy", retryable=True, retry_after=9)])
    await persistently(script.call, seconds=120, sleep=script.sleep)
    assert script.waits == [9]


async def test_no_wait_outlasts_the_budget() -> None:
    script = Script([GatewayFailed("busy", retryable=True, retry_after=9)])
    with pytest.raises(GatewayFailed):
        await persistently(script.call, seconds=5, sleep=script.sleep)
    assert script.waits == []
