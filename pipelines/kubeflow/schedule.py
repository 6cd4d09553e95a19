"""Schedules in Kubeflow Pipelines' cron: six fields, the seconds first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice, pairwise

from cronsim import CronSim, CronSimError

from components.errors import InputError

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


@dataclass(frozen=True)
class _Field:
    name: str
    lowest: int
    highest: int
    names: tuple[str, ...] = ()  # of the numbers from the lowest one up


_FIELDS = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of the week", 0, 6, _DAYS),
)
_SHORTHANDS: Mapping[str, str] = {
    "@yearly": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}
_SHORTEST = 60  # seconds between two runs; what is shorter was meant otherwise


@dataclass(frozen=True)
class Schedule:
    """When a recurring run starts, in the time zone of the cluster's scheduler.

    Attributes:
        cron: Six fields: second, minute, hour, day of the month, month, day of the week.
    """

    cron: str

    @property
    def words(self) -> str:
        """The schedule in English: `At 03:00 every day`."""
        return self._simulated(datetime.now(UTC)).explain()

    def next_times(self, after: datetime, count: int = 3) -> list[datetime]:
        """Returns when it comes round next.

        Args:
            after: A moment; its time zone is taken for the scheduler's.
            count: How many times.
        """
        return list(islice(self._simulated(after), count))

    def _simulated(self, after: datetime) -> CronSim:
        return CronSim(self.cron, after)


def parse(text: str) -> Schedule:
    """Reads a schedule as Kubeflow Pipelines' server does, which is not quite as crontab does.

    Args:
        text: Six fields, or one of @hourly, @daily, @weekly, @monthly, @yearly.

    Raises:
        InputError: It is none, never comes round, or does so more than once a minute.
    """
    text = " ".join(text.split())
    if text.startswith("@"):
        if text not in _SHORTHANDS:
            raise InputError(
                f"--schedule {text!r} is none of {', '.join(_SHORTHANDS)}: give one of them, or six fields, "
                "such as '0 0 3 * * *' for 03:00 every day."
            )
        return Schedule(_SHORTHANDS[text])
    fields = text.split()
    if len(fields) == 5:
        # The server takes five as well, for the last field may be missing: '0 3 * * *' would be minute 3.
        raise InputError(
            f"--schedule {text!r} has five fields, and Kubeflow's begin with the seconds: '0 {text}'."
        )
    if len(fields) != 6:
        raise InputError(
            f"--schedule {text!r} has {len(fields)} fields, and must have six: second, minute, hour, day of "
            "the month, month, day of the week, such as '0 0 3 * * *' for 03:00 every day."
        )
    cron = " ".join(
        _checked(given.upper(), field, text) for given, field in zip(fields, _FIELDS, strict=True)
    )
    try:
        schedule = Schedule(cron)
        times = schedule.next_times(datetime.now(UTC), 10)
    except CronSimError:
        raise InputError(f"--schedule {text!r} names a day that never comes.") from None
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(times)]
    if min(gaps, default=_SHORTEST) < _SHORTEST:
        raise InputError(
            f"--schedule {text!r} starts a run every {min(gaps):g} s: put one number, such as 0, in the "
            "first field, which is the second."
        )
    return schedule


def _checked(given: str, field: _Field, text: str) -> str:
    """Returns a field in the form that CronSim reads as the server does."""
    if given in ("*", "?"):
        return "*"
    return ",".join(_checked_part(part, field, text) for part in given.split(","))


def _checked_part(part: str, field: _Field, text: str) -> str:
    span, slash, step = part.partition("/")
    low, dash, high = span.partition("-")
    if slash and not (step.isdecimal() and int(step) > 0):
        raise _wrong(part, field, text)
    if span in ("*", "?") and slash:
        return f"*/{step}"
    first = _number(low, field)
    last = _number(high, field) if dash else field.highest if slash else first
    if first is None or last is None or first > last:
        raise _wrong(part, field, text)
    return f"{first}-{last}/{step}" if slash else f"{first}-{last}" if dash else str(first)


def _number(given: str, field: _Field) -> int | None:
    if given in field.names:
        return field.names.index(given) + field.lowest
    number = int(given) if given.isdecimal() else -1
    return number if field.lowest <= number <= field.highest else None


def _wrong(part: str, field: _Field, text: str) -> InputError:
    names = f", or {field.names[0]}-{field.names[-1]}" if field.names else ""
    return InputError(
        f"--schedule {text!r}: {part!r} is no {field.name}, which is *, or numbers from {field.lowest} to "
        f"{field.highest}{names}, as in 1, 1-5, 1,3 or */2."
    )
