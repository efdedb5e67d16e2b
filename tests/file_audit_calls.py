"""An auditor over the sandbox's model, and invented calls in the shape of chat logs."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pydantic_ai.models import override_allow_model_requests

from conforme.audit_configs.rules import Rules
from conforme.audits.evidence import Policy
from conforme.audits.files import Auditor
from conforme.foundation.errors import External
from conforme.foundation.jobs import Retry
from conforme.foundation.ledger import PriceTable
from conforme.foundation.llm import model_from
from conforme.foundation.outbound import Outbound
from conforme.sandbox.chassis import Service
from conforme.sandbox.model import ModelOptions, ModelStandIn
from conforme.sandbox.weather import FaultPlan
from conforme.settings import Settings

HOSTILE = "\"><img src=x onerror=document.title='pwned'><script>document.title='pwned'</script>"


def rubric(*steps: dict[str, Any]) -> Rules:
    """A rubric with these steps, what is left unsaid filled in."""
    return Rules.model_validate(
        {
            "name": "Breakdown desk",
            "steps": [
                {"position": position, "prompt": "Look everywhere.", "severity": "HIGH", "weight": 4} | step
                for position, step in enumerate(steps, 1)
            ],
        }
    )


GREETING = {
    "name": "Greeting",
    "control_points": [
        {
            "text": "The advisor greets the caller and names the garage.",
            "speaker": "advisor",
            "compliant_examples": ["Good morning, Northgate garage speaking."],
        }
    ],
}
PLATE = {
    "name": "Vehicle",
    "is_critical": True,
    "control_points": ["The advisor asks for the licence plate number of the vehicle."],
}
BREAKDOWN = rubric(GREETING, PLATE)

CHAT: dict[str, Any] = {
    "domain": "motor",
    "message_list": [
        {
            "turn_index": 0,
            "role": "assistant",
            "content": "Good morning, Larkfield garage, the advisor speaking.",
        },
        {"turn_index": 1, "role": "user", "content": "Hello, my van broke down.\n\nIt is blocking the gate."},
        {
            "turn_index": 2,
            "role": "assistant",
            "content": "What is the licence plate number of the vehicle, please?",
        },
        {"turn_index": 3, "role": "user", "content": "It is LK 204 QX, a white one."},
    ],
}
"""A chat log: who said what in order, and no times."""


@dataclass(frozen=True)
class Desk:
    auditor: Auditor
    service: Service
    stand_in: ModelStandIn


@asynccontextmanager
async def desk(
    rules: Rules = BREAKDOWN, options: ModelOptions | None = None, *, attempts: int = 2
) -> AsyncGenerator[Desk]:
    """An auditor whose model is the sandbox's, reached by the real protocol."""
    stand_in = ModelStandIn(options)
    async with stand_in.service(faults=FaultPlan(retry_after_seconds=0)) as service:
        settings = Settings.model_validate(
            {"openai_api_key": stand_in.options.api_key, "openai_base_url": f"{service.url}/v1"}
        )
        outbound = Outbound(settings)
        retry = Retry(
            attempts, 0.001, 0.001, when=lambda error: isinstance(error, External) and error.retryable
        )
        auditor = Auditor(model_from(settings, outbound), rules, Policy(), retry, PriceTable.load(None))
        try:
            with override_allow_model_requests(True):
                yield Desk(auditor, service, stand_in)
        finally:
            await outbound.aclose()
