"""Why an audit stops, or an answer cannot be used."""

from conforme.foundation.errors import Conflict, ConformeError, External, Unavailable
from conforme.foundation.llm import ModelError


class AuditFailed(ConformeError):
    """The audit ends here; `phase` says how far it came (`failed_phase` on the wire)."""

    code = "AUDIT_FAILED"

    def __init__(self, message: str, *, phase: str, code: str | None = None) -> None:
        super().__init__(message)
        self.phase = phase
        self.reason_code = code or self.code


class AnswerIncomplete(External):
    """The model left control points of the step unanswered"""

    def __init__(self, missing: tuple[int, ...]) -> None:
        numbers = ", ".join(str(number) for number in missing)
        super().__init__(f"The model did not answer control points {numbers}", retryable=True)


class NothingRead(ModelError):
    """AUDIT_TOOLS_TOKEN_BUDGET and AUDIT_TOOLS_MAX_MESSAGES left no room to read the call"""


class AuditStillRunning(Conflict):
    """The audit is still running"""

    code = "AUDIT_RUNNING"


class AuditAlreadyComplete(Conflict):
    """The audit is complete: nothing is missing"""

    code = "AUDIT_COMPLETE"


class IdempotencyKeyReused(Conflict):
    """Idempotency-Key was used for another request"""

    code = "IDEMPOTENCY_KEY_REUSED"


class BatchStillRunning(Conflict):
    """Some audits of the batch have not ended"""

    code = "BATCH_RUNNING"


class BatchOver(Conflict):
    """The batch has ended: nothing is left to do"""

    code = "BATCH_OVER"


class AuditNotEnded(Conflict):
    """The audit has not ended: nothing of it can be judged again yet"""

    code = "AUDIT_RUNNING"


class StepChanged(Conflict):
    """The step is another one today: run a new audit instead"""

    code = "STEP_CHANGED"


class WordsNotFrozen(Conflict):
    """The audit has no transcript to judge by"""

    code = "NO_TRANSCRIPT"


class PointNotInForce(Conflict):
    """The rule does not apply to a call of that day"""

    code = "NOT_IN_FORCE"


class RerunLost(Unavailable):
    """The rerun did not end in time"""

    code = "RERUN_TIMEOUT"


class ConfigurationNotInForce(Conflict):
    """The configuration is not in force on the day of the calls"""

    code = "CONFIG_NOT_IN_FORCE"
