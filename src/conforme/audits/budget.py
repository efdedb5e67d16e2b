"""Refuses an audit that would cost too much, before anything is spent (AUDIT_MAX_COST)."""

from collections.abc import Iterable
from decimal import Decimal

from conforme.audit_configs.rules import Rules
from conforme.audits.errors import AuditFailed
from conforme.audits.prompting import instructions
from conforme.foundation.ledger import CHARS_PER_TOKEN, Plan, PriceTable, estimate
from conforme.foundation.resources import Resources
from conforme.transcriptions.queries import TranscribedRecording

CHARS_PER_SECOND = 18
"""Characters of transcript that a second of French telephone speech makes, line heads included."""
ANSWER_TOKENS = 1500
"""Tokens of one step's answer, reasoning included."""
OWN_CHARS = 400
"""What the prompt adds around a step's own text."""


def require_affordable(
    resources: Resources, rules: Rules, recordings: Iterable[TranscribedRecording], *, tools: bool = False
) -> None:
    """Raises `AuditFailed` (code AUDIT_TOO_EXPENSIVE) when the estimate exceeds the limit.

    The estimate takes what is known: words where there are some, else the length of the call; without a limit
    nothing is estimated. In tools mode each step is taken to use its whole token budget.
    """
    limit = resources.settings.audit_max_cost
    if limit is None:
        return
    cost = estimated_cost(resources, rules, list(recordings), tools=tools)
    if cost > limit:
        message = f"The audit would cost about {cost:.2f}, more than AUDIT_MAX_COST ({limit})"
        raise AuditFailed(message, phase="budget", code="AUDIT_TOO_EXPENSIVE")


def estimated_cost(
    resources: Resources, rules: Rules, recordings: list[TranscribedRecording], *, tools: bool = False
) -> Decimal:
    """Speech of the calls not transcribed yet, and the questions of every step; in the table's currency."""
    prices = PriceTable.load(resources.settings.price_table)
    unheard = sum(each.duration_seconds or 0 for each in recordings if not each.has_transcription)
    speech = speech_cost(resources, Decimal(unheard))
    shared = len(instructions()) + len(rules.system_prompt or "") + sum(_chars(each) for each in recordings)
    own = [OWN_CHARS + len(step.model_dump_json()) for step in rules.steps]
    if tools:
        shared, own = 0, [resources.settings.audit_tools_token_budget * CHARS_PER_TOKEN for _ in rules.steps]
    plan = Plan(
        provider=resources.model.provider,
        model=resources.model.name,
        shared_chars=shared,
        own_chars=own,
        output_tokens=ANSWER_TOKENS,
    )
    return speech + estimate(plan, prices).expected.amount


def speech_cost(resources: Resources, seconds: Decimal) -> Decimal:
    """What it costs to have so much speech transcribed, in the table's currency."""
    settings = resources.settings
    prices = PriceTable.load(settings.price_table)
    return prices.speech_cost("elevenlabs", settings.elevenlabs_model, seconds).amount


def _chars(recording: TranscribedRecording) -> int:
    if recording.words:
        return sum(len(word.text) + 1 for word in recording.words)
    return CHARS_PER_SECOND * (recording.duration_seconds or 0)
