"""What the rest of recourse knows of a model: its columns, its neutral core, its native score."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import DataError, ModelError, UnsupportedModel, did_you_mean

if TYPE_CHECKING:
    from .additive import Additive
    from .blackbox import BlackBox
    from .trees import Trees

Level = str | int | float | bool
Score = Literal["probability", "decision_function"]
_MOST_CUTS = 4096
_PROBES = np.concatenate([sign * np.geomspace(1e-3, 1e6, 64) for sign in (-1.0, 1.0)])


class RefusedCell(DataError):
    """A value that the native library does not take; `row` counts the rows of the matrix from 0."""

    def __init__(self, column: str, row: int, why: str) -> None:
        super().__init__(f"column {column!r}, row {row} (counted from 0): {why}")
        self.column, self.row, self.why = column, row, why

    def words(self, label: object) -> str:
        """Return the message with the row's own name."""
        return f"column {self.column!r}, row {label}: {self.why}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the caller asks of a model: the class and kind of score, and names that the model may not store itself."""

    favourable: Level = 1  # label of the class whose score is wanted
    score: Score = "probability"
    levels: Mapping[str, Sequence[Level]] = field(default_factory=dict)  # column -> levels in the order of their codes
    columns: tuple[str, ...] | None = None  # names to use when the model stores none

    def positive(self, name: str, classes: Sequence[Any]) -> bool:
        """Whether the favourable class is the second of the model's two; any other number of classes is refused."""
        known = [c.item() if isinstance(c, np.generic) else c for c in classes]
        if len(known) != 2:
            raise UnsupportedModel(f"{name} has {len(known)} classes; recourse needs a classifier of two classes")
        for spelt in (lambda c: c, str):
            places = [i for i, c in enumerate(known) if spelt(c) == spelt(self.favourable)]
            if len(places) == 1:
                return places[0] == 1
        hint = did_you_mean(str(self.favourable), [str(c) for c in known])
        raise ModelError(
            f"{name} has no class {self.favourable!r}; its classes are {known[0]!r} and {known[1]!r}.{hint} "
            "Set decision.favourable to one of them"
        )

    def named(self, name: str, stored: Sequence[str] | None, n: int) -> tuple[str, ...]:
        """Return the names of the model's `n` columns: those it stores, else those given."""
        if stored:
            return tuple(str(s) for s in stored)
        if self.columns is None:
            raise ModelError(
                f"{name} stores no feature names; fit it on a data frame, or give `columns`: its {n} inputs in order"
            )
        if len(self.columns) != n:
            raise ModelError(f"{name} takes {n} inputs, but {len(self.columns)} names were given in `columns`")
        return self.columns

    def levels_of(self, name: str, column: str) -> tuple[Level, ...]:
        """Return the levels of a categorical column whose codes the model does not spell out."""
        if column not in self.levels:
            raise ModelError(
                f"{name} treats {column!r} as a category but stores only its codes; "
                f"list its levels in the policy, [features.{column}] levels = [...], in the order of the codes"
            )
        return tuple(self.levels[column])


def fingerprint(core: Trees | Additive) -> str:
    """Return the sha256 of a model's neutral arrays, the identity of a model that came without a file."""
    digest = hashlib.sha256(type(core).__name__.encode())
    for part in fields(core):
        digest.update(f"|{part.name}:".encode())
        _digest(digest, getattr(core, part.name))
    return f"sha256:{digest.hexdigest()}"


def _digest(digest: Any, value: Any) -> None:
    """Feed the parts of a neutral core; a term's native curve counts by its values."""
    if isinstance(value, np.ndarray):
        digest.update(f"{value.dtype.str}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, tuple) and any(is_dataclass(item) and not isinstance(item, Column) for item in value):
        for item in value:
            _digest(digest, item)
    elif is_dataclass(value) and not isinstance(value, Column):
        for part in fields(value):
            digest.update(f"|{part.name}:".encode())
            _digest(digest, getattr(value, part.name))
    elif callable(value):
        with np.errstate(all="ignore"):
            _digest(digest, np.asarray(value(_PROBES), dtype=np.float64))
    else:
        digest.update(repr(value).encode())


def spelling(level: object) -> str:
    """Return a level as a CSV file would hold it, so that 1, 1.0 and "1" meet."""
    if isinstance(level, float | np.floating) and float(level).is_integer():
        return str(int(level))
    return str(level)


@dataclass(frozen=True, slots=True)
class Column:
    """One input of a model.

    `levels` is None for a column that the model treats as a number; else its levels in the order of their codes, as
    the applicant's data spells them. With `unseen` the model also takes a level that it has never seen, as an encoder
    does that was told to ignore unknown ones: all such levels have the code ``len(levels)``.

    Examples
    --------
    >>> housing = Column("housing", ("rent", "own"), unseen=True)
    >>> housing.code("own"), housing.code("free"), Column("housing", ("rent", "own")).code("free")
    (1, 2, None)
    """

    name: str
    levels: tuple[Level, ...] | None = None
    unseen: bool = field(default=False, repr=False)  # where it is false the fingerprint stays what it was

    @property
    def n_codes(self) -> int:
        """Number of codes, that of unseen levels included; 0 for a number."""
        return 0 if self.levels is None else len(self.levels) + self.unseen

    def code(self, level: Level) -> int | None:
        """Return the code of a level, None for one that the model does not take; 1, 1.0 and "1" meet, as in a file."""
        if self.levels is None:
            return None
        for place, known in enumerate(self.levels):
            if known == level and isinstance(known, str) == isinstance(level, str):
                return place
        for place, known in enumerate(self.levels):
            if spelling(known) == spelling(level):
                return place
        return len(self.levels) if self.unseen else None


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A fitted binary classifier, read exactly.

    `score` and `raw` call the native library (one thread) on a float64[n, n_columns] matrix in which a categorical
    column holds codes (positions in its `levels`) and NaN is missing; they return float64[n]. `squash` is the native,
    non-decreasing map from raw scores to scores. All three are about the favourable class.

    A row's score does not depend on the rows beside it. scikit-learn's own linear scores do, in the last digit, since a
    matrix product adds in an order that depends on its layout: here each row's is the library's for that row alone.
    """

    name: str  # e.g. "xgboost.Booster"
    core: Trees | Additive | BlackBox
    score: Callable[[np.ndarray], np.ndarray]
    raw: Callable[[np.ndarray], np.ndarray]
    squash: Callable[[np.ndarray], np.ndarray]
    sha256: str  # "sha256:..." of the file's bytes, or of the neutral arrays for an estimator in memory
    self_check: str = "not checked"  # e.g. "1,284 probes equal"
    notes: tuple[str, ...] = ()
    favourable: Level | None = None  # what `read_model` was asked for; None where nobody said
    kind: Score | None = None
    cuts: dict[float, float] = field(default_factory=dict)  # threshold -> raw score; a cache

    @property
    def columns(self) -> tuple[Column, ...]:
        """The model's inputs in native order."""
        return self.core.columns

    def cut(self, threshold: float) -> float:
        """Return the smallest raw score whose native score is at least `threshold` (inf when there is none).

        Bisection over the representable raw scores (float32 ones where the model adds in float32), so that comparing
        raw scores with the cut decides exactly as comparing native scores with the threshold.
        """
        if threshold not in self.cuts:
            if len(self.cuts) >= _MOST_CUTS:  # a threshold for each applicant must not fill the memory
                self.cuts.clear()
            self.cuts[threshold] = _bisect(self.squash, threshold, single=bool(getattr(self.core, "single", False)))
        return self.cuts[threshold]


def _bisect(squash: Callable[[np.ndarray], np.ndarray], threshold: float, *, single: bool) -> float:
    dtype: Any = np.float32 if single else np.float64
    word: Any = np.int32 if single else np.int64

    def reaches(key: int) -> bool:
        return bool(squash(np.array([_from_key(key, dtype, word)], dtype=np.float64))[0] >= threshold)

    high = int(np.array(np.finfo(dtype).max, dtype=dtype).view(word))
    low = -high
    if not reaches(high):
        return float("inf")
    if reaches(low):
        return float("-inf")
    while high - low > 1:
        middle = (low + high) // 2
        if reaches(middle):
            high = middle
        else:
            low = middle
    return _from_key(high, dtype, word)


def _from_key(key: int, dtype: Any, word: Any) -> float:
    """Number a float's rank: non-negative keys are the bits of x >= 0, key -k is -(float of bits k)."""
    size = np.array(abs(key), dtype=word).view(dtype)
    return float(size if key >= 0 else -size)
