from __future__ import annotations

from datetime import UTC, datetime

import pytest

from components.errors import InputError
from pipelines.kubeflow import schedule

MORNING = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)  # a Sunday


@pytest.mark.parametrize(
    ("text", "words", "following"),
    [
        ("0 0 3 * * *", "At 03:00 every day", "2026-11-23 03:00:00"),
        ("30 15 3 * * mon", "At 03:15:30 on Monday", "2026-11-23 03:15:30"),
        ("0 0 3 ? * MON-FRI", "At 03:00 on Monday through Friday", "2026-11-23 03:00:00"),
        ("0 30 */6 * * *", "At minute 30 past every sixth hour", "2026-11-22 12:30:00"),
        ("0 0 0 1 jan,JUL ?", "At 00:00 on the first day of January and July", "2027-01-01 00:00:00"),
        ("0  0 12 * * 0", "At 12:00 on Sunday", "2026-11-22 12:00:00"),
        # As the server reads it, a number with a step runs up to the last day, which is Saturday.
        ("0 0 9 * * 5/1", "At 09:00 on Friday through Saturday", "2026-11-27 09:00:00"),
        ("@daily", "At 00:00 every day", "2026-11-23 00:00:00"),
        ("@hourly", "At the start of every hour", "2026-11-22 09:00:00"),
    ],
)
def test_a_schedule_is_read_back_in_words_with_its_next_time(text: str, words: str, following: str) -> None:
    read = schedule.parse(text)
    assert read.words == words
    assert f"{read.next_times(MORNING)[0]:%Y-%m-%d %H:%M:%S}" == following
    assert len(read.cron.split()) == 6


def test_days_of_the_month_and_of_the_week_mean_either_as_the_server_has_it() -> None:
    times = schedule.parse("0 0 0 1 * MON").next_times(MORNING, 3)
    assert [f"{moment:%d %a}" for moment in times] == ["23 Mon", "30 Mon", "01 Tue"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0 3 * * *", "has five fields, and Kubeflow's begin with the seconds: '0 0 3 * * *'"),
        ("0 3 * *", "has 4 fields, and must have six"),
        ("", "has 0 fields"),
        ("0 0 3 * * * 2027", "has 7 fields"),
        ("0 60 3 * * *", "'60' is no minute, which is *, or numbers from 0 to 59"),
        ("0 0 24 * * *", "'24' is no hour"),
        ("0 0 3 0 * *", "'0' is no day of the month"),
        ("0 0 3 * 13 *", "'13' is no month, which is *, or numbers from 1 to 12, or JAN-DEC"),
        ("0 0 3 * * 7", "'7' is no day of the week, which is *, or numbers from 0 to 6, or SUN-SAT"),
        ("0 0 3 * * MONDAY", "'MONDAY' is no day of the week"),
        ("0 0 3 L * *", "'L' is no day of the month"),
        ("0 0 3 * * 2#1", "'2#1' is no day of the week"),
        ("0 0 5-3 * * *", "'5-3' is no hour"),
        ("0 */0 3 * * *", "'*/0' is no minute"),
        ("0 1,,2 3 * * *", "'' is no minute"),
        ("0 -1 3 * * *", "'-1' is no minute"),
        ("0 0 3 30 2 *", "names a day that never comes"),
        ("* 0 3 * * *", "starts a run every 1 s: put one number, such as 0, in the first field"),
        ("*/30 * * * * *", "starts a run every 30 s"),
        ("@every 1h", "is none of @yearly, "),
        ("@dayly", "is none of @yearly, "),
        ("@annually", "is none of @yearly, @monthly, @weekly, @daily, @hourly: "),
    ],
)
def test_what_the_server_would_refuse_or_misread_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        schedule.parse(text)
    assert sentence in str(refused.value)
    assert refused.value.exit_status == 2


def test_once_a_minute_is_let_through() -> None:
    assert schedule.parse("0 * * * * *").words == "Every minute"
