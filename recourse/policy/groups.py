"""Whether the columns of groups and the tables of their features fit together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..errors import did_you_mean
from .feature import Feature
from .values import show, toml_key

if TYPE_CHECKING:
    from . import Policy


def fill_in_levels(data: dict[str, Any]) -> dict[str, Any]:
    """Return a policy as a dict in which each group's feature has its levels: the columns, or 0, 1, ... of a ladder."""
    groups, features = data.get("groups"), data.get("features")
    if not isinstance(features, dict) or groups is None:
        return data
    filled = dict(features)
    for form, kind in (("one_hot", "category"), ("thermometer", "ordinal")):
        table = groups.get(form) if isinstance(groups, dict) else getattr(groups, form, None)
        for name, columns in (table if isinstance(table, dict) else {}).items():
            feature = filled.get(name)
            if isinstance(feature, Feature):
                feature = feature.model_dump(exclude_defaults=True)
                if feature.get("levels") is None:
                    feature.pop("step", None)  # the 1 that whole numbers have
            if not isinstance(feature, dict) or not isinstance(columns, list | tuple):
                continue  # what is wrong with these is said elsewhere
            if feature.get("levels") is None and feature.get("kind") == kind:
                levels = tuple(columns) if form == "one_hot" else tuple(range(len(columns) + 1))
                filled[name] = {**feature, "levels": levels}
    return {**data, "features": filled}


def group_faults(policy: Policy) -> Iterator[tuple[str, str]]:
    """Yield what does not fit together: (place, message)."""
    owner = dict[str, str]()
    for form, kind in (("one_hot", "category"), ("thermometer", "ordinal")):
        for name, columns in getattr(policy.groups, form).items():
            place = f"groups.{form}.{toml_key(name)}"
            for column in columns:
                if column in owner:
                    what = "is listed twice" if owner[column] == name else f"is a column of {owner[column]!r} as well"
                    yield place, f"{show(column)} {what}."
                elif column in policy.features and column != name:
                    yield (
                        f"features.{toml_key(column)}",
                        f"is a column of the group {name!r}, whose table says everything. Delete this one.",
                    )
                owner.setdefault(column, name)
            if form == "one_hot" and name in policy.groups.thermometer:
                yield place, "is a thermometer as well. Delete one of them."
            if len(columns) < (2 if form == "one_hot" else 1):
                yield place, f"has {len(columns)} columns. Expected at least {2 if form == 'one_hot' else 1}."
                continue
            feature = policy.features.get(name)
            if feature is None:
                guess = did_you_mean(name, policy.features)
                yield place, f'has no table [features.{toml_key(name)}].{guess} Add one with kind = "{kind}".'
                continue
            yield from _feature_faults(name, feature, columns, kind)


def _feature_faults(name: str, feature: Feature, columns: tuple[str, ...], kind: str) -> Iterator[tuple[str, str]]:
    place = f"features.{toml_key(name)}"
    if feature.kind != kind:
        form = "one-hot columns" if kind == "category" else "the columns of a thermometer"
        yield f"{place}.kind", f'{feature.kind!r} does not fit {form}. Use kind = "{kind}".'
        return
    if feature.provide is not None:
        yield f"{place}.provide", "columns that are one feature are not missing. Delete this line."
    levels = feature.levels or ()
    if kind == "ordinal" and levels != tuple(range(len(columns) + 1)):
        yield f"{place}.levels", f"expected 0, 1, ..., {len(columns)}: how many of the columns are 1. Delete this line."
    if kind == "category":
        if len(levels) not in (len(columns), len(columns) + 1):
            yield (
                f"{place}.levels",
                f"expected {len(columns)} levels in the order of the columns, and perhaps one more for none of them; "
                f"got {len(levels)}.",
            )
        for position, level in enumerate(levels):
            if level in columns and columns.index(str(level)) != position:
                yield f"{place}.levels", f"{show(level)} stands in another place than among the columns."
