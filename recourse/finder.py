"""From applicants to outcomes: encode, search, decode, score natively, check."""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd

from ._asking import asked
from ._decoding import Chunk, Setting, outcomes, records_of
from ._searches import STATUSES, Batch, Solved, empty_answers, search_for
from .blackbox import BlackBoxSearch
from .budget import Budget
from .errors import DataError, InputError, ModelError, PolicyError
from .models import read_model
from .models.base import Model, RefusedCell
from .models.blackbox import BlackBox
from .models.trees import Trees
from .plan import Outcome, Plan, Provenance
from .policy import Policy, check_costs
from .population import Population, as_pandas
from .problem import Encoded, Problem, build_problem
from .values import Value

__all__ = ["Batch", "Budget", "Finder", "Solved"]

MOST_TREES = 5_000  # of all models that must approve
_CHUNK = 512  # rows encoded together; while one chunk is handed out, the next is searched
_VALIDATED = 8 * _CHUNK  # rows validated together
_GATHERED = 128  # most rows decoded, scored natively and checked together
_STRIDE = 8  # rows searched in one call
_LINGER = 0.1  # seconds that a finished row waits for others to be checked with


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
    shape : {"point", "box", "orthant"}
        What a plan promises: that the row itself is approved; every row up to `box_steps` steps of the grid further in
        the advised directions; or every row as far as the policy's bounds.
    box_steps : int
        How far a box reaches beyond each stated value.
    plans : int
        How many plans to look for. The i-th is the cheapest that does not change all features of an earlier one.
    also_approve : sequence of models
        Challengers, refits or a next release that must approve a plan as well, at the same threshold and margin.
    plausibility : IsolationForest, pipeline that ends in one, or Model, optional
        Must not call a plan's row an outlier. All models together may have 5,000 trees.
    budget : Budget
        Largest amount of work for one applicant.
    black_box : bool
        Take a model that cannot be read exactly, a callable on a frame, or the URL of an endpoint: it is asked, within
        ``budget.calls`` rows for each applicant, and nothing is proven.
    seed : int
        Of what a black box is asked first.
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
        box_steps: int = 5,
        plans: int = 1,
        also_approve: Sequence[Any] = (),
        plausibility: Any = None,
        budget: Budget | None = None,
        black_box: bool = False,
        seed: int = 0,
        allow_pickle: bool = False,
    ) -> None:
        if plans < 1:
            raise InputError(f"plans must be at least 1, got {plans}")
        if isinstance(policy, str | os.PathLike):
            policy = Policy.from_toml(os.fspath(policy))
        elif not isinstance(policy, Policy):
            policy = Policy.model_validate(dict(policy))

        def read(source: Any) -> Model:
            if not isinstance(source, Model):
                source = read_model(
                    source,
                    favourable=policy.decision.favourable,
                    score=policy.decision.score,
                    levels=policy.levels,
                    allow_pickle=allow_pickle,
                    black_box=black_box,
                    columns=_columns(policy) if black_box else None,
                )
            _require_agreement(source, policy)
            return source

        model, others = read(model), tuple(read(other) for other in also_approve)
        if plausibility is not None and not isinstance(plausibility, Model):
            from .models.isolation import read_plausibility

            plausibility = read_plausibility(plausibility, [column.name for column in model.columns])
        models = (model, *others) if plausibility is None else (model, *others, plausibility)
        n_trees = sum(one.core.n_trees for one in models if isinstance(one.core, Trees))
        if n_trees > MOST_TREES:
            raise InputError(
                f"the models have {n_trees:,} trees together; at most {MOST_TREES:,} can be searched at once. "
                "Give fewer models in `also_approve`."
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
        self.also_approve: tuple[Model, ...] = others
        self.plausibility: Model | None = plausibility
        self.shape, self.box_steps, self.plans = shape, box_steps, plans
        self.budget = Budget() if budget is None else budget
        self._problem: Problem = build_problem(
            models, policy, population, shape=shape, box_steps=box_steps, as_trees=plans > 1
        )
        self._asks: BlackBoxSearch | None = None
        if isinstance(model.core, BlackBox):
            if plans > 1 or others or plausibility is not None:
                raise InputError(
                    f"{model.name} is a black box: one plan is searched for, and it alone must approve. "
                    "Leave out `plans`, `also_approve` and `plausibility`, or give a model that can be read."
                )
            calls = self.budget.calls
            self._asks = BlackBoxSearch(model, policy, population, budget_calls=calls, seed=seed, shape=shape)
        else:
            self._search = search_for(self._problem, self.budget, plans)

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
        cuts = self._given_thresholds(thresholds, len(table))
        workers = _processors() if threads is None else threads
        if workers < 1:
            raise InputError(f"threads must be at least 1, got {workers}")
        return self._run(table, names, cuts, workers, progress)

    def region(
        self, row: Mapping[str, Any], plan: Plan, *, threshold: float | None = None
    ) -> dict[str, tuple[Value, Value]]:
        """Return how far each number of a plan may go, jointly, with the plan still approved; see `recourse.region`."""
        from .region import region

        return region(self, row, plan, threshold=threshold)

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
        """Encode rows for `solve`."""
        return Batch(self._problem.encode(as_pandas(frame)))

    def solve(self, batch: Batch, i: int, *, threshold: float | None = None) -> Solved:
        """Search for row `i` of a batch alone: nothing is decoded, scored or checked.

        The threshold is the policy's unless it is given. All plans that the finder is asked for are searched; what is
        returned is said of the first.
        """
        answers = empty_answers(1, len(self._problem.names))
        cuts = self._cuts(batch.encoded.thresholds[i : i + 1] if threshold is None else np.array([threshold]))
        self._search.run(batch.encoded, np.array([i]), cuts, answers, slice(0, 1))
        status, proven, cost, bound, nodes = answers.number[0].tolist()
        return Solved(STATUSES[status], bool(proven), cost, bound, nodes)

    # ------------------------------------------------------------------------------------------------------------ run

    def _cuts(self, thresholds: np.ndarray) -> np.ndarray:
        """Return the least raw scores that are approved: float64[rows, n_models]."""
        margin = self.policy.decision.margin
        cuts = [[model.cut(float(t) + margin) for model in (self.model, *self.also_approve)] for t in thresholds]
        found = np.array(cuts, dtype=np.float64).reshape(len(thresholds), 1 + len(self.also_approve))
        if self.plausibility is None:
            return found
        return np.hstack([found, np.full((len(found), 1), self.plausibility.cut(0.0))])

    def _given_thresholds(self, thresholds: Any, n: int) -> np.ndarray | None:
        """Return what stands in for the policy's thresholds."""
        if thresholds is None:
            return None
        cuts = np.asarray(thresholds, dtype=np.float64)
        if cuts.ndim == 0:
            cuts = np.full(n, float(cuts))
        if cuts.shape != (n,):
            raise DataError(f"thresholds: expected one number, or one for each of {n} rows, got shape {cuts.shape}")
        if not np.all(np.isfinite(cuts)):
            raise DataError(f"thresholds: row {int(np.flatnonzero(~np.isfinite(cuts))[0])} is not a finite number")
        return cuts

    def _warn_of_extra_columns(self, table: pd.DataFrame) -> None:
        decision = self.policy.decision
        known = {*self.policy.features, decision.recorded_score, decision.recorded_decision}
        known |= {column.name for model in self._problem.models for column in model.columns}
        known |= {self.policy.threshold_column}
        for members in (*self.policy.groups.one_hot.values(), *self.policy.groups.thermometer.values()):
            known |= set(members)
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
            scores = self.model.score(encoded.matrix)
        except RefusedCell as refused:
            raise DataError(refused.words(frame.index[refused.row])) from None
        decision = self.policy.decision
        if decision.recorded_score is not None or decision.recorded_decision is not None:
            knocked = np.array([bool(names) for names in encoded.knocked], np.bool_)
            self._problem.check_recorded(frame, scores, (scores >= encoded.thresholds) & ~knocked)
        return encoded, scores

    def _run(
        self, table: pd.DataFrame, ids: list[str], cuts: np.ndarray | None, workers: int, progress: Any
    ) -> Iterator[Outcome]:
        scores, whole = np.empty(len(table)), None
        for begin in range(0, max(1, len(table)), _VALIDATED):
            part = slice(begin, begin + _VALIDATED)
            encoded, scores[part] = self._scored(table.iloc[part])
            whole = encoded if len(table) <= _CHUNK else None  # a single chunk need not be encoded twice
        setting = self._setting
        if self._asks is not None:
            yield from self._ask(self._asks, table, ids, scores, cuts, progress, setting)
            return
        with contextlib.ExitStack() as stack:
            advance = stack.enter_context(_progress(progress, len(table)))
            pool = stack.enter_context(_pool(workers))
            ahead: Chunk | None = None
            done = 0
            for begin in range(0, len(table) + _CHUNK, _CHUNK):
                part = slice(begin, begin + _CHUNK)
                following = None
                if begin < len(table):
                    given = None if cuts is None else cuts[part]
                    following = self._begin(table.iloc[part], ids[part], scores[part], given, whole, pool)
                if ahead is not None:
                    for rows in _finished(ahead):
                        for outcome in outcomes(ahead, rows, setting):
                            done += 1
                            advance(done)
                            yield outcome
                ahead = following

    def _ask(
        self, search: BlackBoxSearch, table: pd.DataFrame, ids: list[str], scores: np.ndarray, cuts: np.ndarray | None,
        progress: Any, setting: Setting,
    ) -> Iterator[Outcome]:  # fmt: skip
        """Ask a black box about all rows of a chunk at once, chunk by chunk."""
        done = 0
        with _progress(progress, len(table)) as advance:
            for begin in range(0, len(table), _CHUNK):
                part = slice(begin, begin + _CHUNK)
                encoded = self._problem.encode(table.iloc[part])
                thresholds = encoded.thresholds if cuts is None else cuts[part]
                for outcome in asked(search, table.iloc[part], ids[part], encoded, scores[part], thresholds, setting):
                    done += 1
                    advance(done)
                    yield outcome

    @property
    def _setting(self) -> Setting:
        policy, problem = self.policy, self._problem
        shown = {name for name, feature in policy.features.items() if feature.role != "protected"}
        groups = {**policy.groups.one_hot, **policy.groups.thermometer}
        shown |= {column for group, columns in groups.items() if group in shown for column in columns}
        return Setting(
            problem=problem,
            policy=policy,
            population=self.population,
            also_approve=self.also_approve,
            plausibility=self.plausibility,
            shape=self.shape,
            box_steps=self.box_steps,
            budget=self.budget,
            provenance=self.provenance,
            shown=frozenset(shown),
        )

    def _begin(
        self,
        frame: pd.DataFrame,
        ids: list[str],
        scores: np.ndarray,
        given: np.ndarray | None,
        encoded: Encoded | None,
        pool: ThreadPoolExecutor,
    ) -> Chunk:
        """Start the search for those rows of a chunk that are refused."""
        encoded = self._problem.encode(frame) if encoded is None else encoded
        thresholds = encoded.thresholds if given is None else given
        knocked = np.array([bool(names) for names in encoded.knocked], np.bool_)
        refused = np.flatnonzero(~(scores >= thresholds) | knocked).astype(np.int64)
        cuts = self._cuts(thresholds[refused])
        answers = empty_answers(len(refused), len(self._problem.names))
        tasks = [
            pool.submit(self._search.run, encoded, refused, cuts, answers, slice(i, min(i + _STRIDE, len(refused))))
            for i in range(0, len(refused), _STRIDE)
        ]
        place = {int(r): i for i, r in enumerate(refused)}
        return Chunk(
            ids, records_of(frame), encoded, scores, thresholds, refused, place, answers, tasks, _STRIDE
        )  # fmt: skip


# --------------------------------------------------------------------------------------------------------------- pieces


def _columns(policy: Policy) -> tuple[str, ...]:
    """Return the columns of data that a policy speaks of: what a model without names of its own is asked with."""
    groups = {**policy.groups.one_hot, **policy.groups.thermometer}
    return tuple(column for name in policy.features for column in groups.get(name, (name,)))


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


def _finished(chunk: Chunk) -> Iterator[range]:
    """Yield the rows of a chunk in order, each stretch as soon as its first row is searched.

    A row waits for its neighbours, so that they are scored and checked together, but not for long.
    """
    begin, end = 0, len(chunk.ids)
    while begin < end:
        stop, until = begin, None
        while stop < min(end, begin + _GATHERED):
            if not chunk.wait_for(stop, until):
                break
            until = time.monotonic() + _LINGER if until is None else until
            stop += 1
        yield range(begin, stop)
        begin = stop


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
