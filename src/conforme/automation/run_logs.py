"""The log of a run: each line once, redacted before it is written (spec/automation §4.6)."""

from collections.abc import Mapping
from typing import Any, Literal

from sqlalchemy.dialects.postgresql import insert

from conforme.automation.models import AutomationLog
from conforme.foundation.database import WriteSession
from conforme.foundation.redaction import redact, redact_text

Level = Literal["debug", "info", "warning", "error"]


async def write(
    session: WriteSession,
    run_id: int,
    level: Level,
    message: str,
    *,
    key: str | None = None,
    **details: Any,
) -> None:
    """Writes a line; of a step that runs again after a crash, the line of the same `key` is not written again."""
    values = {
        "run_id": run_id,
        "key": key,
        "level": level,
        "message": redact_text(message),
        "details": _object(redact(details)),
    }
    await session.execute(insert(AutomationLog).values(values).on_conflict_do_nothing())


def _object(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}
