"""A first policy, drafted from data for a person to edit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ._columns import (
    grid_around,
    likely_codes,
    number_text,
    on_grid,
    sensible_step,
    sounds_like_an_identifier,
    sounds_protected,
    words,
)
from .errors import DataError, UnknownFeature, did_you_mean
from .lint import score_range, used_columns
from .models.frames import encode_frame
from .policy.values import Level, plain, spelling, toml_key, toml_text, toml_value
from .population import LARGEST_VALUE, as_pandas, read_numbers, summarise_numbers

if TYPE_CHECKING:
    from .models.base import Column, Model

_MOST_LEVELS = 50  # a text column with more levels is taken for free text
_FEWEST_ROWS = 20  # with fewer, texts that all differ may still be levels
_FEW_VALUES = 8  # whole numbers as few as these may be names of something
_LONGEST = 1e5  # units of cost that one change may span, so that four of them can be added exactly
_YES_AND_NO = ({"no", "yes"}, {"n", "y"}, {"false", "true"}, {"f", "t"})
_HEAD = """\
# A first draft, made from {rows} rows{by}. Read every feature and ask:
# can an applicant really change this, in which direction, by how much, and what are the words for it?
# Then run `recourse policy check`.
#   role    "action" (can change), "fixed" (cannot), "protected" (cannot, and is never shown)
#   change  "any", "up" or "down"
#   weight  how hard a change is, beside the others
"""
_TAIL = """\
# What holds beyond single features, to be written by someone who knows the product:
# [time]                       # waiting as an action; features that grow by themselves get a tick, months by 1
# horizon = 12
# cost_per_month = 0.05
# [[rules]]                    # start.x is the present value of x
# require = "open_accounts <= accounts"
# [reapply]                    # what this application leaves behind
# effects = { inquiries = "+1" }
"""


def draft_policy(frame: Any, *, target: str | None = None, model: Model | None = None, favourable: Level = 1) -> str:
    """Draft a policy from data.

    Kinds, levels, grids and bounds come from the data; columns whose names sound protected become protected, columns
    that look like identifiers are left out, and negative values such as -9 are proposed as codes. What an applicant
    can really change is for a person to say.

    Parameters
    ----------
    frame : pandas.DataFrame, polars.DataFrame or pyarrow.Table
        Applicants, such as the training data.
    target : str, optional
        The column that the model predicts; left out.
    model : Model, optional
        Columns that it does not read are left out, columns that it never tests are fixed.
    favourable : label
        The class that is good for the applicant.

    Returns
    -------
    str
        A TOML file with comments, which `Policy.from_text` reads.

    Raises
    ------
    UnknownFeature
        The data lacks the target or a column of the model.
    DataError
        A column holds an infinite value, or no column is left to write about.

    Examples
    --------
    >>> import pandas as pd
    >>> text = draft_policy(pd.DataFrame({"income": [41000, 52500, 38000], "sex": ["f", "m", "f"]}))
    >>> print(text[text.index("[features.sex]") : text.index("# What holds")])
    [features.sex]
    kind = "category"
    levels = ["f", "m"]
    role = "protected"            # the name sounds protected
    label = "sex"
    # 'f' 67 %, 'm' 33 %
    <BLANKLINE>
    """
    table = as_pandas(frame)
    if target is not None and target not in table.columns:
        raise UnknownFeature(f"the data has no column {target!r}, the target.{did_you_mean(target, table.columns)}")
    inputs = {} if model is None else {column.name: column for column in model.columns}
    for name in inputs:
        if name not in table.columns:
            guess = did_you_mean(name, table.columns)
            raise UnknownFeature(f"the data has no column {name!r}, which the model needs.{guess}")
    tested = None if model is None else used_columns(model)
    groups = _one_hot(table.drop(columns=[] if target is None else [target]), None if model is None else set(inputs))
    members = {column: group for group, columns in groups.items() for column in columns}
    blocks: list[str] = []
    for name in table.columns:
        if name == target:
            continue
        if name in members:
            group = members[name]
            if name == groups[group][0]:
                untested = tested is not None and not tested & set(groups[group])
                blocks.append(_group(group, groups[group], table, idle=untested))
            continue
        if model is not None and name not in inputs:
            blocks.append(_left_out(name, "the model does not read it"))
            continue
        blocks.append(_feature(name, table[name], inputs.get(name), idle=tested is not None and name not in tested))
    if not any(block.startswith("[") for block in blocks):
        raise DataError("no column of the data is one that a policy could speak of. Give the applicants' columns.")
    by = "" if model is None else f" and a model ({_comment(model.name)})"
    head = _HEAD.format(rows=f"{len(table):,}", by=by)
    spoken = [f"{toml_key(group)} = {toml_value(columns)}" for group, columns in groups.items()]
    spoken = ["[groups.one_hot]  # columns of 0 and 1 that are one category", *spoken, ""] if spoken else []
    return "\n".join([head, *_decision(table, target, model, favourable), *spoken, *blocks, _TAIL])


def _decision(table: pd.DataFrame, target: str | None, model: Model | None, favourable: Level) -> Iterator[str]:
    label = plain(favourable)
    about = "the class that is good for the applicant"
    if target is not None:
        found = table[target].dropna()
        share = float((found.astype(object).map(spelling) == spelling(label)).mean()) if len(found) else 0.0
        about = f"the class that is good for the applicant: {_percent(share)} of {target!r}"
        if share == 0.0:
            seen = ", ".join(sorted({repr(plain(value)) for value in found.unique()[:5]}))
            about = f"CHECK: {target!r} has {seen or 'no values'}, but never this class"
    probability, threshold = True, "0.5"
    if model is not None:
        ends = score_range(model, encode_frame(table, model.columns))
        probability = ends is None or (ends[0] >= 0.0 and ends[1] <= 1.0)
        threshold = "0.5" if probability else "0.0"
    score = "probability" if probability else "decision_function"
    yield "[decision]"
    yield _line(f"favourable = {toml_value(label)}", about)
    yield f'score = "{score}"'
    yield _line(f"threshold = {threshold}", "approved when the score is at least this")
    yield "margin = 0.0"
    yield ""
    yield "[cost]"
    yield _line('unit = "mad"', "or std, range, percentile, raw: what a change of a number is measured in")
    yield _line("per_change = 0.1", "price of changing a feature at all")
    yield _line("max_changes = 4", "a plan with more is seldom followed")
    yield ""


def _one_hot(table: pd.DataFrame, inputs: set[str] | None) -> dict[str, tuple[str, ...]]:
    """Return columns of 0 and 1 that share the beginning of their name, and of which every row has exactly one."""
    alike: dict[str, list[str]] = {}
    for name in table.columns:
        cut = max(name.rfind(mark) for mark in "_=")
        known = inputs is None or name in inputs
        if cut > 0 and known and pd.api.types.is_numeric_dtype(table[name].dtype) and table[name].isin([0, 1]).all():
            alike.setdefault(name[:cut], []).append(name)
    return {
        group: tuple(columns)
        for group, columns in alike.items()
        if len(columns) > 1 and group not in (*table.columns, "wait") and bool((table[columns].sum(axis=1) == 1).all())
    }


def _group(name: str, columns: tuple[str, ...], table: pd.DataFrame, *, idle: bool) -> str:
    """Return the lines on columns that are one category."""
    levels = tuple(column[len(name) + 1 :] or column for column in columns)
    levels = levels if len(set(levels)) == len(levels) else columns
    role = _role(name, idle=idle)
    chosen = pd.Series(np.asarray(levels, dtype=object)[table[list(columns)].to_numpy(dtype=float).argmax(axis=1)])
    lines = ['kind = "category"', _line(f"levels = {toml_value(levels)}", "in the order of the columns")]
    lines += [*_shared(name, "category", role, chosen), *_comments(_shares(chosen, levels))]
    return "\n".join([f"[features.{toml_key(name)}]", *lines, ""])


# ------------------------------------------------------------------------------------------------------------ a feature


def _feature(name: str, column: pd.Series[Any], native: Column | None, *, idle: bool) -> str:
    """Return the lines on one column, or the reason why it is left out."""
    if name == "wait":
        return _left_out(name, "wait stands for the months waited; rename the column")
    present = column.dropna()
    levels = _levels_of(present, native)
    if native is None:
        why = _why_left_out(name, column, present, levels)
        if why is not None:
            return _left_out(name, why)
    role = _role(name, idle=idle)
    if levels is None:
        lines = _number_lines(name, column, role)
    else:
        lines = _level_lines(name, column, present, levels, role, ordered=_is_ordered(column))
    return "\n".join([f"[features.{toml_key(name)}]", *lines, ""])


def _role(name: str, *, idle: bool) -> tuple[str, str] | None:
    """Return a role other than action, with the reason."""
    if sounds_protected(name):
        return "protected", "the name sounds protected" + (", and the model never tests it" if idle else "")
    if sounds_like_an_identifier(name):
        return "fixed", "the name sounds like an identifier"
    return ("fixed", "the model never tests it") if idle else None


def _levels_of(present: pd.Series[Any], native: Column | None) -> list[Level] | None:
    """Return the levels of a column that is no number: in the model's order, the category's own, else sorted."""
    if native is not None and native.levels is not None:
        return list(native.levels)
    kind = present.dtype
    if isinstance(kind, pd.CategoricalDtype):
        listed = [plain(value) for value in kind.categories.tolist()]
    elif pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind):
        return None
    else:
        listed = [plain(value) for value in present]
        if not all(map(_is_level, listed)) or not any(isinstance(value, str | bool) for value in listed):
            return None
        listed = list(dict.fromkeys(listed))
        listed.sort(key=lambda value: (isinstance(value, str), value if not isinstance(value, str) else 0, str(value)))
    kept: dict[Level, Level] = {}
    for value in listed:
        if value not in kept and spelling(value) not in kept:
            kept |= {value: value, spelling(value): value}
    return list(dict.fromkeys(kept.values()))


def _is_level(value: Any) -> bool:
    return isinstance(value, str | int | float | bool) and value == value and abs(_or_zero(value)) < LARGEST_VALUE


def _or_zero(value: Any) -> float:
    return 0.0 if isinstance(value, str) else value


def _is_ordered(column: pd.Series[Any]) -> bool:
    return isinstance(column.dtype, pd.CategoricalDtype) and bool(column.dtype.ordered)


def _why_left_out(name: str, column: pd.Series[Any], present: pd.Series[Any], levels: list[Level] | None) -> str | None:
    """Return why a column is none that a policy speaks of."""
    if pd.api.types.is_datetime64_any_dtype(column.dtype) or pd.api.types.is_timedelta64_dtype(column.dtype):
        return "a date; turn it into a number first, such as days since"
    if isinstance(column.dtype, pd.PeriodDtype | pd.IntervalDtype):
        return f"values of type {column.dtype}; turn them into numbers or texts first"
    if levels is None and column.dtype == object and not all(map(_is_number, present)):
        return "its values are neither numbers nor texts"
    if levels is not None and not all(map(_is_level, levels)):
        return "its values are neither numbers nor texts"
    if levels is not None and not levels:
        return "it has no values"
    differ = len(present) > 1 and len({spelling(plain(value)) for value in present}) == len(present)
    if differ and (sounds_like_an_identifier(name) or (levels is not None and len(present) >= _FEWEST_ROWS)):
        return "looks like an identifier: its values all differ"
    if levels is not None and len(levels) > _MOST_LEVELS:
        return f"free text? It has {len(levels):,} different values"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, Decimal) or (hasattr(value, "__float__") and not isinstance(value, str | bytes))


def _left_out(name: str, why: str) -> str:
    return f"# [features.{_comment(toml_key(name))}] is left out: {_comment(why)}.\n"


# -------------------------------------------------------------------------------------------------------------- numbers


def _number_lines(name: str, column: pd.Series[Any], role: tuple[str, str] | None) -> list[str]:
    values = read_numbers(column, name)
    real = values[~np.isnan(values)]
    codes = likely_codes(real)
    real = real[~np.isin(real, np.array(codes))]
    whole = bool(np.all(real == np.floor(real))) and len(real) > 0
    if not codes and 0 < len(real) and set(real.tolist()) <= {0.0, 1.0} and (len(set(real.tolist())) == 2):
        return ['kind = "flag"', *_shared(name, "flag", role, column), *_comments(_shares(column, [0, 1]))]
    kind = "integer" if whole else "number"
    lines = [f'kind = "{kind}"']
    if len(real) == 0:
        role = role or ("fixed", "the data has no numbers in it")
    elif real.min() == real.max():
        role = role or ("fixed", f"always {number_text(float(real[0]))} in the data")
    if role is None:
        lines_of_grid, role = _grid(real, whole=whole)
        lines += lines_of_grid
    if codes:
        table = ", ".join(f'"{number_text(code)}" = {toml_text("code " + number_text(code))}' for code in codes)
        lines.append(_line(f"codes = {{ {table} }}", "these look like codes: say what each means"))
        if role is None:
            move = f'"{number_text(codes[0])}" = [0]'
            lines.append(_line(f"# moves = {{ {move} }}", "which code leads where; a code stays without"))
    lines += _shared(name, kind, role, column)
    if len(real):
        low, middle, high = (number_text(float(x)) for x in (real.min(), np.median(real), real.max()))
        lines += _comments(f"from {low} to {high}, median {middle}")
        few = sorted(set(real.tolist()))
        if role is None and whole and 1 < len(few) <= _FEW_VALUES:
            listed = ", ".join(map(number_text, few))
            lines += _comments(
                f'only {listed}: if these are names rather than counts, use kind = "category" with levels'
            )
    return lines


def _grid(real: np.ndarray, *, whole: bool) -> tuple[list[str], tuple[str, str] | None]:
    """Return step and bounds; or a role where no grid gives prices that can be added."""
    step = sensible_step(real, whole=whole)
    low = grid_around(float(real.min()), step, up=False)
    high = grid_around(float(real.max()), step, up=True)
    off = np.mean([not on_grid(value, step) for value in real[:1000].tolist()])
    note = "" if off == 0 else f"{_percent(float(off))} of the applicants are off this grid; a change lands on it"
    lines = [_line(f"step = {number_text(step)}", note), f"min = {number_text(low)}", f"max = {number_text(high)}"]
    unit = summarise_numbers(real).unit("mad")
    if float(high - low) / unit <= _LONGEST:
        return lines, None
    limit = grid_around(_LONGEST * unit, step, up=False)
    if limit < step:
        return [], ("fixed", "its values lie too far apart to price a change in median absolute deviations")
    why = "most values lie close together and some very far away"
    return [*lines, _line(f"max_change = {number_text(limit)}", why)], None


# --------------------------------------------------------------------------------------------------------------- levels


def _level_lines(
    name: str,
    column: pd.Series[Any],
    present: pd.Series[Any],
    levels: list[Level],
    role: tuple[str, str] | None,
    *,
    ordered: bool,
) -> list[str]:
    kind = "ordinal" if ordered else "category"
    if not ordered and len(levels) == 2:
        texts = [str(level).lower() for level in levels]
        if all(isinstance(level, bool) for level in levels) or set(texts) in _YES_AND_NO:
            kind, levels = "flag", sorted(levels, key=str)  # no stands before yes, false before true
    if len(levels) == 1:
        role = role or ("fixed", "always the same in the data")
    if len(levels) > _MOST_LEVELS:
        role = role or ("fixed", f"it has {len(levels):,} levels")
    lines = [f'kind = "{kind}"']
    lines.append(_line(f"levels = {toml_value(tuple(levels))}", "in ascending order" if kind == "ordinal" else ""))
    if role is None and kind == "category":
        move = f"{toml_key(str(levels[0]))} = [{toml_value(levels[-1])}]"
        lines.append(_line(f"# moves = {{ {_comment(move)} }}", "which level reaches which; any reaches any without"))
    return [*lines, *_shared(name, kind, role, column), *_comments(_shares(column, levels))]


def _shares(column: pd.Series[Any], levels: Iterable[Level]) -> str:
    """Say how often each level occurs, the commonest first."""
    counts = column.dropna().astype(object).map(spelling).value_counts()
    total = max(1, int(counts.sum()))
    shares = [(int(counts.get(spelling(level), 0)) / total, repr(level)) for level in levels]
    shares.sort(key=lambda pair: -pair[0])
    more = f" and {len(shares) - 8} more" if len(shares) > 8 else ""
    return ", ".join(f"{label} {_percent(share)}" for share, label in shares[:8]) + more


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share == 0 or share >= 0.005 else "<1 %"


# ---------------------------------------------------------------------------------------------------------------- words


def _shared(name: str, kind: str, role: tuple[str, str] | None, missing: pd.Series[Any]) -> list[str]:
    """Return the lines that every feature has."""
    lines = [] if role is None else [_line(f'role = "{role[0]}"', role[1])]
    if role is None and kind != "category":
        lines.append('change = "any"')
    lines.append(f"label = {toml_text(' '.join(words(name)) or name)}")
    share = float(missing.isna().mean()) if len(missing) else 0.0
    if role is None and kind in ("number", "integer"):
        lines.append(_line('# unit = "..."', "printed behind its values"))
    if share and role is None:
        lines.append(_line("# provide = { cost = 1.0 }", "if a missing value can be handed in"))
    return lines + (_comments(f"missing in {_percent(share)} of the rows") if share else [])


def _line(text: str, comment: str) -> str:
    return f"{text:<29} # {_comment(comment)}" if comment else text


def _comments(*lines: str) -> list[str]:
    return [f"# {_comment(line)}" for line in lines if line]


def _comment(text: str) -> str:
    """Keep a text on one line, without characters that TOML forbids in comments."""
    return "".join(c if c.isprintable() else "?" for c in text)
