"""What is wrong on purpose in the demo's sources: which bad rows on which day, and which requests fail.

Everything is a pure function of the seed, the day and the request, so that tests can count it beforehand.
A bad row is an extra one beside the good rows, so that what Silver keeps is the world as it was. The two
exceptions lose a real record: a null e-mail on START (the correct contact follows on the next day), and a
usage body of wrong type.
"""

from __future__ import annotations

import hashlib
from datetime import date

from deployments.local.demo.world import START, number_of

NO_DATA = 97  # users whose id this divides have no usage: 404
NULL_EMAILS_ON_START = 5
WRONG_TYPE_RATE = 0.001  # of usage bodies
UNAVAILABLE_RATE = 0.01  # of first attempts
BURST_EVERY, BURST_SIZE = 9, 16  # each ninth day the API throttles so many neighbours at once


def chance(*parts: object) -> float:
    """A number in [0, 1) that depends on nothing but `parts`."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def planted(day: date | str, users: int = 800, seed: int = 42) -> dict[str, dict[str, int]]:
    """Bad rows of one day by source and kind. The good rows of the day are all others.

    invoices   duplicate: the same invoice again, also across the day's two files; bad_amount: "12,5O";
               null_user: no user_id
    contacts   duplicate: the same row again; null_email; wrong_type: a user_id such as "user-17"
    tickets    duplicate: the same ticket again, possibly on another page; null_user
    usage      wrong_type: status 200 with a body that does not fit its types
    """
    number = number_of(day)
    on_start = number == 0
    return {
        "invoices": {"duplicate": 1 + number % 3, "bad_amount": 1 + (number % 4 == 0), "null_user": 1},
        "contacts": {
            "duplicate": 8 if on_start else 1 + number % 2,
            "null_email": NULL_EMAILS_ON_START if on_start else 1 + number % 2,
            "wrong_type": 3 if on_start else int(number % 3 == 0),
        },
        "tickets": {"duplicate": 2 + number % 2, "null_user": 1},
        "usage": {"wrong_type": len(wrong_usage(day, users, seed))},
    }


def wrong_usage(day: date | str, users: int = 800, seed: int = 42) -> dict[int, dict[str, object]]:
    """Fields of wrong type in the usage bodies of one day, by user. On START user 17 is always among them."""
    wrongs: list[dict[str, object]] = [{"minutes": "n/a"}, {"sessions": "three"}, {"sessions": None}]
    found: dict[int, dict[str, object]] = {}
    for user in range(1, users + 1):
        if user % NO_DATA and chance(seed, "usage", str(day), user) < WRONG_TYPE_RATE:
            found[user] = wrongs[user % len(wrongs)]
    if str(day) == str(START):
        found[17] = wrongs[0]
    return found


def fault(path: str, day: str, attempt: int, user: int | None = None) -> tuple[int, str]:
    """Status and Retry-After with which the server refuses this attempt; (0, "") where it answers.

    `path` names the request (with its page), `attempt` counts from 1. Only odd attempts are refused, so
    that a second try always succeeds. Retry-After is "1" or "date" (an HTTP-date one to two seconds ahead).
    Throttling comes in bursts, as it does from a real rate limit: neighbours are in flight together, so
    that a client which pauses as long as it is asked loses a second or two, not a minute.
    """
    if attempt % 2 == 0:
        return 0, ""
    number = number_of(day)
    if number % BURST_EVERY == 3:
        first = 1 + 40 * (number % 7)
        if user is None and path.endswith("page=1"):
            return 429, "1"
        if user is not None and first <= user < first + BURST_SIZE:
            return 429, "date" if user % 8 == 0 else "1"
    if chance(path, day, attempt) < (UNAVAILABLE_RATE if user is not None else 0.1):
        return 503, ""
    return 0, ""
