"""The demo's world: users of a product, day by day, some of whom cancel. One simulation feeds every source.

Deterministic: day `d` draws its numbers from `SeedSequence([seed, d])`, one block a user, so that the same
seed gives the same world in any process, a longer run has a shorter one as its prefix, and fewer users are
the first of more. Only NumPy, only uniform draws.

The planted churn signal: a subscribed user cancels on day `d` with probability

    hazard = 1 / (1 + exp(-(BASE + DECLINE * decline + HIGH * high + UNPAID * unpaid + ERRORS * errors
                            + PLAN[plan] + HIDDEN * hidden)))

where all but `hidden` can be observed in the sources up to the end of day `d - 1`:

    decline   log((sessions of days d-14 … d-8, plus 2) / (sessions of days d-7 … d-1, plus 2)), in -1 … 2
    high      tickets of high severity opened in the last 14 days, at most 2
    unpaid    unpaid invoices issued in the last 28 days, at most 2
    errors    log(1 + errors of the last 7 days)

and `hidden` is a slow autoregressive process of mean 0 and deviation 1 that no source shows (say, a
competitor's offer). It separates the Bayes ceiling from what a model on observable features can reach.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Counts = NDArray[np.int16]

START = date(2026, 10, 5)  # the first day on which anybody can cancel: the first daily partition
HISTORY = 30  # days before START of which the sources know usage, tickets and invoices
HORIZON = 400  # days from START that a source answers for

PLANS = ("basic", "standard", "premium")
PRICES = (9.0, 29.0, 79.0)
COUNTRIES = ("US", "DE", "FR", "GB", "NL", "IN", "BR")
TOPICS = ("billing", "login", "performance", "data", "other")
SEVERITIES = ("low", "normal", "high")

BASE, DECLINE, HIGH, UNPAID, ERRORS, HIDDEN = -7.4, 1.6, 1.9, 1.9, 0.6, 0.8
PLAN = np.array([0.35, 0.0, -0.6])
HEALTH_MEMORY, HIDDEN_MEMORY = 0.95, 0.97
WEEKDAYS = np.array([1.1, 1.15, 1.1, 1.1, 1.0, 0.75, 0.8])

DRAWS = 24  # uniform numbers a user needs a day


@dataclass(frozen=True)
class State:
    """What the next day depends on, one column a user. Windows run back from yesterday (row 0)."""

    engagement: Floats
    health: Floats
    hidden: Floats
    plan: Ints
    country: Ints
    address: Ints  # how often the e-mail address changed
    sessions: Counts = field(repr=False)  # 14 days
    errors: Counts = field(repr=False)  # 7 days
    high: Counts = field(repr=False)  # 14 days
    unpaid: Counts = field(repr=False)  # 28 days


@dataclass(frozen=True)
class Day:
    """What happens on one day to each user, were nobody to cancel; `World` hides the cancelled."""

    hazard: Floats
    cancels: NDArray[np.bool_]
    sessions: Ints
    minutes: Floats
    features: Ints
    errors: Ints
    severity: Ints  # of the ticket opened: 0 low … 2 high; -1: no ticket
    topic: Ints
    second: Ints  # of the day, at which a ticket was opened or a contact changed
    resolved: NDArray[np.bool_]
    billed: NDArray[np.bool_]
    paid: NDArray[np.bool_]
    discounted: NDArray[np.bool_]
    changed: Ints  # 0 plan, 1 e-mail, 2 country, -1 nothing


def _normal(first: Floats, second: Floats) -> Floats:
    return np.sqrt(-2.0 * np.log1p(-first)) * np.cos(2.0 * np.pi * second)


def _logistic(x: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-x))


def _poisson(uniform: Floats, mean: Floats) -> Ints:
    """Inverse of the distribution function: one uniform number a draw, whatever the mean."""
    count = np.zeros(mean.shape, dtype=np.int64)
    term = np.exp(-mean)
    reached = term.copy()
    for k in range(1, 80):
        above = uniform > reached
        if not above.any():
            break
        count += above
        term = term * mean / k
        reached += term
    return count


def _pushed(window: Counts, row: Ints) -> Counts:
    return np.concatenate([row[None, :].astype(window.dtype), window[:-1]])


def hazard(state: State) -> Floats:
    """Probability of cancelling on the coming day: the formula of this module's docstring."""
    recent, before = state.sessions[:7].sum(0), state.sessions[7:14].sum(0)
    decline = np.clip(np.log((before + 2.0) / (recent + 2.0)), -1.0, 2.0)
    return _logistic(
        BASE
        + DECLINE * decline
        + HIGH * np.minimum(state.high.sum(0), 2)
        + UNPAID * np.minimum(state.unpaid.sum(0), 2)
        + ERRORS * np.log1p(state.errors.sum(0))
        + PLAN[state.plan]
        + HIDDEN * state.hidden
    )


def begin(seed: int, users: int) -> State:
    """State before the first day of history."""
    u = np.random.default_rng(np.random.SeedSequence([seed, 0])).random((users, 10)).T
    return State(
        engagement=2.2 * np.exp(0.6 * _normal(u[0], u[1])),
        health=_normal(u[2], u[3]),
        hidden=_normal(u[4], u[5]),
        plan=np.searchsorted([0.5, 0.85], u[6], side="right").astype(np.int64),
        country=(u[7] ** 1.5 * len(COUNTRIES)).astype(np.int64),
        address=np.zeros(users, dtype=np.int64),
        sessions=np.zeros((14, users), dtype=np.int16),
        errors=np.zeros((7, users), dtype=np.int16),
        high=np.zeros((14, users), dtype=np.int16),
        unpaid=np.zeros((28, users), dtype=np.int16),
    )


def step(state: State, number: int, user: Ints, u: Floats) -> tuple[State, Day]:
    """Live through day `number` (0 = START) with uniform draws `u` (DRAWS × users)."""
    today = START + timedelta(days=number)
    risk = hazard(state)
    health = HEALTH_MEMORY * state.health + (1 - HEALTH_MEMORY**2) ** 0.5 * _normal(u[1], u[2])
    hidden = HIDDEN_MEMORY * state.hidden + (1 - HIDDEN_MEMORY**2) ** 0.5 * _normal(u[3], u[4])
    sessions = _poisson(u[5], state.engagement * np.exp(0.55 * health) * WEEKDAYS[today.weekday()])
    used = sessions > 0
    errors = _poisson(u[8], 0.12 * np.exp(-0.7 * health) * sessions)
    trouble = np.where(u[9] < np.minimum(0.07 * np.exp(-0.5 * health) + 0.03 * errors, 0.6), 1, 0)
    severe = _logistic(-2.0 - 0.9 * health)
    severity = np.where(u[10] < severe, 2, np.where(u[10] < severe + (1 - severe) * 0.6, 1, 0))
    severity = np.where(trouble == 1, severity, -1)
    weekly = user % 4 != 0  # three in four are billed each week, the others each fourth week
    billed = np.where(weekly, user % 7 == number % 7, user % 28 == number % 28)
    paid = u[14] < _logistic(2.3 + 0.9 * health)
    change = np.where(u[16] < 0.02, np.searchsorted([0.5, 0.75], u[17], side="right"), -1)
    plan = np.where(change == 0, (state.plan + np.where(u[18] < 0.5, 1, 2)) % 3, state.plan)
    country = np.where(change == 2, (state.country + 1 + (u[18] * 6).astype(np.int64)) % 7, state.country)
    day = Day(
        hazard=risk,
        cancels=u[0] < risk,
        sessions=sessions,
        minutes=np.round(sessions * (4.0 + 16.0 * u[6]), 1),
        features=np.where(used, 1 + np.minimum(_poisson(u[7], 0.9 * np.sqrt(sessions)), 11), 0),
        errors=errors,
        severity=severity,
        topic=(u[11] * len(TOPICS)).astype(np.int64),
        second=(u[12] * 86_400).astype(np.int64),
        resolved=u[13] < np.where(severity == 2, 0.5, 0.85),
        billed=billed,
        paid=paid,
        discounted=u[15] < 0.2,
        changed=change,
    )
    after = State(
        engagement=state.engagement,
        health=health,
        hidden=hidden,
        plan=plan,
        country=country,
        address=state.address + (change == 1),
        sessions=_pushed(state.sessions, sessions),
        errors=_pushed(state.errors, errors),
        high=_pushed(state.high, (severity == 2).astype(np.int64)),
        unpaid=_pushed(state.unpaid, (billed & ~paid).astype(np.int64)),
    )
    return after, day


class World:
    """`users` users with ids 1 … users, simulated as far as anybody asks."""

    def __init__(self, users: int = 800, seed: int = 42) -> None:
        if users < 50:
            raise ValueError(f"the demo's world needs at least 50 users, not {users}")
        self.users, self.seed = users, seed
        self.ids: Ints = np.arange(1, users + 1)
        self.cancelled_on: Ints = np.full(users, np.iinfo(np.int64).max)  # day number
        self._states = [begin(seed, users)]  # the state each day begins with, from the first of history
        self._days: list[Day] = []
        self._tickets = [0]  # tickets and invoices of all days before: ids count on
        self._invoices = [0]

    def day(self, day: date | str) -> tuple[State, Day, NDArray[np.bool_]]:
        """The state that `day` ends with, what happened on it, and who was subscribed at its end."""
        number = number_of(day)
        while len(self._days) - HISTORY <= number:
            self._live()
        index = number + HISTORY
        return self._states[index + 1], self._days[index], self.cancelled_on > number

    def _live(self) -> None:
        index = len(self._days)
        number = index - HISTORY
        u = np.random.default_rng(np.random.SeedSequence([self.seed, index + 1])).random((self.users, DRAWS))
        state, day = step(self._states[-1], number, self.ids, u.T)
        if number < 0:
            # Everybody is still a customer on START. Who would leave before is won back, for otherwise the
            # first week would see the departures of the whole history.
            state = replace(
                state,
                health=np.where(day.cancels, 0.0, state.health),
                hidden=np.where(day.cancels, -1.0, state.hidden),
            )
            day = replace(day, cancels=np.zeros(self.users, dtype=np.bool_))
        active = self.cancelled_on > number
        self.cancelled_on[day.cancels & active] = number
        active &= ~day.cancels
        self._states.append(state)
        self._days.append(day)
        self._tickets.append(self._tickets[-1] + int((active & (day.severity >= 0)).sum()))
        self._invoices.append(self._invoices[-1] + int((active & day.billed).sum()))

    def usage(self, day: date | str) -> list[dict[str, Any]]:
        """One record a user, in order of ids; zeros from the day on which the user cancels."""
        _, today, active = self.day(day)
        columns = (self.ids, today.sessions, today.minutes, today.features, today.errors, active)
        return [
            {
                "user_id": user,
                "date": str(day),
                "sessions": sessions if on else 0,
                "minutes": minutes if on else 0.0,
                "features_used": features if on else 0,
                "errors": errors if on else 0,
                "subscription": "active" if on else "cancelled",
            }
            for user, sessions, minutes, features, errors, on in zip(
                *(c.tolist() for c in columns), strict=True
            )
        ]

    def tickets(self, day: date | str) -> list[dict[str, Any]]:
        """Tickets opened on `day`, by ascending id."""
        _, today, active = self.day(day)
        first = 1 + self._tickets[number_of(day) + HISTORY]
        return [
            {
                "ticket_id": first + n,
                "user_id": i + 1,
                "opened_at": _clock(day, today.second[i]),
                "severity": SEVERITIES[today.severity[i]],
                "topic": TOPICS[today.topic[i]],
                "resolved": bool(today.resolved[i]),
            }
            for n, i in enumerate(np.flatnonzero(active & (today.severity >= 0)).tolist())
        ]

    def invoices(self, day: date | str) -> list[dict[str, Any]]:
        """Invoices issued on `day`, by ascending id; `paid` says whether the charge succeeded."""
        state, today, active = self.day(day)
        first = 1 + self._invoices[number_of(day) + HISTORY]
        issued = _date(day)
        rows = []
        for n, i in enumerate(np.flatnonzero(active & today.billed).tolist()):
            amount = PRICES[state.plan[i]] * (1 if (i + 1) % 4 else 4)
            rows.append(
                {
                    "invoice_id": first + n,
                    "user_id": i + 1,
                    "amount": amount,
                    "currency": "USD" if COUNTRIES[state.country[i]] in ("US", "BR", "IN") else "EUR",
                    "issued_at": issued.isoformat(),
                    "due_at": (issued + timedelta(days=14)).isoformat(),
                    "paid": bool(today.paid[i]),
                    "discount": round(0.1 * amount, 2) if today.discounted[i] else 0.0,
                }
            )
        return rows

    def contacts(self, day: date | str) -> list[dict[str, Any]]:
        """Contacts as they stand at the end of `day`: those that changed on it; on START, of all users."""
        state, today, active = self.day(day)
        chosen = self.ids > 0 if _date(day) == START else active & (today.changed >= 0)
        return [self.contact(day, i + 1, state, today) for i in np.flatnonzero(chosen).tolist()]

    def contact(self, day: date | str, user: int, state: State, today: Day) -> dict[str, Any]:
        """The contact of one user at the end of `day`."""
        i, moves = user - 1, int(state.address[user - 1])
        return {
            "user_id": user,
            "email": f"user{user}{f'.{moves}' if moves else ''}@example.com",
            "plan": PLANS[state.plan[i]],
            "country": COUNTRIES[state.country[i]],
            "updated_at": _clock(day, today.second[i]),
        }

    def risk(
        self, snapshot: date | str, days: int = 7, futures: int = 64
    ) -> tuple[Floats, NDArray[np.bool_]]:
        """True probability to cancel within `days` of the end of `snapshot`, and who was subscribed then.

        Knows all of the state at the end of `snapshot`, the hidden part too, and nothing later: the mean
        over `futures` simulated futures of 1 - product(1 - hazard).
        """
        state, _, active = self.day(snapshot)
        rows, fields = {}, vars(state)
        for name, values in fields.items():
            rows[name] = np.concatenate([values] * futures, axis=-1)
        user, future = np.tile(self.ids, futures), State(**rows)
        number = number_of(snapshot)
        random = np.random.default_rng(np.random.SeedSequence([self.seed, number + HISTORY, 7]))
        stays = np.ones(len(user))
        for ahead in range(1, days + 1):
            stays *= 1 - hazard(future)
            if ahead < days:
                future, _ = step(future, number + ahead, user, random.random((DRAWS, len(user))))
        return 1 - stays.reshape(futures, self.users).mean(0), active

    def outcome(self, snapshot: date | str, days: int = 7) -> NDArray[np.bool_]:
        """Who of all users cancelled within `days` of the end of `snapshot`."""
        number = number_of(snapshot)
        self.day(_date(snapshot) + timedelta(days=days))
        return (self.cancelled_on > number) & (self.cancelled_on <= number + days)

    def bayes_ceiling(self, first_snapshot: date | str, last_snapshot: date | str) -> float:
        """AUC that no model can be expected to exceed for "cancels in the 7 days after a snapshot".

        Snapshots are the ends of each seventh day from `first_snapshot` to `last_snapshot`, pooled. The
        score is the true probability (`risk`), which knows the hidden part; the AUC is its expectation over
        outcomes drawn from these probabilities, not that of the one simulated outcome, which scatters
        around it by about 0.03 with 50 cancellations. Two limits: it is an average, so that a lucky
        model on few positives may lie above it; and `risk` is itself a mean over 64 simulated futures,
        which costs less than 0.002.
        """
        truth = []
        snapshot = _date(first_snapshot)
        while snapshot <= _date(last_snapshot):
            probability, active = self.risk(snapshot)
            truth.append(probability[active])
            snapshot += timedelta(days=7)
        p = np.sort(np.concatenate(truth))
        # A pair counts where the higher probability cancels and the lower one stays.
        stays_below = np.concatenate([[0.0], np.cumsum(1 - p)[:-1]])
        return float((p * stays_below).sum() / (p.sum() * (1 - p).sum() - (p * (1 - p)).sum()))


def bayes_ceiling(
    first_snapshot: date | str, last_snapshot: date | str, users: int = 800, seed: int = 42
) -> float:
    """`World.bayes_ceiling` of the demo's own world."""
    return World(users, seed).bayes_ceiling(first_snapshot, last_snapshot)


def number_of(day: date | str) -> int:
    """Days from START; negative in the history. Raises ValueError outside of what the world knows."""
    number = (_date(day) - START).days
    if not -HISTORY <= number < HORIZON:
        last = START + timedelta(days=HORIZON - 1)
        raise ValueError(f"{day}: the demo knows {START - timedelta(days=HISTORY)} to {last}")
    return number


def _date(day: date | str) -> date:
    return day if isinstance(day, date) else date.fromisoformat(day)


def _clock(day: date | str, second: int) -> str:
    second = int(second)
    return f"{day}T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}Z"
