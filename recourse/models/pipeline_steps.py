"""Which raw column every column between the steps of a scikit-learn pipeline is computed from, and how it may bend."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import UnsupportedModel
from .pipeline_rows import CLOSED, unchecked

Stage = Callable[[Any], Any]  # from a raw frame to the columns that a step takes
Map = Callable[[np.ndarray], np.ndarray]  # float64[n] to float64[n]

STEPS = (
    "Pipeline, ColumnTransformer, FeatureUnion, passthrough, StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler, "
    "Binarizer, PowerTransformer, QuantileTransformer, KBinsDiscretizer, OneHotEncoder, OrdinalEncoder, TargetEncoder, "
    "SimpleImputer, MissingIndicator, FunctionTransformer of a NumPy function of one number, feature selection, and "
    "tables of counts and means (CountFrequencyEncoder and MeanEncoder of feature_engine, CountEncoder of "
    "category_encoders)"
)
# Tables of counts, shares or means of levels, of other libraries.
LOOKUPS = {
    ("feature_engine", "CountFrequencyEncoder"),
    ("feature_engine", "MeanEncoder"),
    ("category_encoders", "CountEncoder"),
}
_LEAST = float(np.nextafter(0.0, 1.0))

# Functions of one number that never fall (or never rise) between these places; exact ones round as arithmetic does.
UFUNCS: dict[str, tuple[float, ...]] = {
    "log": (0.0, _LEAST), "log2": (0.0, _LEAST), "log10": (0.0, _LEAST),
    "log1p": (-1.0, float(np.nextafter(-1.0, 0.0))), "sqrt": (0.0,),
    "exp": (), "exp2": (), "expm1": (), "cbrt": (), "arcsinh": (), "arctan": (), "tanh": (), "sinh": (),
    "square": (0.0,), "absolute": (0.0,), "fabs": (0.0,), "negative": (), "positive": (),
    "reciprocal": (0.0, _LEAST), "sign": (), "floor": (), "ceil": (), "rint": (), "trunc": (),
}  # fmt: skip
EXACT = {"sqrt", "square", "absolute", "fabs", "negative", "positive", "sign", "floor", "ceil", "rint", "trunc"}


@dataclass(frozen=True, slots=True)
class Wire:
    """A column between two steps.

    `plain`: it still is the raw column itself, except that missing values may have been filled in. `affine`: what is
    not missing is ``a * x + b`` of it, up to rounding. `maps`: what the steps do to a number, one after the other; None
    where that is not known apart from the steps themselves.
    """

    raw: int
    plain: bool = False
    affine: bool = False
    maps: tuple[Map, ...] | None = None

    def through(self, function: Map | None, *, affine: bool = False) -> Wire:
        """Return the wire after a step that computes a number from the number."""
        maps = None if function is None or self.maps is None else (*self.maps, function)
        return Wire(self.raw, affine=affine and self.affine, maps=maps)


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """Numbers between which what follows neither turns nor jumps: `values` of column `position` of a stage."""

    stage: Stage
    position: int
    raw: int
    values: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Encoder:
    """The levels that an encoder (or the final estimator) has seen in a raw column; a closed one refuses others."""

    categories: np.ndarray
    closed: bool


@dataclass(slots=True, eq=False)
class RawColumn:
    """What the steps say of one raw column."""

    encoders: list[Encoder] = field(default_factory=list)  # those that take it as it is
    special: list[Any] = field(default_factory=list)  # values that an imputer takes for missing
    native: bool = False  # the final estimator itself takes it for a pandas category
    number: bool = False  # a step computes with it
    inexact: bool = False  # a function rounds in its own way and may wobble by units in the last place
    marker: Any = float("nan")  # how a missing value is written

    @property
    def text(self) -> bool:
        """Whether its levels are no numbers."""
        return any(part.categories.dtype.kind not in "biuf" for part in self.encoders)


@dataclass(slots=True, eq=False)
class Plan:
    """Where every output comes from, filled in while the steps are walked."""

    columns: list[RawColumn]
    cuts: list[Cut] = field(default_factory=list)

    def number(self, wire: Wire) -> None:
        """Note that a step computes with a column."""
        if wire.plain:
            self.columns[wire.raw].number = True

    def cut(self, stage: Stage, position: int, wire: Wire, values: Any) -> None:
        """Note where what follows turns or jumps."""
        places = np.unique(np.asarray(values, dtype=np.float64))
        places = places[np.isfinite(places)]
        if len(places):
            self.cuts.append(Cut(stage, position, wire.raw, places))

    def single_out(self, stage: Stage, position: int, wire: Wire, values: Any) -> None:
        """Note numbers that are told apart from all others."""
        places = np.asarray(values, dtype=np.float64)
        self.cut(stage, position, wire, np.concatenate([places, np.nextafter(places, np.inf)]))


def walk(step: Any, wires: Sequence[Wire], stage: Stage, at: str, plan: Plan) -> list[Wire]:
    """Return the wires that leave a fitted step, and note in the plan what it does to those that enter.

    Parameters
    ----------
    step : transformer
    wires : sequence of Wire
        What enters it, column by column.
    stage : callable
        From a raw frame to what enters it.
    at : str
        The step's path in the pipeline, for messages.
    plan : Plan

    Raises
    ------
    UnsupportedModel
        If a step mixes columns or is not known; the message names it.
    """
    if step is None or (isinstance(step, str) and step == "passthrough"):
        return list(wires)
    kind = type(step)
    home = kind.__module__.partition(".")[0]
    known = _RULES.get(kind.__name__) if home in ("sklearn", "imblearn") else None
    if (home, kind.__name__) in LOOKUPS:
        known = _lookup
    if known is None and kind.__module__.startswith("sklearn.feature_selection.") and hasattr(step, "get_support"):
        known = _selection
    if known is None:
        raise refused(step, at, "it mixes columns, or is not a step that is known to take them one by one")
    return known(step, wires, stage, at, plan)


def refused(step: Any, at: str, why: str) -> UnsupportedModel:
    """Return the error of a step that cannot be pulled back to raw columns."""
    return UnsupportedModel(
        f"the pipeline's step {at} ({type(step).__name__}) cannot be pulled back to raw columns: {why}. "
        f"Supported: {STEPS}. The pipeline can be explained as a black box, without proofs: black_box=True"
    )


def after(step: Any, stage: Stage) -> Stage:
    """Return the stage that follows a step."""
    return lambda frame: step.transform(stage(frame))


def chosen(columns: Sequence[int], stage: Stage) -> Stage:
    """Return the stage of some of the columns."""
    from sklearn.utils import _safe_indexing

    places = list(columns)
    return lambda frame: _safe_indexing(stage(frame), places, axis=1)


def _path(at: str, name: str) -> str:
    return f"{at} > {name!r}" if at else repr(name)


def _pipeline(step: Any, wires: Sequence[Wire], stage: Stage, at: str, plan: Plan) -> list[Wire]:
    out = list(wires)
    for name, part in step.steps:
        if part is None or (isinstance(part, str) and part == "passthrough") or hasattr(part, "fit_resample"):
            continue
        out = walk(part, out, stage, _path(at, name), plan)
        stage = after(part, stage)
    return out


def _columns(step: Any, wires: Sequence[Wire], stage: Stage, at: str, plan: Plan) -> list[Wire]:
    out: list[Wire] = []
    for name, part, _ in step.transformers_:
        places = list(step._transformer_to_input_indices[name])
        if not places or (isinstance(part, str) and part == "drop"):
            continue
        begin = len(out)
        found = walk(part, [wires[p] for p in places], chosen(places, stage), _path(at, name), plan)
        out += _weighted(step, name, found, plan)
        expected = step.output_indices_[name]
        if (begin, len(out)) != (expected.start, expected.stop):
            raise refused(
                part, _path(at, name), f"it gives {expected.stop - expected.start} columns, {len(out) - begin} expected"
            )
    return out


def _union(step: Any, wires: Sequence[Wire], stage: Stage, at: str, plan: Plan) -> list[Wire]:
    out: list[Wire] = []
    for name, part in step.transformer_list:
        if isinstance(part, str) and part == "drop":
            continue
        out += _weighted(step, name, walk(part, wires, stage, _path(at, name), plan), plan)
    return out


def _weighted(step: Any, name: str, wires: list[Wire], plan: Plan) -> list[Wire]:
    """What a union multiplies by a weight is the raw column no more."""
    weight = (step.transformer_weights or {}).get(name)
    if weight is None:
        return wires
    for wire in wires:
        plan.number(wire)
    return [wire.through(lambda x: x * weight, affine=True) for wire in wires]


def _selection(step: Any, wires: Sequence[Wire], stage: Stage, at: str, plan: Plan) -> list[Wire]:
    return [wires[int(p)] for p in np.flatnonzero(step.get_support())]


def _scaler(step: Any, wires: Sequence[Wire], stage: Stage, at: str, plan: Plan) -> list[Wire]:
    """A step whose outputs rise with their inputs, in exactly rounded arithmetic."""
    return _numbers(step, wires, plan, affine=not getattr(step, "clip", False))


def _sign(step: Any, wires: Sequence[Wire], stage: Stage, at: str, plan: Plan) -> list[Wire]:
    for position, wire in enumerate(wires):
        plan.number(wire)
        plan.cut(stage, position, wire, [np.nextafter(float(step.threshold), np.inf)])
    return [Wire(wire.raw) for wire in wires]


def _numbers(step: Any, wires: Sequence[Wire], plan: Plan, *, affine: bool = False) -> list[Wire]:
    """The wires after a step that computes one number from each number."""
    out = []
    for position, wire in enumerate(wires):
        plan.number(wire)
        out.append(wire.through(one_column(step, position, len(wires)), affine=affine))
    return out


def one_column(step: Any, position: int, n: int) -> Map | None:
    """Return what a step does to one of its n columns, without the others; None where it cannot be taken apart.

    It is a copy of the step itself that has kept what it has learnt of this column alone.
    """
    own = copy.copy(step)
    for name, value in vars(step).items():
        if name.startswith("_scaler"):
            inside = copy.copy(value)
            for part, learnt in vars(value).items():
                if isinstance(learnt, np.ndarray) and learnt.shape == (n,):
                    setattr(inside, part, learnt[position : position + 1])
            inside.n_features_in_ = 1
            setattr(own, name, inside)
        elif isinstance(value, np.ndarray) and name.endswith("_") and n in value.shape:
            if value.shape == (n,):
                setattr(own, name, value[position : position + 1])
            elif value.ndim == 2 and value.shape[1] == n and name == "quantiles_":
                setattr(own, name, value[:, position : position + 1])
            elif name == "feature_names_in_":
                continue
            else:
                return None
    own.__dict__.pop("feature_names_in_", None)
    own.n_features_in_ = 1
    if "_check_input" in own.__dict__:
        unchecked(own)
    if "_sklearn_output_config" in own.__dict__:
        del own._sklearn_output_config

    def apply(x: np.ndarray) -> np.ndarray:
        return np.asarray(own.transform(x.reshape(-1, 1)), dtype=np.float64)[:, 0]

    return apply


def _power(step: Any, wires: Sequence[Wire], stage: Stage, at: str, plan: Plan) -> list[Wire]:
    for position, wire in enumerate(wires):
        plan.columns[wire.raw].inexact = True
        plan.cut(stage, position, wire, [0.0, _LEAST] if step.method == "box-cox" else [0.0])
    return _numbers(step, wires, plan)


def _quantiles(step: Any, wires: Sequence[Wire], stage: Stage, at: str, plan: Plan) -> list[Wire]:
    """Between two quantiles it interpolates, and does not fall; at a quantile it may, by a unit in the last place."""
    for position, wire in enumerate(wires):
        plan.columns[wire.raw].inexact = True
        plan.single_out(stage, position, wire, step.quantiles_[:, position])
    return _numbers(step, wires, plan)


def _function(step: Any, wires: Sequence[Wire], stage: Stage, at: str, plan: Plan) -> list[Wire]:
    if step.func is None:
        return list(wires)
    name = getattr(step.func, "__name__", type(step.func).__name__)
    if not isinstance(step.func, np.ufunc) or name not in UFUNCS or step.kw_args:
        raise refused(step, at, f"its function {name!r} is not one of numpy's {', '.join(UFUNCS)}")
    for position, wire in enumerate(wires):
        plan.columns[wire.raw].inexact |= name not in EXACT
        plan.cut(stage, position, wire, UFUNCS[name])
    for wire in wires:
        plan.number(wire)
    return [wire.through(step.func) for wire in wires]


def _bins(step: Any, wires: Sequence[Wire], stage: Stage, at: str, plan: Plan) -> list[Wire]:
    out: list[Wire] = []
    for position, wire in enumerate(wires):
        plan.number(wire)
        plan.cut(stage, position, wire, step.bin_edges_[position][1:-1])
        out += [Wire(wire.raw)] * (1 if step.encode == "ordinal" else int(step.n_bins_[position]))
    return out


def _encoder(step: Any, wires: Sequence[Wire], stage: Stage, at: str, plan: Plan) -> list[Wire]:
    out: list[Wire] = []
    hot = type(step).__name__ == "OneHotEncoder"
    classes = len(step.classes_) if getattr(step, "target_type_", None) == "multiclass" else 1
    for position, wire in enumerate(wires):
        categories = np.asarray(step.categories_[position])
        raw = plan.columns[wire.raw]
        if wire.plain:
            raw.encoders.append(Encoder(categories, closed=hasattr(step, CLOSED)))
            if any(c is None for c in categories.tolist()):
                raw.marker = None
        if categories.dtype.kind in "biuf":
            plan.single_out(stage, position, wire, categories[~np.isnan(categories.astype(np.float64))])
        out += [Wire(wire.raw)] * (step._n_features_outs[position] if hot else classes)
    return out


def _lookup(step: Any, wires: Sequence[Wire], stage: Stage, at: str, plan: Plan) -> list[Wire]:
    """A table of numbers for the levels of some columns; the others pass."""
    if getattr(step, "_min_group_categories", None):
        raise refused(step, at, "it joins rare levels under a new name")
    tables = step.encoder_dict_ if hasattr(step, "encoder_dict_") else step.mapping
    out: list[Wire] = []
    for position, (name, wire) in enumerate(zip(step.feature_names_in_, wires, strict=True)):
        if name not in tables:
            out.append(wire)
            continue
        levels = [level for level in list(tables[name].keys()) if level == level]
        categories = np.array(levels, dtype=object if any(isinstance(level, str) for level in levels) else None)
        if wire.plain:
            plan.columns[wire.raw].encoders.append(Encoder(categories, closed=hasattr(step, CLOSED)))
        if categories.dtype.kind in "biuf":
            plan.single_out(stage, position, wire, categories)
        out.append(Wire(wire.raw))
    return out


def _missing_values(step: Any, wires: Sequence[Wire], stage: Stage, plan: Plan) -> None:
    """Note what an imputer takes for missing, where that is not NaN."""
    value = step.missing_values
    for position, wire in enumerate(wires):
        raw = plan.columns[wire.raw]
        if isinstance(value, float) and np.isnan(value):
            continue
        if isinstance(value, int | float | np.number):
            plan.single_out(stage, position, wire, [float(value)])
        if wire.plain and (value is None or isinstance(value, str | int | float | np.number)):
            raw.special.append(value)
        if wire.plain and not isinstance(value, str | int | float | np.number):
            raw.marker = value


def _imputer(step: Any, wires: Sequence[Wire], stage: Stage, at: str, plan: Plan) -> list[Wire]:
    _missing_values(step, wires, stage, plan)
    if isinstance(step.missing_values, int | float) and step.missing_values == step.missing_values:
        wires = [Wire(wire.raw, plain=wire.plain) for wire in wires]  # a number is replaced
    empty = [isinstance(s, float | np.floating) and bool(np.isnan(s)) for s in step.statistics_.tolist()]
    out = [wire for wire, gone in zip(wires, empty, strict=True) if step.keep_empty_features or not gone]
    if step.add_indicator:
        out += [Wire(wires[p].raw) for p in step.indicator_.features_]
    return out


def _indicator(step: Any, wires: Sequence[Wire], stage: Stage, at: str, plan: Plan) -> list[Wire]:
    _missing_values(step, wires, stage, plan)
    return [Wire(wires[p].raw) for p in step.features_]


_Rule = Callable[[Any, Sequence[Wire], Stage, str, Plan], list[Wire]]
_RULES: dict[str, _Rule] = {
    "Pipeline": _pipeline,
    "ColumnTransformer": _columns,
    "FeatureUnion": _union,
    "StandardScaler": _scaler,
    "MinMaxScaler": _scaler,
    "MaxAbsScaler": _scaler,
    "RobustScaler": _scaler,
    "Binarizer": _sign,
    "PowerTransformer": _power,
    "QuantileTransformer": _quantiles,
    "KBinsDiscretizer": _bins,
    "OneHotEncoder": _encoder,
    "OrdinalEncoder": _encoder,
    "TargetEncoder": _encoder,
    "SimpleImputer": _imputer,
    "MissingIndicator": _indicator,
    "FunctionTransformer": _function,
}
