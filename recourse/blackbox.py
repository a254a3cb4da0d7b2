"""The search of a black box: rounds of proposing, scoring and absorbing over all applicants at once.

Nothing is known of the model but its answers, so nothing is ever proven: a plan is found and checked by asking, or none
is found. Each round proposes a few candidates for every applicant, asks the model about all of them in one call, and
learns from the answers. Candidates come from a guess at the model (`_surrogate`), which a knapsack turns into the
cheapest changes that should be enough, and from the best plan held, with one change made smaller or taken back. Of
these, those are asked about from which most is to be expected: what they would save, times the chance that they hold.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from ._reach import WAIT, Options, Reach
from ._states import States
from ._surrogate import Curves, Surrogate
from .errors import InputError
from .models.blackbox import BlackBox
from .values import Value, format_value, parse_value, plain

if TYPE_CHECKING:
    import pandas as pd

    from .models.base import Model
    from .policy import Policy
    from .population import Population

BUDGET = 200  # rows that the model is asked about for one applicant

_ROUNDS = 64  # a larger budget is spent on more candidates a round, not on more rounds
_CHUNK = 256  # applicants that are learned about together
_VARIANTS = 6  # values that are tried of a provided one, which may turn out to be anything
_CLIP = 1e-7  # probabilities closer to 0 or 1 are taken for this
_LOOKS = 8  # neighbours of a plan that are looked at before one is asked about
_REPAIRS = 3  # changes of a candidate that breaks rules
_IDLE = 1e-4  # of the cost of the plan held; a smaller expected saving is not worth a call


class Answer(NamedTuple):
    """What the search says of one applicant."""

    status: Literal["found", "none_found"]
    cost_micro: int  # 0 where nothing is found
    changes: dict[str, Value]  # what each changed feature becomes; None for a value that is provided, whatever it is
    wait: int  # months
    score: float  # of the plan; of the best candidate where nothing is found
    calls: int  # rows that the model scored for this applicant


class BlackBoxSearch:
    """Finds cheap plans under a policy for a model that can only be asked.

    Parameters
    ----------
    model : Model
        Its core is a `BlackBox`.
    policy : Policy
    population : Population
    budget_calls : int
        Most rows that the model is asked about for one applicant, the applicant's own among them.
    seed : int
        Of what is tried before anything is known. The same applicants and seed give the same plans; what is learned of
        one applicant helps the others, so other applicants beside one can change the answer.
    shape : {"point"}
        A region cannot be proven by asking, so other shapes are refused.

    Examples
    --------
    >>> import pandas as pd
    >>> from recourse import Policy, Population
    >>> from recourse.models.base import Wanted
    >>> from recourse.models.blackbox import read
    >>> policy = Policy.model_validate({
    ...     "decision": {"threshold": 0.5}, "cost": {"unit": "raw"},
    ...     "features": {"income": {"kind": "integer", "change": "up", "max": 100}},
    ... })
    >>> model = read(lambda frame: frame["income"] / 100, Wanted(columns=("income",)))
    >>> people = pd.DataFrame({"income": [20, 35]})
    >>> for answer in BlackBoxSearch(model, policy, Population.from_frame(people, policy)).run(people, [0.5, 0.5]):
    ...     print(answer.status, answer.changes, answer.calls < 40)
    found {'income': 50} True
    found {'income': 50} True
    """

    def __init__(
        self,
        model: Model,
        policy: Policy,
        population: Population,
        *,
        budget_calls: int = BUDGET,
        seed: int = 0,
        shape: str = "point",
    ) -> None:
        if not isinstance(model.core, BlackBox):
            raise InputError(f"{model.name} is no black box: its plans can be proven by the Finder")
        if shape != "point":
            raise InputError(
                f"{model.name} is a black box, which can be asked about rows but not about regions: shape = {shape!r} "
                "cannot be promised. Use shape = 'point' with a decision.margin, or a model that can be read"
            )
        if budget_calls < 2:
            raise InputError(f"budget_calls must be at least 2 (the applicant's row, a candidate), got {budget_calls}")
        self.model, self.policy, self.population = model, policy, population
        self.core: BlackBox = model.core
        self.budget_calls, self.seed = budget_calls, seed
        self._reach = Reach(policy, population)
        self._states = States(policy, model.columns, self._reach.names)
        limit, actions = policy.cost.max_changes, len(self._reach.names)
        self._limit = actions if limit is None else min(limit, actions)

    def run(self, frame: pd.DataFrame, thresholds: Sequence[float] | np.ndarray) -> list[Answer]:
        """Search for refused applicants, and return one answer for each row, in order.

        Parameters
        ----------
        frame : pandas.DataFrame
            Raw values.
        thresholds : sequence of float
            The score that each must reach, the policy's margin not yet added.

        Raises
        ------
        DataError
            A column is missing or a value cannot be used; names column, row and remedy.
        ModelError
            The model fails to answer.
        """
        cuts = np.asarray(thresholds, dtype=np.float64) + self.policy.decision.margin
        if cuts.shape != (len(frame),):
            raise InputError(f"expected a threshold for each of {len(frame)} rows, got shape {cuts.shape}")
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        out: list[Answer] = []
        with threadpool_limits(limits=1, user_api="blas"):  # so that sums repeat bit for bit on any number
            for k, begin in enumerate(range(0, len(frame), _CHUNK)):
                part = slice(begin, begin + _CHUNK)
                out += self._chunk(frame.iloc[part], cuts[part], np.random.default_rng([self.seed, k]))
        return out

    def _chunk(self, frame: pd.DataFrame, cuts: np.ndarray, rng: np.random.Generator) -> list[Answer]:
        start = self._states.start(frame)
        table = _Table.of(self._reach.options(start[:, self._states.actions], list(frame.index)), len(frame))
        rounds = _Rounds(self, start, self._states.own(frame, start), table, cuts, rng)
        rounds.run()
        return [self._answer(rounds, table, i) for i in range(len(frame))]

    def _answer(self, rounds: _Rounds, table: _Table, i: int) -> Answer:
        choice, calls = rounds.plan[i], int(rounds.calls[i])
        if rounds.cost[i] == _NONE:
            return Answer("none_found", 0, {}, 0, float(rounds.best[i]), calls)
        changes: dict[str, Value] = {}
        wait = 0
        for a in np.flatnonzero(choice).tolist():
            name, value = self._reach.names[a], float(table.value[i, a, choice[a]])
            if name == WAIT:
                wait = int(value)
                continue
            feature = self.policy.features[name]
            if np.isnan(table.value[i, a, 0]) and feature.provide is not None and feature.provide.mode == "any":
                changes[name] = None
                continue
            after = plain(feature.levels[int(value)]) if feature.levels is not None else value
            changes[name] = parse_value(format_value(after, feature), feature)
        return Answer("found", int(rounds.cost[i]), changes, wait, float(rounds.score[i]), calls)


# ------------------------------------------------------------------------------------------------------------- options

_NONE = 1 << 60  # the cost of no plan


class _Table(NamedTuple):
    """The options of all actions of all applicants, padded."""

    value: np.ndarray  # float64[n, n_actions, n_options]; option 0 stays
    until: np.ndarray  # float64, as `Options.until`
    cost: np.ndarray  # int64, -1 beyond the last
    counts: np.ndarray  # int64[n, n_actions]

    @classmethod
    def of(cls, options: list[list[Options]], n: int) -> _Table:
        counts = np.array([[len(one.value) for one in each] for each in options], dtype=np.int64).reshape(-1, n).T
        shape = (n, len(options), int(counts.max(initial=1)))
        value, until, cost = np.zeros(shape), np.zeros(shape), np.full(shape, -1, dtype=np.int64)
        for a, each in enumerate(options):
            for i, one in enumerate(each):
                k = len(one.value)
                value[i, a, :k], until[i, a, :k], cost[i, a, :k] = one.value, one.until, one.cost
                value[i, a, k:] = until[i, a, k:] = one.value[0]
        return cls(value, until, cost, np.ascontiguousarray(counts))

    def chosen(self, who: np.ndarray, choice: np.ndarray) -> np.ndarray:
        """Return the values of choices (int64[k, n_actions]) of applicants `who`, float64[k, n_actions]."""
        return np.asarray(np.take_along_axis(self.value[who], choice[:, :, None], axis=2)[:, :, 0])

    def prices(self, who: np.ndarray, choice: np.ndarray) -> np.ndarray:
        """Return what choices cost, int64[k]."""
        return np.asarray(np.take_along_axis(self.cost[who], choice[:, :, None], axis=2)[:, :, 0].sum(axis=1))


class _Single(NamedTuple):
    """Where one action alone leads: knots of one feature's curve, for all options of all applicants."""

    action: int
    low: np.ndarray  # int64[n, n_options]
    share: np.ndarray  # float64[n, n_options]


class _Candidate(NamedTuple):
    """A choice that could be asked about, and what is to be expected of it."""

    who: int
    choice: np.ndarray  # int64[n_actions]
    guess: float  # difference of score
    worth: float  # expected saving


# -------------------------------------------------------------------------------------------------------------- rounds


class _Rounds:
    """One run for some applicants: what is known of each, and what is asked next."""

    def __init__(
        self,
        search: BlackBoxSearch,
        start: np.ndarray,
        own: np.ndarray,
        table: _Table,
        cuts: np.ndarray,
        rng: np.random.Generator,
    ) -> None:
        n, actions = len(start), table.value.shape[1]
        self._search, self._states, self._core = search, search._states, search.core
        self._start, self._own, self._table, self._cuts, self._rng = start, own, table, cuts, rng
        self._limit, self._budget = search._limit, search.budget_calls
        self.calls = np.zeros(n, dtype=np.int64)
        self.plan = np.zeros((n, actions), dtype=np.int64)
        self.cost = np.full(n, _NONE, dtype=np.int64)
        self.score = np.full(n, np.nan)  # native, of the plan held
        self.best = np.full(n, -np.inf)  # native, of any lawful candidate
        self._nearest = np.zeros((n, actions), dtype=np.int64)  # that candidate
        self._round = 0
        self._seen: list[set[bytes]] = [set() for _ in range(n)]
        self._done = np.zeros(n, dtype=bool)
        self._errors: list[list[float]] = [[] for _ in range(n)]
        self._at_plan = np.zeros(n)  # difference of score of the plan held
        self._target = self._scale(cuts)

    def _scale(self, scores: np.ndarray) -> np.ndarray:
        """Scores where differences add up: log odds of probabilities."""
        if not self._core.probability:
            return np.asarray(scores, dtype=np.float64)
        inside = np.clip(scores, _CLIP, 1.0 - _CLIP)
        return np.asarray(np.log(inside) - np.log1p(-inside))

    def run(self) -> None:
        """Ask until the budget is spent or nothing is left to hope for."""
        n = len(self._start)
        if not n:
            return
        everyone, stay = np.arange(n), np.zeros_like(self.plan)
        self._present = np.zeros(n)
        self._learns = False
        self._present = self._ask(everyone, stay)
        self._need = self._target - self._present
        if not stay.shape[1]:
            return
        self._prepare()
        self._explore()
        per_round = max(1, math.ceil(self._budget / _ROUNDS))
        while True:
            active = np.flatnonzero(~self._done & (self.calls < self._budget) & (self.cost > 0))
            if not len(active):
                return
            self._model.fit()
            self._gain = self._gains()
            picked = self._pick(active, per_round)
            if not picked:
                return
            who = np.array([c.who for c in picked])
            choice = np.stack([c.choice for c in picked])
            difference = self._ask(who, choice) - self._present[who]
            for c, real in zip(picked, difference.tolist(), strict=True):
                self._errors[c.who].append(real - c.guess)

    # -------------------------------------------------------------------------------------------------------- learning

    def _prepare(self) -> None:
        """Lay out the curves, and where each single option leads on them."""
        table, states = self._table, self._states
        n, actions, options = table.value.shape
        base = states.after(self._start, table.value[:, :, 0])
        single = np.empty((n, actions, options, len(states.scored)))
        for a in range(actions):
            chosen = np.repeat(table.value[:, None, :, 0], options, axis=1)
            chosen[:, :, a] = table.value[:, a, :]
            led = states.after(np.repeat(self._start, options, axis=0), chosen.reshape(-1, actions))
            single[:, a] = led[:, states.scored].reshape(n, options, -1)
        home = base[:, states.scored]
        features = [(states.names[j], states.policy.features.get(states.names[j])) for j in states.scored]
        spans = []
        for c in range(len(features)):
            found = np.concatenate([single[..., c].ravel(), home[:, c]])
            found = found[np.isfinite(found)]
            spans.append((float(found.min(initial=0.0)) if not len(found) else float(found.min()),
                          float(found.max()) if len(found) else 1.0))  # fmt: skip
        curves = Curves(features, self._search.population, spans)
        self._singles: list[tuple[_Single, np.ndarray, np.ndarray]] = []
        for c in range(len(features)):
            low0, share0 = curves.places(c, home[:, c])
            for a in range(actions):
                x, now = single[:, a, :, c], home[:, None, c]
                if np.any((x != now) & ~(np.isnan(x) & np.isnan(now))):
                    low, share = curves.places(c, x)
                    self._singles.append((_Single(a, low, share), low0, share0))
        self._model = Surrogate(curves, home, self._need)
        self._learns = True

    def _gains(self) -> np.ndarray:
        """Return the guessed gain of each option alone, float64[n, n_actions, n_options]."""
        values = self._model.values
        each = np.arange(len(values))[:, None]
        last = values.shape[1] - 1
        out = np.zeros(self._table.value.shape)
        for single, low0, share0 in self._singles:
            at = values[each, single.low]
            at = at + single.share * (values[each, np.minimum(single.low + 1, last)] - at)
            here = values[each[:, 0], low0]
            here = here + share0 * (values[each[:, 0], np.minimum(low0 + 1, last)] - here)
            out[:, single.action] += at - here[:, None]
        out[self._table.cost < 0] = 0.0
        return out

    def _guess(self, who: np.ndarray, choice: np.ndarray) -> np.ndarray:
        led = self._states.after(self._start[who], self._table.chosen(who, choice))
        return self._model.guess(who, led[:, self._states.scored])

    def _correction(self) -> np.ndarray:
        """Return half of what the guess is wrong by at each plan held, float64[n]: it is as wrong nearby."""
        everyone = np.arange(len(self.cost))
        wrong = self._at_plan - self._guess(everyone, self.plan)
        return np.where(self.cost < _NONE, 0.5 * wrong, 0.0)

    def _doubt(self) -> np.ndarray:
        """Return the standard deviation of guesses near the goal, float64[n]: what the last ones were wrong by."""
        recent = [np.array(e[-4:]) for e in self._errors]
        pooled = np.concatenate(recent) if recent else np.empty(0)
        typical = 0.3 * float(np.median(np.abs(self._need)))
        common = float(np.median(np.abs(pooled))) * 1.5 if len(pooled) else typical
        common = max(common, 0.01 * typical, 1e-12)
        squares = np.array([float(np.sum(e**2)) for e in recent])
        counts = np.array([len(e) for e in recent])
        return np.asarray(np.sqrt((2 * common**2 + squares) / (2 + counts)))

    def _explore(self) -> None:
        """Ask about some random candidates, so that there is something to learn from."""
        n, actions, _ = self._table.value.shape
        wanted = math.ceil(1.5 * self._model.curves.size / n)
        probes = int(np.clip(wanted, 1, max(1, self._budget // 8)))
        who = np.repeat(np.arange(n), probes)
        choice = np.zeros((len(who), actions), dtype=np.int64)
        for k, i in enumerate(who.tolist()):
            free = np.flatnonzero(self._table.counts[i] > 1)
            if not len(free):
                continue
            some = self._rng.choice(free, size=min(len(free), self._limit, 4), replace=False)
            choice[k, some] = self._rng.integers(1, self._table.counts[i, some])
        who, choice = self._within_budget(who, choice)
        if len(who):
            self._ask(who, choice)

    # ---------------------------------------------------------------------------------------------------------- asking

    def _within_budget(self, who: np.ndarray, choice: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keep what is new, and what the applicant's calls still pay for."""
        keep, spent = [], self.calls.copy()
        fresh: set[tuple[int, bytes]] = set()
        for k, i in enumerate(who.tolist()):
            key, price = choice[k].tobytes(), self._variants(i, choice[k])
            if key in self._seen[i] or (i, key) in fresh or spent[i] + price > self._budget:
                continue
            fresh.add((i, key))
            spent[i] += price
            keep.append(k)
        return who[keep], choice[keep]

    def _variants(self, i: int, choice: np.ndarray) -> int:
        """How many rows one candidate takes: several where a value is provided that is not known yet."""
        return _VARIANTS if self._open(i, choice).any() else 1

    def _open(self, i: int, choice: np.ndarray) -> np.ndarray:
        each = np.arange(len(choice))
        return np.asarray(self._table.until[i, each, choice] > self._table.value[i, each, choice])

    def _ask(self, who: np.ndarray, choice: np.ndarray) -> np.ndarray:
        """Ask the model about candidates; note plans, learn, and return scores on the scale, float64[k]."""
        chosen = self._table.chosen(who, choice)
        rows, of = [], []
        for k, i in enumerate(who.tolist()):
            self._seen[i].add(choice[k].tobytes())
            variants = self._spelt_out(i, choice[k], chosen[k])
            rows.append(variants)
            of += [k] * len(variants)
        every, owner = np.concatenate(rows), np.array(of)
        led = self._states.after(self._start[who[owner]], every)
        matrix = self._states.matrix(led, self._own[who[owner]])
        new = self._core.unknown(matrix)
        np.add.at(self.calls, who[owner[new]], 1)
        native = self._core.score(matrix)
        lawful = self._states.lawful(self._start[who[owner]], every)
        worst = np.full(len(who), np.inf)
        np.minimum.at(worst, owner, native)
        allowed = np.ones(len(who), dtype=bool)
        np.logical_and.at(allowed, owner, lawful)
        self._note(who, choice, worst, allowed)
        if self._learns:
            spread = self._scale(native) - self._present[who[owner]]
            self._model.absorb(who[owner], led[:, self._states.scored], spread)
        return self._scale(worst)

    def _spelt_out(self, i: int, choice: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Return the rows of choices that one candidate stands for, float64[k, n_actions].

        A provided value may turn out to be anything from the one stated on: both ends, and some between them; where
        several are provided, their ends in both orders too.
        """
        open_ = np.flatnonzero(self._open(i, choice))
        if not len(open_):
            return chosen[None, :]
        out = np.repeat(chosen[None, :], _VARIANTS, axis=0)
        for k, a in enumerate(open_.tolist()):
            low, high = chosen[a], float(self._table.until[i, a, choice[a]])
            shares = np.array([0.0, 1.0, 0.5, 0.25, 0.75, float(k % 2)])
            if k % 2:
                shares[2:4] = shares[3:1:-1]
            out[:, a] = self._snapped(i, a, low + shares * (high - low), low)
        return out

    def _snapped(self, i: int, a: int, wanted: np.ndarray, least: float) -> np.ndarray:
        """Return the admissible values nearest to some numbers."""
        feature = self._search.policy.features[self._search._reach.names[a]]
        if feature.listed or feature.provide is None:
            return np.rint(wanted)
        step = 1.0 if feature.step is None else float(feature.step)
        return np.where(wanted <= least, least, np.floor(wanted / step) * step)

    def _note(self, who: np.ndarray, choice: np.ndarray, native: np.ndarray, allowed: np.ndarray) -> None:
        """Keep each applicant's cheapest plan; of equal ones that with fewer changes, then the first."""
        cost = self._table.prices(who, choice)
        scaled = self._scale(native)
        for k, i in enumerate(who.tolist()):
            if not allowed[k]:
                continue
            if native[k] > self.best[i]:
                self.best[i], self._nearest[i] = native[k], choice[k]
            if native[k] < self._cuts[i]:
                continue
            mine = (int(cost[k]), int(np.count_nonzero(choice[k])))
            if mine < (int(self.cost[i]), int(np.count_nonzero(self.plan[i]))):
                self.cost[i], self.plan[i], self.score[i] = cost[k], choice[k], native[k]
                self._at_plan[i] = scaled[k] - self._present[i]

    # ------------------------------------------------------------------------------------------------------- proposing

    def _pick(self, active: np.ndarray, per_round: int) -> list[_Candidate]:
        """Return the candidates to ask about: for each applicant those from which most is to be expected."""
        doubt = self._doubt()
        self._round += 1
        pools: dict[int, list[_Candidate]] = {int(i): [] for i in active}
        for candidate in self._knapsacks(active, doubt):
            pools[candidate.who].append(candidate)
        for candidate in self._smaller(active, doubt):
            pools[candidate.who].append(candidate)
        picked: list[_Candidate] = []
        for i, pool in pools.items():
            mine: list[_Candidate] = []
            left = self._budget - int(self.calls[i])
            for candidate in sorted(pool, key=lambda c: -c.worth):
                if len(mine) == per_round or (self.cost[i] < _NONE and candidate.worth < _IDLE * self.cost[i]):
                    break
                price = self._variants(i, candidate.choice)
                if price <= left and not any(np.array_equal(c.choice, candidate.choice) for c in mine):
                    mine.append(candidate)
                    left -= price
            if self.cost[i] == _NONE and (not mine or self._round % 2):
                mine = self._climb(i, left, 0.0) or mine or self._climb(i, left, -np.inf) or self._wander(i, left)
            if not mine:
                self._done[i] = True
            picked += mine
        return picked

    def _knapsacks(self, active: np.ndarray, doubt: np.ndarray) -> Iterator[_Candidate]:
        """Yield the cheapest choices that should be enough by the guess: safely, just so, and with some luck."""
        from .search.blackbox import cheapest_sums

        t = self._table
        planned = np.take_along_axis(self._gain, self.plan[:, :, None], axis=2)[:, :, 0].sum(axis=1)
        bias = np.where(self.cost < _NONE, self._at_plan - planned, 0.0)  # what the sum of gains misses at the plan
        holding = active[self.cost[active] < _NONE]
        asks = [(active, self._need + share * doubt) for share in (1.0, 0.0, -0.6, -1.2)]
        asks += [(holding, self._need - bias + share * doubt) for share in (0.4, 0.0, -0.4, -0.8)]
        who = np.concatenate([some for some, _ in asks])
        ask = np.concatenate([need[some] for some, need in asks])
        choice, _ = cheapest_sums(self._gain[who], t.cost[who], t.counts[who], np.maximum(ask, 1e-9), self._limit)
        lawful = self._states.lawful(self._start[who], t.chosen(who, choice))
        for k in np.flatnonzero(~lawful).tolist():
            repaired = self._repaired(int(who[k]), choice[k])
            if repaired is not None:
                choice[k], lawful[k] = repaired, True
        new = np.array([lawful[k] and choice[k].tobytes() not in self._seen[i] for k, i in enumerate(who.tolist())])
        who, choice = who[new], choice[new]
        if not len(who):
            return
        guess, cost = self._guess(who, choice) + self._correction()[who], t.prices(who, choice)
        held = self.cost[who].astype(np.float64)
        dearest = np.zeros(len(self.cost))
        np.maximum.at(dearest, who, cost.astype(np.float64))
        held = np.where(self.cost[who] == _NONE, 1.5 * dearest[who] + 1.0, held)
        worth = np.maximum(held - cost, 0.0) * _chance((guess - self._need[who]) / doubt[who])
        for k, i in enumerate(who.tolist()):
            if cost[k] < self.cost[i]:
                yield _Candidate(i, choice[k], float(guess[k]), float(worth[k]))

    def _smaller(self, active: np.ndarray, doubt: np.ndarray) -> Iterator[_Candidate]:
        """Yield plans held with one change made smaller or taken back, guessed from what the plan itself scored."""
        t = self._table
        for i in active[self.cost[active] < _NONE].tolist():
            plan, gain, cost = self.plan[i], self._gain[i], t.cost[i]
            changed = np.flatnonzero(plan)
            if not len(changed):
                continue
            lost = gain[changed, plan[changed]][:, None] - gain[changed]
            saved = (cost[changed, plan[changed]][:, None] - cost[changed]).astype(np.float64)
            guess = self._at_plan[i] - lost
            unsure = 0.1 * doubt[i] + 0.4 * np.abs(lost)
            worth = np.where((cost[changed] >= 0) & (saved > 0), saved, 0.0)
            worth *= _chance((guess - self._need[i]) / np.maximum(unsure, 1e-12))
            looks = 0
            for place in np.argsort(-worth, axis=None, kind="stable").tolist():
                c, v = divmod(place, worth.shape[1])
                if worth[c, v] <= _IDLE * self.cost[i] or looks == _LOOKS:
                    break
                choice = plan.copy()
                choice[changed[c]] = v
                if choice.tobytes() in self._seen[i]:
                    continue
                looks += 1
                if self._allowed(i, choice[None, :])[0]:
                    yield _Candidate(i, choice, float(guess[c, v]), float(worth[c, v]))

    def _allowed(self, i: int, choices: np.ndarray) -> np.ndarray:
        who = np.full(len(choices), i)
        return self._states.lawful(self._start[who], self._table.chosen(who, choices))

    def _climb(self, i: int, left: int, least: float) -> list[_Candidate]:
        """Return the lawful candidate of the best score, one action changed: what should gain most, above `least`."""
        base = self._nearest[i]
        if self.best[i] == -np.inf:
            return []
        here = float(self._scale(self.best[[i]])[0] - self._present[i])
        gain = self._gain[i] - np.take_along_axis(self._gain[i], base[:, None], axis=1)
        gain[self._table.cost[i] < 0] = -np.inf
        if np.count_nonzero(base) >= self._limit:
            gain[base == 0] = -np.inf
        looks = 0
        for place in np.argsort(-gain, axis=None, kind="stable").tolist():
            a, v = divmod(place, gain.shape[1])
            if gain[a, v] <= least or looks == 4 * _LOOKS:
                break
            choice = base.copy()
            choice[a] = v
            if choice.tobytes() in self._seen[i] or self._variants(i, choice) > left:
                continue
            looks += 1
            if self._allowed(i, choice[None, :])[0]:
                return [_Candidate(i, choice, here + float(gain[a, v]), 0.0)]
        return []

    def _wander(self, i: int, left: int) -> list[_Candidate]:
        """Return something new to ask about for an applicant without a plan, where guesses lead nowhere."""
        free = np.flatnonzero(self._table.counts[i] > 1)
        if not len(free):
            return []
        best = np.argmax(np.where(self._table.cost[i] >= 0, self._gain[i], -np.inf), axis=1)
        for _ in range(4 * _LOOKS):
            some = self._rng.permutation(free)[: self._limit]
            choice = np.zeros(len(best), dtype=np.int64)
            choice[some] = best[some]
            one = int(self._rng.choice(some))
            choice[one] = self._rng.integers(1, self._table.counts[i, one])
            found = choice if self._allowed(i, choice[None, :])[0] else self._repaired(i, choice)
            if found is not None and found.tobytes() not in self._seen[i] and self._variants(i, found) <= left:
                guess = float(self._guess(np.array([i]), found[None, :])[0])
                return [_Candidate(i, found, guess, 0.0)]
        return []

    def _repaired(self, i: int, choice: np.ndarray) -> np.ndarray | None:
        """Return a choice nearby that breaks no rule: other options of actions that the broken rules look at."""
        t, now = self._table, choice
        for _ in range(_REPAIRS):
            broken = self._broken(i, now[None, :])[0]
            actions = sorted(set().union(*(self._states.reads[k] for k in np.flatnonzero(broken))))
            tries = [
                np.where(np.arange(len(now)) == a, v, now)
                for a in actions
                for v in _spread(int(t.counts[i, a]))
                if v != now[a]
            ]
            options = np.array([c for c in tries if np.count_nonzero(c) <= self._limit], dtype=np.int64)
            if not len(options):
                return None
            faults = self._broken(i, options).sum(axis=1)
            cost = t.prices(np.full(len(options), i), options)
            gain = np.take_along_axis(self._gain[i][None], options[:, :, None], axis=2)[:, :, 0].sum(axis=1)
            short = np.maximum(self._need[i] - gain, 0.0)
            order = np.lexsort((cost, np.where(short > 0, short, 0.0), faults))
            now = options[order[0]]
            if faults[order[0]] == 0:
                return now if now.any() else None
            if faults[order[0]] >= broken.sum():
                return None
        return None

    def _broken(self, i: int, choices: np.ndarray) -> np.ndarray:
        who = np.full(len(choices), i)
        return self._states.broken(self._start[who], self._table.chosen(who, choices))


def _chance(z: Any) -> np.ndarray:
    """The normal distribution function, near enough (logistic with the same slope)."""
    return np.asarray(1.0 / (1.0 + np.exp(-1.702 * np.clip(z, -30.0, 30.0))))


def _spread(count: int) -> list[int]:
    """Options that are tried in a repair: all of a few, else some from each part of the list."""
    if count <= 48:
        return list(range(count))
    return sorted({0, *np.linspace(1, count - 1, 47).astype(int).tolist()})
