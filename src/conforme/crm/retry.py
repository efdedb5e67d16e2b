"""When a call to the gateway is worth another attempt (spec/fiches §1).

Retry in one layer: durable steps are given `CRM_RETRY`; a read that no step stands around goes through `persistently`.
Never both.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from conforme.crm.errors import FicheNotFound, GatewayFailed
from conforme.foundation.jobs import Retry

T = TypeVar("T")

ATTEMPTS = 3


def worth_retrying(error: BaseException) -> bool:
    """Statuses and transport errors that the gateway gets over; its plain refusals are final."""
    return isinstance(error, FicheNotFound | GatewayFailed) and error.retryable


CRM_RETRY = Retry(attempts=ATTEMPTS, base_seconds=1.0, cap_seconds=15.0, when=worth_retrying)

Sleep = Callable[[float], Awaitable[None]]


async def persistently(
    call: Callable[[float], Awaitable[T]],
    *,
    seconds: float,
    retry: Retry = CRM_RETRY,
    sleep: Sleep = asyncio.sleep,
) -> T:
    """The result of `call`, tried as often as `retry` allows within `seconds` for everything, waits included.

    `call` is given the seconds that are left. When the next wait would outlast them, the last error stands.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    attempt = 1
    while True:
        try:
            return await call(deadline - clock())
        except Exception as error:
            if attempt >= retry.attempts or not retry.when(error):
                raise
            wait = retry.wait_seconds(attempt, error)
            if clock() + wait >= deadline:
                raise
        await sleep(wait)
        attempt += 1
