"""Makes ticks.txt: the ticks of expressions over two years in five zones, by nothing of ours.

    pip install croniter tzdata && python3 core/tests/schedule/make_ticks.py > core/tests/schedule/ticks.txt

`croniter` finds the matches on a wall clock without a zone, `zoneinfo` says where each lies. A time that the clock
never shows becomes the first instant after the gap, found by walking; a time that it shows twice is the first of both,
unless the expression says the same for every hour: then it is both.

A line is: zone, expression, every hour (1 or 0), count, then the first tick in seconds since 1970 and the distances to
the next ones, each as `seconds` or `secondsxhow-often`.
"""

from datetime import datetime, timedelta, timezone
from itertools import groupby
from zoneinfo import ZoneInfo

from croniter import croniter

FROM, UNTIL = datetime(2025, 1, 1), datetime(2027, 1, 1)

# Both hemispheres, a half-hour change, a change at midnight, and the one whose winter is the exception.
ZONES = ["Europe/London", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Africa/Casablanca"]

# Whether it says the same for every hour is written by hand here: it is part of what is tested.
EXPRESSIONS = [
    ("30 2 * * *", False),
    ("0 0 * * *", False),
    ("15,45 1-3 * * *", False),
    ("30 23 * * *", False),
    ("0 */6 * * *", False),
    ("*/20 1,2 * * SUN", False),
    ("0 2 * * MON-FRI", False),
    ("30 1 L * *", False),
    ("30 2 * * SUN#2", False),
    ("0 0 1 */3 *", False),
    ("*/15 * * * *", True),
    ("7 * * * *", True),
    ("30 * * * SUN", True),
]


def first_valid(wall, zone):
    """The first instant after the gap in which a wall-clock time lies."""
    at = wall.replace(tzinfo=timezone.utc) - timedelta(hours=26)
    at = at.replace(second=0)
    while at.astimezone(zone).replace(tzinfo=None) <= wall:
        at += timedelta(minutes=1)
    return at


def places(wall, zone):
    found = []
    for fold in (0, 1):
        at = wall.replace(tzinfo=zone, fold=fold).astimezone(timezone.utc)
        if at.astimezone(zone).replace(tzinfo=None) == wall:
            found.append(at)
    return sorted(set(found))


def ticks(expression, every_hour, zone):
    # A year ahead of the stretch is not needed: two days are beyond any offset.
    walls = croniter(python_spelling(expression), FROM - timedelta(days=2), ret_type=datetime)
    found = set()
    while (wall := walls.get_next()) < UNTIL + timedelta(days=2):
        here = places(wall, zone)
        if every_hour:
            found.update(here)
        else:
            found.add(here[0] if here else first_valid(wall, zone))
    start, end = FROM.replace(tzinfo=timezone.utc), UNTIL.replace(tzinfo=timezone.utc)
    return sorted(int(at.timestamp()) for at in found if start <= at < end)


def python_spelling(expression):
    """`croniter` counts the days of a week by number before `#`."""
    return expression.replace("SUN#2", "0#2")


def main():
    for zone in ZONES:
        for expression, every_hour in EXPRESSIONS:
            found = ticks(expression, every_hour, ZoneInfo(zone))
            steps = []
            for step, run in groupby(b - a for a, b in zip(found, found[1:])):
                often = len(list(run))
                steps.append(str(step) if often == 1 else f"{step}x{often}")
            print("\t".join([zone, expression, str(int(every_hour)), str(len(found)), str(found[0]), " ".join(steps)]))


main()
