"""From applicants to outcomes: encode, search, decode, score natively, check."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from .checking import check_many
from .errors import CheckFailed, DataError, InputError, PolicyError
from .linear import LinearSearch
from .models import read_model
from .models.base import Model
from .plan import BestScore, Certificate, Change, Outcome, Plan, Provenance, Status
from .policy import Policy, check_costs
from .population import Population, as_pandas
from .problem import Encoded, Problem, build_problem
from .values import Value, format_value, parse_value, plain

if TYPE_CHECKING:
    from .policy import Feature

_CHUNK = 512  # rows encoded, scored and checked together
_BEST_NODES = 20_000  # largest part of the budget for the best score where no plan exists
_TASK = 32  # rows that one thread searches before it looks for the next
_STATUSES: tuple[Status, ...] = ("found", "none_exists", "none_found")


@dataclass(frozen=True, slots=True)
class Budget:
    """How much work one applicant may take, counted in nodes so that a run repeats bit for bit.

    Examples
    --------
    >>> Budget(nodes=50_000).nodes
    50000
    """

    nodes: int = 200_000

    def __post_init__(self) -> None:
        """Refuse a budget that allows nothing."""
        if self.nodes < 1:
            raise InputError(f"a budget needs at least one node, got {self.nodes}")


class Solved(NamedTuple):
    """What the search alone says of one applicant; costs in micro-units."""

    status: Status
    proven: bool
    cost_micro: int
    bound_micro: int
    nodes: int


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Encoded applicants, for timing the search alone (`Finder.solve`)."""

    encoded: Encoded
    moves: tuple[Any, ...]


class _Answers(NamedTuple):
    """What the search says of the refused rows of a chunk."""

    number: np.ndarray  # int64[k, 5]: status, proven, cost, bound, nodes
    value: np.ndarray  # float64[k, n]
    best: np.ndarray  # float64[k, 2]: value and bound of the raw score, where no plan exists
    best_number: np.ndarray  # int64[k, 2]: proven, nodes


class _Chunk(NamedTuple):
    """Rows on their way through the search."""

    frame: pd.DataFrame
    ids: list[str]
    scores: np.ndarray
    thresholds: np.ndarray
    refused: np.ndarray  # int64[k]
    answers: _Answers
    tasks: list[Future[None]]


class Finder:
    """Finds the cheapest changes that turn refusals into approvals, with a certificate for each answer.

    Parameters
    ----------
    model : estimator, booster, path or Model
        A fitted binary classifier, or a file of one; anything that `read_model` reads.
    policy : Policy, path or dict
        What applicants may change, what it costs, when the decision turns.
    population : frame or Population, optional
        Applicants at large, from which units of cost are taken. May be left out if no cost needs it (``unit = "raw"``).
    shape : {"point"}
        What a plan promises; the row itself is approved.
    budget : Budget
        Largest amount of work for one applicant.
    allow_pickle : bool
        Allow model files that can run code when they are loaded.

    Raises
    ------
    PolicyError, ModelError, DataError
        If policy, model or population cannot be used, alone or together.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> frame = pd.DataFrame({"income": [20, 30, 40, 50], "age": [30, 50, 40, 60]})
    >>> model = DecisionTreeClassifier().fit(frame, [0, 0, 1, 1])
    >>> policy = {
    ...     "decision": {"threshold": 0.5},
    ...     "features": {
    ...         "income": {"kind": "integer", "change": "up"},
    ...         "age": {"kind": "integer", "role": "protected"},
    ...     },
    ... }
    >>> outcome = Finder(model, policy, frame).find({"income": 28, "age": 44})
    >>> print(outcome.plan)
    income: 28 -> 36
    >>> outcome.plan.certificate.proven
    True
    """

    def __init__(
        self,
        model: Any,
        policy: Policy | Mapping[str, Any] | str | os.PathLike[str],
        population: Any = None,
        *,
        shape: str = "point",
        budget: Budget | None = None,
        allow_pickle: bool = False,
    ) -> None:
        if shape != "point":
            raise InputError(f"shape = {shape!r} is not supported yet: only 'point'")
        if isinstance(policy, str | os.PathLike):
            policy = Policy.from_toml(os.fspath(policy))
        elif not isinstance(policy, Policy):
            policy = Policy.model_validate(dict(policy))
        if not isinstance(model, Model):
            decision = policy.decision
            model = read_model(
                model,
                favourable=decision.favourable,
                score=decision.score,
                levels=policy.levels,
                allow_pickle=allow_pickle,
            )
        if population is None:
            if policy.cost.unit != "raw":
                raise PolicyError(
                    f"costs are in units of {policy.cost.unit!r}, which are measured on a population. "
                    'Give `population` (a frame or a saved summary), or set cost.unit = "raw".'
                )
            population = Population(n_rows=0, columns={})
        elif not isinstance(population, Population):
            population = Population.from_frame(population, policy)
        check_costs(policy, population if population.columns else None)
        self.model: Model = model
        self.policy: Policy = policy
        self.population: Population = population
        self.shape = shape
        self.budget = Budget() if budget is None else budget
        self._problem: Problem = build_problem(model, policy, population)
        self._search = _search_for(self._problem, self.budget)

    @property
    def provenance(self) -> Provenance:
        """What every outcome of this finder was computed from."""
        from . import __version__

        return Provenance(
            model=self.model.sha256,
            policy=self.policy.sha256,
            population=self.population.sha256,
            engine=f"fairpath {__version__}",
            self_check=self.model.self_check,
        )

    def find(self, row: Mapping[str, Any] | pd.Series | pd.DataFrame) -> Outcome:
        """Return the outcome of one applicant.

        Parameters
        ----------
        row : mapping, Series or frame of one row
            Raw values by column name. The outcome's id is the Series' name or the frame's index label, else "0".

        Raises
        ------
        DataError
            If a column is missing or a value cannot be used.
        """
        if isinstance(row, pd.Series):
            frame = pd.DataFrame({str(name): [value] for name, value in row.items()}, index=[row.name or 0])
        elif isinstance(row, Mapping):
            frame = pd.DataFrame({str(name): [value] for name, value in row.items()})
        else:
            frame = as_pandas(row)
        if len(frame) != 1:
            raise DataError(f"`find` takes one applicant, got {len(frame)} rows. Use `find_many`.")
        return next(self.find_many(frame, threads=1, progress=False))

    def find_many(
        self,
        frame: Any,
        *,
        thresholds: float | Sequence[float] | np.ndarray | None = None,
        threads: int | None = None,
        progress: bool | Callable[[int, int], None] | None = None,
        ids: Sequence[Any] | None = None,
    ) -> Iterator[Outcome]:
        """Yield the outcome of every row, in the order of the rows.

        Rows are searched side by side, and the answers do not depend on how many at a time. All rows are validated
        when the first outcome is asked for, before any search.

        Parameters
        ----------
        frame : pandas, polars or pyarrow frame
            Raw values; columns that neither policy nor model have are ignored.
        thresholds : float or one for each row, optional
            Instead of the policy's.
        threads : int, optional
            As many as there are processors by default.
        progress : bool or callable, optional
            A bar on stderr; by default if that is a terminal. A callable gets (rows done, rows).
        ids : sequence, optional
            Instead of the frame's index labels.

        Raises
        ------
        DataError
            If a column is missing or a value cannot be used; names column, row and remedy.
        """
        table = as_pandas(frame)
        names = [str(label) for label in (table.index if ids is None else ids)]
        if len(names) != len(table):
            raise DataError(f"{len(names)} ids were given for {len(table)} rows")
        cuts = self._thresholds(thresholds, len(table))
        workers = _processors() if threads is None else threads
        if workers < 1:
            raise InputError(f"threads must be at least 1, got {workers}")
        return self._run(table, names, cuts, workers, progress)

    def validate(self, frame: Any) -> list[tuple[Any, str]]:
        """Return (index label, message) for every row that could not be used.

        Raises
        ------
        DataError
            If the frame as a whole cannot be used: a column is missing or there twice.
        """
        table = as_pandas(frame)
        self._problem.encode(table.iloc[:0])
        found: list[tuple[Any, str]] = []
        for begin in range(0, len(table), _CHUNK):
            part = table.iloc[begin : begin + _CHUNK]
            try:
                self._problem.encode(part)
            except DataError:
                for i in range(len(part)):
                    try:
                        self._problem.encode(part.iloc[i : i + 1])
                    except DataError as error:
                        found.append((part.index[i], str(error)))
        return found

    def encode(self, frame: Any) -> Batch:
        """Encode rows for `solve`; with the rows' moves, so that nothing but the search is left to do."""
        encoded = self._problem.encode(as_pandas(frame))
        return Batch(encoded, self._search.moves(encoded))

    def solve(self, batch: Batch, i: int) -> Solved:
        """Search for row `i` of a batch alone, at the policy's threshold: nothing is decoded, scored or checked."""
        decision = self.policy.decision
        return self._search.solve(batch, i, self.model.cut(decision.threshold + decision.margin))

    # ------------------------------------------------------------------------------------------------------------ run

    def _thresholds(self, thresholds: Any, n: int) -> np.ndarray:
        given = self.policy.decision.threshold if thresholds is None else thresholds
        cuts = np.asarray(given, dtype=np.float64)
        if cuts.ndim == 0:
            cuts = np.full(n, float(cuts))
        if cuts.shape != (n,):
            raise DataError(f"thresholds: expected one number, or one for each of {n} rows, got shape {cuts.shape}")
        if not np.all(np.isfinite(cuts)):
            raise DataError(f"thresholds: row {int(np.flatnonzero(~np.isfinite(cuts))[0])} is not a finite number")
        return cuts

    def _run(
        self, table: pd.DataFrame, ids: list[str], cuts: np.ndarray, workers: int, progress: Any
    ) -> Iterator[Outcome]:
        if len(table) == 0:
            self._problem.encode(table)
            return
        for begin in range(0, len(table), 8 * _CHUNK):
            self._problem.encode(table.iloc[begin : begin + 8 * _CHUNK])
        provenance = self.provenance
        with contextlib.ExitStack() as stack:
            advance = stack.enter_context(_progress(progress, len(table)))
            pool = stack.enter_context(_pool(workers))
            ahead: _Chunk | None = None
            done = 0
            for begin in range(0, len(table) + _CHUNK, _CHUNK):
                part = slice(begin, begin + _CHUNK)
                following = None
                if begin < len(table):
                    following = self._begin(table.iloc[part], ids[part], cuts[part], pool)
                if ahead is not None:
                    for outcome in self._finish(ahead, provenance):
                        done += 1
                        advance(done)
                        yield outcome
                ahead = following

    def _begin(self, frame: pd.DataFrame, ids: list[str], thresholds: np.ndarray, pool: ThreadPoolExecutor) -> _Chunk:
        """Decide on a chunk natively and start the search for those refused."""
        encoded = self._problem.encode(frame)
        scores = self.model.score(encoded.matrix)
        refused = np.flatnonzero(~(scores >= thresholds)).astype(np.int64)
        margin = self.policy.decision.margin
        needed = np.array([self.model.cut(float(t) + margin) for t in thresholds[refused]], dtype=np.float64)
        k, n = len(refused), len(self._problem.names)
        answers = _Answers(np.zeros((k, 5), np.int64), np.zeros((k, n)), np.zeros((k, 2)), np.zeros((k, 2), np.int64))
        size = min(_TASK, max(1, k // 4))
        tasks = [
            pool.submit(self._search.run, encoded, refused, needed, answers, slice(b, b + size))
            for b in range(0, k, size)
        ]
        return _Chunk(frame, ids, scores, thresholds, refused, answers, tasks)

    def _finish(self, chunk: _Chunk, provenance: Provenance) -> Iterator[Outcome]:
        """Decode, score natively and check what the search found."""
        for task in chunk.tasks:
            task.result()
        records: list[dict[str, Value]] = _records(chunk.frame)
        status = chunk.answers.number[:, 0]
        found, stuck = np.flatnonzero(status == 0), np.flatnonzero(status == 1)
        changed = [self._changes(records[chunk.refused[i]], chunk.answers.value[i]) for i in found]
        after = [
            records[chunk.refused[i]] | {c.feature: c.after for c in changes}
            for i, changes in zip(found, changed, strict=True)
        ]
        reached = self._native(after)
        plans: dict[int, Plan] = {}
        for u, i in enumerate(found):
            certificate = self._certificate(chunk.answers.number[i])
            assert certificate.cost is not None
            row = {name: value for name, value in after[u].items() if name in self._shown}
            plans[int(i)] = Plan(changed[u], certificate.cost, float(reached[u]), row, certificate)
        self._check(chunk, records, plans)
        best = self._best_scores(chunk, records, stuck)
        at = {int(r): i for i, r in enumerate(chunk.refused)}
        for r, name in enumerate(chunk.ids):
            score, threshold = float(chunk.scores[r]), float(chunk.thresholds[r])
            k = at.get(r)
            if k is None:
                yield Outcome(name, "already_approved", None, self.shape, score, threshold, (), None, None, provenance)
                continue
            plan = plans.get(k)
            yield Outcome(
                id=name,
                status=_STATUSES[int(status[k])],
                stage="score",
                shape=self.shape,
                score=score,
                threshold=threshold,
                plans=() if plan is None else (plan,),
                certificate=self._certificate(chunk.answers.number[k]) if plan is None else None,
                best_score=best.get(k),
                provenance=provenance,
            )

    @property
    def _shown(self) -> set[str]:
        """Columns that a plan's row shows: the policy's, without the protected ones."""
        return {name for name, feature in self.policy.features.items() if feature.role != "protected"}

    def _changes(self, row: dict[str, Value], values: np.ndarray) -> tuple[Change, ...]:
        changes = []
        for name, feature, value in zip(self._problem.names, self._problem.features, values.tolist(), strict=True):
            if not feature.movable or value != value:
                continue
            before = row[name]
            after = _after(feature, before, value)
            if after is not None:
                changes.append(Change(name, before, after, feature.unit, feature.label))
        return tuple(changes)

    def _certificate(self, number: np.ndarray) -> Certificate:
        status, proven, cost, bound, nodes = (int(v) for v in number)
        if status == 0:
            gap = (cost - bound) / cost if cost else 0.0
            return Certificate(bool(proven), cost / 1e6, bound / 1e6, gap, nodes, self.budget.nodes)
        limit = float("inf") if status == 1 else bound / 1e6
        return Certificate(bool(proven), None, limit, None, nodes, self.budget.nodes)

    def _native(self, rows: list[dict[str, Value]]) -> np.ndarray:
        if not rows:
            return np.empty(0)
        from .models import encode_frame

        frame = pd.DataFrame({c.name: [row[c.name] for row in rows] for c in self.model.columns})
        return self.model.score(encode_frame(frame, self.model.columns))

    def _check(self, chunk: _Chunk, records: list[dict[str, Value]], plans: dict[int, Plan]) -> None:
        rows = [records[chunk.refused[i]] for i in plans]
        found = check_many(
            list(plans.values()),
            rows,
            self.model,
            self.policy,
            self.population,
            thresholds=[float(chunk.thresholds[chunk.refused[i]]) for i in plans],
        )
        for i, violations in zip(plans, found, strict=True):
            if violations:
                name = chunk.ids[chunk.refused[i]]
                raise CheckFailed(f"the plan for applicant {name} fails its checks: {'; '.join(violations)}")

    def _best_scores(self, chunk: _Chunk, records: list[dict[str, Value]], stuck: np.ndarray) -> dict[int, BestScore]:
        rows = []
        for i in stuck:
            row = records[chunk.refused[i]]
            rows.append(row | {c.feature: c.after for c in self._changes(row, chunk.answers.value[i])})
        scores = self._native(rows)
        out = {}
        for score, i in zip(scores, stuck, strict=True):
            proven, nodes = bool(chunk.answers.best_number[i, 0]), int(chunk.answers.best_number[i, 1])
            bound = float(self.model.squash(np.array([chunk.answers.best[i, 1]]))[0])
            out[int(i)] = BestScore(float(score), float(score) if proven else max(bound, float(score)), proven, nodes)
        return out


# ------------------------------------------------------------------------------------------------------------- searches


class _EnsembleSearch:
    """Rows through the kernels for tree ensembles."""

    def __init__(self, problem: Problem, budget: Budget) -> None:
        assert problem.forest is not None
        self._problem, self._budget = problem, budget
        self._eps = float(getattr(problem.model.core, "eps"))  # noqa: B009  (Trees, by construction)

    def moves(self, encoded: Encoded) -> tuple[Any, ...]:
        from .search.moves import build_moves

        return tuple(build_moves(self._problem.space, encoded.rows, i) for i in range(len(encoded.matrix)))

    def solve(self, batch: Batch, i: int, cut: float) -> Solved:
        from .search.ensemble import solve_moves

        p = self._problem
        number, score, best = np.zeros(5, np.int64), np.zeros(2), np.zeros(2, np.int64)
        solve_moves(
            p.forest, p.space, batch.moves[i], p.max_changes, cut, self._eps, self._budget.nodes, 0, number, score, best
        )  # fmt: skip
        status, proven, cost, bound, nodes = number.tolist()
        return Solved(_STATUSES[status], bool(proven), cost, bound, nodes)

    def run(self, encoded: Encoded, refused: np.ndarray, needed: np.ndarray, answers: _Answers, part: slice) -> None:
        """Solve a part of the refused rows, into the answers."""
        from .search.ensemble import solve_moves
        from .search.moves import COST_LIMIT, build_moves

        p, nodes = self._problem, self._budget.nodes
        for k in range(*part.indices(len(refused))):
            moves = build_moves(p.space, encoded.rows, int(refused[k]))
            dear = np.flatnonzero(moves.cost > COST_LIMIT)
            if len(dear):
                name = p.names[int(np.searchsorted(moves.offset, dear[0], side="right")) - 1]
                raise PolicyError(
                    f"features.{name}: a move costs more than 2^40 micro-units. "
                    "Give the feature bounds or a max_change, or lower its weight."
                )
            point = solve_moves(
                p.forest, p.space, moves, p.max_changes, float(needed[k]), self._eps, nodes, min(nodes, _BEST_NODES),
                answers.number[k], answers.best[k], answers.best_number[k],
            )  # fmt: skip
            answers.value[k] = moves.value[moves.offset[:-1] + point]


def _search_for(problem: Problem, budget: Budget) -> Any:
    return LinearSearch(problem, budget) if problem.forest is None else _EnsembleSearch(problem, budget)


# --------------------------------------------------------------------------------------------------------------- pieces


def _after(feature: Feature, before: Value, value: float) -> Value:
    """Return the value after a change as it will be printed and read, or None where nothing changes."""
    after: Value
    if feature.listed:
        assert feature.levels is not None
        if feature.position(before) == int(value):
            return None
        after = plain(feature.levels[int(value)])
    else:
        if before is None or float(before) == value:
            return None
        whole = feature.kind in ("integer", "ordinal") or (isinstance(before, int) and value.is_integer())
        after = int(value) if whole and value.is_integer() else value
    return parse_value(format_value(after, feature), feature)


def _records(frame: pd.DataFrame) -> list[dict[str, Value]]:
    """Rows as plain values by column name."""
    names = [str(name) for name in frame.columns]
    columns = [[plain(value) for value in frame.iloc[:, j].tolist()] for j in range(len(names))]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _processors() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


@contextlib.contextmanager
def _pool(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that are given up, not waited for, when the caller stops early."""
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="recourse")
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def _progress(progress: Any, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that takes the number of rows done."""
    if callable(progress):
        yield lambda done: progress(done, total)
        return
    from rich.console import Console

    console = Console(stderr=True)
    if progress is False or (progress is None and not console.is_terminal):
        yield lambda done: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("applicants", total=total)
        yield lambda done: bar.update(task, completed=done)
