"""From applicants to outcomes: encode, search, decode, score natively, check."""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from .checking import check_many
from .errors import CheckFailed, DataError, InputError, ModelError, PolicyError
from .linear import LinearSearch
from .models import read_model
from .models.base import Model, RefusedCell
from .plan import BestScore, Certificate, Change, Outcome, Plan, Provenance, Status
from .policy import Policy, check_costs
from .population import Population, as_pandas
from .problem import Encoded, Problem, build_problem
from .values import Value, format_value, parse_value, plain

if TYPE_CHECKING:
    from .policy import Feature

_CHUNK = 512  # rows encoded together; while one chunk is handed out, the next is searched
_VALIDATED = 8 * _CHUNK  # rows validated together
_GATHERED = 128  # most rows decoded, scored natively and checked together
_LINGER = 0.1  # seconds that a finished row waits for others to be checked with
_BEST_NODES = 20_000  # largest part of the budget for the best score where no plan exists
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

    ids: list[str]
    records: list[dict[str, Value]]  # raw values
    encoded: Encoded
    scores: np.ndarray
    thresholds: np.ndarray
    refused: np.ndarray  # int64[k], the rows that are searched
    place: dict[int, int]  # row -> its place among the refused
    answers: _Answers
    tasks: list[Future[None]]  # one for each refused row


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
        _require_agreement(model, policy)
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
        self._shown = frozenset(name for name, feature in policy.features.items() if feature.role != "protected")

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

        Rows are searched side by side, and the answers do not depend on how many at a time. An outcome is handed out
        as soon as it and those before it are there; how far the search runs ahead is limited, so memory does not grow
        with the rows. All rows are validated, and scored by the model, when the first outcome is asked for.

        Parameters
        ----------
        frame : pandas, polars or pyarrow frame
            Raw values; columns that neither policy nor model have are ignored, with one warning.
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
            If a column is missing or a value cannot be used; names column, row and remedy. If ids stand twice, or
            ids or thresholds are not one for each row.
        """
        table = as_pandas(frame)
        self._warn_of_extra_columns(table)
        names = [str(label) for label in (table.index if ids is None else ids)]
        if len(names) != len(table):
            raise DataError(f"{len(names)} ids were given for {len(table)} rows")
        if len(set(names)) != len(names):
            seen: set[str] = set()
            twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
            raise DataError(
                f"the id {twice!r} stands twice. Give `ids` that tell applicants apart, or call reset_index() first."
            )
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
                self._scored(part)
            except DataError:
                for i in range(len(part)):
                    try:
                        self._scored(part.iloc[i : i + 1])
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

    def _warn_of_extra_columns(self, table: pd.DataFrame) -> None:
        known = {*self.policy.features, *(column.name for column in self.model.columns)}
        extra = [name for name in table.columns if name not in known]
        if extra:
            names = ", ".join(map(repr, extra[:5])) + (", ..." if len(extra) > 5 else "")
            what = "column" if len(extra) == 1 else f"{len(extra)} columns"
            warnings.warn(f"ignored {what} that neither the policy nor the model has: {names}", stacklevel=3)

    def _scored(self, frame: pd.DataFrame) -> tuple[Encoded, np.ndarray]:
        """Validate and encode rows, and score them; what the library refuses is named by the frame's index."""
        encoded = self._problem.encode(frame)
        if not len(frame):
            return encoded, np.empty(0)
        try:
            return encoded, self.model.score(encoded.matrix)
        except RefusedCell as refused:
            raise DataError(refused.words(frame.index[refused.row])) from None

    def _run(
        self, table: pd.DataFrame, ids: list[str], cuts: np.ndarray, workers: int, progress: Any
    ) -> Iterator[Outcome]:
        scores, whole = np.empty(len(table)), None
        for begin in range(0, max(1, len(table)), _VALIDATED):
            part = slice(begin, begin + _VALIDATED)
            encoded, scores[part] = self._scored(table.iloc[part])
            whole = encoded if len(table) <= _CHUNK else None  # a single chunk need not be encoded twice
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
                    following = self._begin(table.iloc[part], ids[part], scores[part], cuts[part], whole, pool)
                if ahead is not None:
                    for rows in _finished(ahead):
                        for outcome in self._finish(ahead, rows, provenance):
                            done += 1
                            advance(done)
                            yield outcome
                ahead = following

    def _begin(
        self,
        frame: pd.DataFrame,
        ids: list[str],
        scores: np.ndarray,
        thresholds: np.ndarray,
        encoded: Encoded | None,
        pool: ThreadPoolExecutor,
    ) -> _Chunk:
        """Start the search for those rows of a chunk that are refused."""
        encoded = self._problem.encode(frame) if encoded is None else encoded
        refused = np.flatnonzero(~(scores >= thresholds)).astype(np.int64)
        margin = self.policy.decision.margin
        needed = np.array([self.model.cut(float(t) + margin) for t in thresholds[refused]], dtype=np.float64)
        k, n = len(refused), len(self._problem.names)
        answers = _Answers(np.zeros((k, 5), np.int64), np.zeros((k, n)), np.zeros((k, 2)), np.zeros((k, 2), np.int64))
        tasks = [
            pool.submit(self._search.run, encoded, refused, needed, answers, slice(i, i + 1)) for i in range(k)
        ]  # fmt: skip
        place = {int(r): i for i, r in enumerate(refused)}
        return _Chunk(ids, _records(frame), encoded, scores, thresholds, refused, place, answers, tasks)

    def _finish(self, chunk: _Chunk, rows: range, provenance: Provenance) -> Iterator[Outcome]:
        """Decode, score natively and check what the search found for some rows of a chunk."""
        status = chunk.answers.number[:, 0]
        searched = [chunk.place[r] for r in rows if r in chunk.place]
        moved = [i for i in searched if _STATUSES[status[i]] != "none_found"]
        changes = {i: self._changes(chunk, i) for i in moved}
        reached = dict(zip(moved, self._native(chunk, changes), strict=True))
        plans: dict[int, Plan] = {}
        for i in moved:
            if _STATUSES[status[i]] == "found":
                certificate = self._certificate(chunk.answers.number[i])
                assert certificate.cost is not None
                after = chunk.records[chunk.refused[i]] | {c.feature: c.after for c in changes[i]}
                row = {name: after[name] for name in after if name in self._shown}
                plans[i] = Plan(changes[i], certificate.cost, reached[i], row, certificate)
        self._check(chunk, plans)
        for r in rows:
            name, score, threshold = chunk.ids[r], float(chunk.scores[r]), float(chunk.thresholds[r])
            if r not in chunk.place:
                yield Outcome(name, "already_approved", None, self.shape, score, threshold, (), None, None, provenance)
                continue
            i = chunk.place[r]
            plan, kind = plans.get(i), _STATUSES[status[i]]
            yield Outcome(
                id=name,
                status=kind,
                stage="score",
                shape=self.shape,
                score=score,
                threshold=threshold,
                plans=() if plan is None else (plan,),
                certificate=self._certificate(chunk.answers.number[i]) if plan is None else None,
                best_score=self._best_score(chunk, i, reached[i]) if kind == "none_exists" else None,
                provenance=provenance,
            )

    def _changes(self, chunk: _Chunk, i: int) -> tuple[Change, ...]:
        """Decode the values that the search gives the i-th refused row."""
        r, values = int(chunk.refused[i]), chunk.answers.value[i]
        rows = chunk.encoded.rows
        changes = []
        for j in np.flatnonzero((values != rows.value[r]) & (rows.movable[r] == 1)).tolist():
            name, feature = self._problem.names[j], self._problem.features[j]
            before = chunk.records[r][name]
            changes.append(Change(name, before, _after(feature, float(values[j])), feature.unit, feature.label))
        return tuple(changes)

    def _certificate(self, number: np.ndarray) -> Certificate:
        status, proven, cost, bound, nodes = (int(v) for v in number)
        if status == 0:
            gap = (cost - bound) / cost if cost else 0.0
            return Certificate(bool(proven), cost / 1e6, bound / 1e6, gap, nodes, self.budget.nodes)
        limit = float("inf") if status == 1 else bound / 1e6
        return Certificate(bool(proven), None, limit, None, nodes, self.budget.nodes)

    def _native(self, chunk: _Chunk, changes: Mapping[int, tuple[Change, ...]]) -> list[float]:
        """Return the native scores of refused rows after their changes; `check_many` scores the raw values again."""
        if not changes:
            return []
        matrix = chunk.encoded.matrix[chunk.refused[list(changes)]]
        for u, those in enumerate(changes.values()):
            for change in those:
                j = self._problem.names.index(change.feature)
                feature, to = self._problem.features[j], change.after
                position = feature.position(to) if feature.listed else None
                number = to if position is None else self._problem.scale[j][position]
                matrix[u, self._problem.place[j]] = number
        return [float(score) for score in self.model.score(matrix)]

    def _check(self, chunk: _Chunk, plans: dict[int, Plan]) -> None:
        rows = [int(chunk.refused[i]) for i in plans]
        found = check_many(
            list(plans.values()),
            [chunk.records[r] for r in rows],
            self.model,
            self.policy,
            self.population,
            thresholds=[float(chunk.thresholds[r]) for r in rows],
        )
        for r, violations in zip(rows, found, strict=True):
            if violations:
                raise CheckFailed(f"the plan for applicant {chunk.ids[r]} fails its checks: {'; '.join(violations)}")

    def _best_score(self, chunk: _Chunk, i: int, score: float) -> BestScore:
        """Return the best score within reach: the native one of the row that has it, and its bound."""
        proven, nodes = bool(chunk.answers.best_number[i, 0]), int(chunk.answers.best_number[i, 1])
        bound = float(self.model.squash(np.array([chunk.answers.best[i, 1]]))[0])
        return BestScore(score, score if proven else max(bound, score), proven, nodes)


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


def _require_agreement(model: Model, policy: Policy) -> None:
    """Refuse a model that was read for another score than the policy decides by."""
    decision = policy.decision
    for what, read, wanted in (
        ("favourable", model.favourable, decision.favourable),
        ("score", model.kind, decision.score),
    ):
        if read is not None and read != wanted and str(read) != str(wanted):
            raise ModelError(
                f"the model was read with {what} = {read!r}, the policy decides by {what} = {wanted!r}. "
                f"Read it with read_model(..., {what}={wanted!r}), or give the Finder the model itself."
            )


def _after(feature: Feature, value: float) -> Value:
    """Return the value after a change as it will be printed and read; whole numbers as such."""
    after = value if feature.levels is None else plain(feature.levels[int(value)])
    return parse_value(format_value(after, feature), feature)


def _finished(chunk: _Chunk) -> Iterator[range]:
    """Yield the rows of a chunk in order, each stretch as soon as its first row is searched.

    A row waits for its neighbours, so that they are scored and checked together, but not for long.
    """
    begin, end = 0, len(chunk.ids)
    while begin < end:
        stop, until = begin, None
        while stop < min(end, begin + _GATHERED):
            if stop in chunk.place:
                try:
                    chunk.tasks[chunk.place[stop]].result(None if until is None else max(0.0, until - time.monotonic()))
                except TimeoutError:
                    break
            until = time.monotonic() + _LINGER if until is None else until
            stop += 1
        yield range(begin, stop)
        begin = stop


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
