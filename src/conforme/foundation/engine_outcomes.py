"""How the engine goes from a body or a step to what it does around it: in a thread only where the database is asked.

The engine takes a thread three times per step: to look for a stored result, to be handed the function that stores
one, and to store it. The first does nothing for a job of which nothing is stored, the second never does anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any


def stay_on_the_loop(pending: Any, deferred: type, is_fresh: Callable[[], bool]) -> None:
    """Changes the engine's class of awaited outcomes (`pending`).

    `deferred` is its class of results that are yet to be waited for; `is_fresh` says whether nothing is stored of the
    job that runs.
    """
    look_up = pending._intercept  # noqa: SLF001

    async def stored(call: Callable[[], Awaitable[Any]], store: Callable[[Callable[[], Any]], Any]) -> Any:
        try:
            value = await call()
            result = await asyncio.to_thread(store, lambda: value)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 -- stored, and raised again by `store`
            failure = error  # which outlives this block
            result = await asyncio.to_thread(store, lambda: pending._raise(failure))  # noqa: SLF001
        return await result.resolve_async() if isinstance(result, deferred) else result

    def then(self: Any, store: Callable[[Callable[[], Any]], Any], **_: Any) -> Any:
        return pending(lambda: stored(self._func, store))

    def intercept(self: Any, interceptor: Callable[[], Any], **options: Any) -> Any:
        return pending(lambda: self._func() if is_fresh() else look_up(self._func, interceptor, **options))

    pending.then, pending.intercept = then, intercept
