"""What the application is given to work with: one of each per process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from conforme.settings import Settings

if TYPE_CHECKING:
    from conforme.foundation.database import Database
    from conforme.foundation.durable import Durable
    from conforme.foundation.llm import LanguageModel
    from conforme.foundation.outbound import Outbound


@dataclass(frozen=True, slots=True)
class Resources:
    """Routes find it as `request.app.state.resources`, jobs as `ctx.resources`."""

    settings: Settings
    database: Database
    durable: Durable
    outbound: Outbound
    model: LanguageModel
