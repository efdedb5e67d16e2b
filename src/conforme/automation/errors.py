"""Why a schedule cannot run or be changed now."""

from conforme.foundation.errors import Conflict, Forbidden


class ScheduleInactive(Conflict):
    """The schedule is not active"""

    code = "SCHEDULE_INACTIVE"


class RunInTheWay(Conflict):
    """Other runs of this schedule come first"""

    code = "RUN_UNDER_WAY"

    def __init__(self, run_id: int, *, hint: str | None = None) -> None:
        super().__init__(hint=hint)
        self.run_id = run_id
        """The oldest of its runs that have not ended."""


class RunUnderWay(RunInTheWay):
    """A run of this schedule is under way"""


class TooManyWaiting(RunInTheWay):
    """Too many runs of this schedule wait for their turn"""


class NotOwnSchedule(Forbidden):
    """You can only change and run schedules that you created"""
