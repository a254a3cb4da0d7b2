"""The names that users may lean on."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

import recourse

NAMES = [
    "BestScore",
    "Blocking",
    "Budget",
    "Certificate",
    "Change",
    "CheckFailed",
    "DataError",
    "Feature",
    "Finder",
    "InputError",
    "ModelError",
    "Outcome",
    "Plan",
    "Policy",
    "PolicyError",
    "Population",
    "Provenance",
    "RecourseError",
    "Revalidation",
    "SelfCheckFailed",
    "UnknownFeature",
    "UnsupportedModel",
    "__version__",
    "blocking",
    "check",
    "read_model",
    "refit_survival",
    "revalidate",
    "robustness",
]


def test_the_list_of_public_names() -> None:
    """A name joins or leaves `recourse` only together with this list."""
    assert sorted(recourse.__all__) == sorted(NAMES)
    assert set(NAMES) <= set(dir(recourse))


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("_")])
def test_every_public_name_is_documented(name: str) -> None:
    """Each public name exists, says what it is, and comes from where the table of names says."""
    value = getattr(recourse, name)
    assert value.__module__.startswith("recourse.")
    assert (inspect.getdoc(value) or "").strip()


def test_type_checkers_see_the_same_names() -> None:
    """The imports for type checkers and the table used at run time name the same things in the same modules."""
    tree = ast.parse(Path(recourse.__file__).read_text())
    seen = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
    }
    assert seen == recourse._HOME


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A misspelt name fails as on any module."""
    with pytest.raises(AttributeError, match="no attribute 'Fidner'"):
        recourse.Fidner  # noqa: B018


def test_version() -> None:
    """The version is the installed distribution's."""
    from importlib.metadata import version

    assert re.fullmatch(r"\d+\.\d+\.\d+", recourse.__version__)
    assert version("fairpath") == recourse.__version__
