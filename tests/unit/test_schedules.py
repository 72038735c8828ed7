"""When a schedule is due: zones, changes of the clocks, and what was missed."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from camfleet.contract.schedules import Schedule
from camfleet.errors import InvalidRequest

BERLIN = ZoneInfo("Europe/Berlin")  # 29 March 2026: 2:00 is 3:00; 25 October: 3:00 is 2:00
HOUR = 3600


def schedule(cron, timezone="Europe/Berlin"):
    return Schedule(cron=cron, timezone=timezone)


def at(month, day, hour=0, minute=0, *, fold=0, zone=BERLIN, year=2026):
    return datetime(year, month, day, hour, minute, tzinfo=zone, fold=fold).timestamp()


def times(cron, start, count):
    """Return the next times as people in Berlin read them, with the offset of their clocks."""
    found = []
    for _ in range(count):
        start = schedule(cron).next_after(start)
        found.append(datetime.fromtimestamp(start, BERLIN).isoformat()[5:])
    return found


def test_an_hour_is_one_of_the_zone_in_summer_and_in_winter():
    assert times("30 6 * * MON", at(3, 20), 2) == [
        "03-23T06:30:00+01:00",
        "03-30T06:30:00+02:00",
    ]


def test_a_time_that_the_clocks_leave_out_comes_right_after_the_change():
    assert times("30 2 * * *", at(3, 28), 3) == [
        "03-28T02:30:00+01:00",
        "03-29T03:00:00+02:00",
        "03-30T02:30:00+02:00",
    ]


def test_a_time_that_comes_twice_is_due_once():
    assert times("30 2 * * *", at(10, 24, 12), 2) == [
        "10-25T02:30:00+02:00",
        "10-26T02:30:00+01:00",
    ]


@pytest.mark.parametrize("minute", [0, 10, 29, 30, 31, 59])
def test_in_the_hour_that_comes_again_nothing_is_due_that_was_due_before(minute):
    again = at(10, 25, 2, minute, fold=1)
    daily = schedule("30 2 * * *")
    assert daily.next_after(again) == at(10, 26, 2, 30)
    assert daily.latest(at(10, 25, 2, 30), again) is None
    assert daily.planned(at(10, 25, 2, 30), again) == at(10, 26, 2, 30)


@pytest.mark.parametrize("minute", [0, 10, 29, 30, 31, 59])
def test_in_the_hour_that_comes_again_what_was_missed_before_is_known(minute):
    again = at(10, 25, 2, minute, fold=1)
    assert schedule("30 2 * * *").latest(at(10, 24, 12), again) == at(10, 25, 2, 30)


def test_every_hour_is_every_hour_whatever_the_clocks_say():
    for start in (at(3, 28, 22), at(10, 24, 22)):
        found, moment = [], start
        for _ in range(8):
            moment = schedule("0 * * * *").next_after(moment)
            found.append(moment - start)
        assert found == [HOUR * number for number in range(1, 9)]


def test_the_last_day_of_a_month_and_the_first_monday_are_known():
    assert times("0 0 L * *", at(2, 1), 2) == ["02-28T00:00:00+01:00", "03-31T00:00:00+02:00"]
    assert times("0 9 * * MON#1", at(2, 1), 1) == ["02-02T09:00:00+01:00"]


def test_what_was_missed_is_made_up_for_once():
    hourly, last = schedule("0 * * * *"), at(6, 1, 8)
    now = at(6, 1, 12, 30)
    assert hourly.latest(last, now) == at(6, 1, 12)
    assert hourly.planned(last, now) == at(6, 1, 12)
    assert hourly.planned(at(6, 1, 12), now) == at(6, 1, 13)


@pytest.mark.parametrize(
    ("after", "until", "expected"),
    [
        (at(6, 1, 11), at(6, 1, 12), at(6, 1, 12)),  # until counts, after doesn't
        (at(6, 1, 12), at(6, 1, 12), None),
        (at(6, 1, 12), at(6, 1, 12, 59), None),
        (at(6, 1, 12) - 1, at(6, 1, 12), at(6, 1, 12)),
        (at(6, 1, 12), at(6, 1, 11), None),  # a clock that was set back
    ],
)
def test_the_ends_of_a_time_belong_to_one_side(after, until, expected):
    assert schedule("0 * * * *").latest(after, until) == expected


def test_a_clock_that_is_corrected_a_little_repeats_nothing():
    hourly = schedule("0 * * * *")
    assert hourly.planned(at(6, 1, 12), at(6, 1, 11, 51)) == at(6, 1, 13)


def test_what_was_done_by_a_clock_that_ran_ahead_is_done_again_at_its_time():
    hourly = schedule("0 * * * *")
    assert hourly.planned(at(6, 1, 12), at(6, 1, 9, 30)) == at(6, 1, 10)
    assert hourly.planned(at(6, 1, 12) + 365 * 86400, at(6, 1, 9, 30)) == at(6, 1, 10)


def test_each_time_is_the_latest_until_the_next_one():
    """Forwards and backwards agree, through both changes of the clocks."""
    for cron in ("*/7 1-3 * * *", "15 2,3 * * *", "0 * * * *", "30 2 * * SUN"):
        for start in (at(3, 28, 23), at(10, 24, 23)):
            moment = start
            for _ in range(20):
                following = schedule(cron).next_after(moment)
                assert following > moment
                assert schedule(cron).latest(moment, following) == following, cron
                middle = (moment + following) / 2
                assert schedule(cron).latest(moment, middle) is None, cron
                moment = following


@pytest.mark.parametrize(
    ("cron", "reason"),
    [
        ("", "0 fields, not five"),
        ("0 0 0 * * *", "6 fields, not five"),  # seconds: too fine
        ("@daily", "1 fields, not five"),
        ("60 * * * *", "'60' is no minute: give 0 to 59"),
        ("* 24 * * *", "'24' is no hour: give 0 to 23"),
        ("* * * 0 *", "'0' is no month: give 1 to 12, or JAN to DEC"),
        ("* * * * FUNDAY", "'FUNDAY' is no day of week: give 0 to 7 .both are Sunday"),
        ("* * * * FRI-MON", "'FRI-MON' is no day of week: .* ranges go up .MON-FRI"),
        ("*/0 * * * *", "is no minute"),
        ("5-1 * * * *", "is no minute"),
        ("1\u0662 * * * *", "is no minute"),
        ("9" * 90 + " * * * *", "is no minute"),
        ("0 0 31 2 *", "'31' is no day of month: give 1 to 31, if one of the months has it"),
        ("0 0 */31 * MON#5", "is never due"),  # the fifth Monday is never the first day
    ],
)
def test_what_is_no_expression_or_never_due_is_refused(cron, reason):
    with pytest.raises(InvalidRequest, match=reason):
        schedule(cron).check()


@pytest.mark.parametrize(
    "zone", ["", "Berlin", "../../etc/passwd", "/etc/localtime", "Europe", "Europe/", "\0", "UTC\n"]
)
def test_what_is_no_zone_is_refused(zone):
    with pytest.raises(InvalidRequest, match="no time zone: give a name such as"):
        schedule("0 0 * * *", zone).check()


@pytest.mark.parametrize("moment", [-1, float("nan"), float("inf"), 1e18])
def test_what_is_no_time_is_refused(moment):
    with pytest.raises(InvalidRequest, match="no time at which anything is due"):
        schedule("0 0 * * *").next_after(moment)


def test_utc_is_the_default():
    moment = datetime(2026, 6, 1, tzinfo=UTC).timestamp()
    assert Schedule(cron="0 5 * * *").next_after(moment) == moment + 5 * HOUR


@pytest.mark.parametrize("cron", ["30 2 * * *", "0 0 * * *", "30 23 * * *"])
@pytest.mark.parametrize(
    "zone",
    [
        *("Europe/Berlin", "Europe/Dublin", "America/New_York", "America/Havana", "Asia/Beirut"),
        *("Australia/Lord_Howe", "Pacific/Chatham", "Africa/Casablanca", "Antarctica/Troll"),
        *("America/Sao_Paulo", "Asia/Kathmandu", "Africa/Cairo"),
    ],
)
def test_every_day_has_its_time_once_however_a_zone_changes_its_clocks(zone, cron):
    """Clocks change by half an hour or two, at midnight, for Ramadan, in both hemispheres."""
    daily, end = schedule(cron, zone), datetime(2025, 6, 1, tzinfo=UTC).timestamp()
    moment, days = datetime(2024, 1, 1, tzinfo=UTC).timestamp(), []
    while moment < end:
        following = daily.next_after(moment)
        assert daily.latest(moment, following) == following
        assert daily.latest(following, (following + daily.next_after(following)) / 2) is None
        moment = following
        days.append(datetime.fromtimestamp(moment, ZoneInfo(zone)).date())
    assert days == [days[0] + timedelta(number) for number in range(len(days))]
