"""Why a schedule cannot run or be changed now."""

from conforme.foundation.errors import Conflict, Forbidden


class ScheduleInactive(Conflict):
    """The schedule is not active"""

    code = "SCHEDULE_INACTIVE"


class RunUnderWay(Conflict):
    """A run of this schedule is under way"""

    code = "RUN_UNDER_WAY"


class TooManyWaiting(Conflict):
    """Too many runs of this schedule wait for their turn"""

    code = "RUN_UNDER_WAY"


class NotOwnSchedule(Forbidden):
    """You can only change and run schedules that you created"""
