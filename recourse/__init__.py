"""The smallest change an applicant can really make that turns a model's decision, with its proof."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .budget import Budget
    from .checking import check
    from .errors import (
        CheckFailed,
        DataError,
        InputError,
        ModelError,
        PolicyError,
        RecourseError,
        SelfCheckFailed,
        UnknownFeature,
        UnsupportedModel,
    )
    from .finder import Finder
    from .models import read_model
    from .obstacles import Blocking, blocking
    from .plan import BestScore, Certificate, Change, Outcome, Plan, Provenance
    from .policy import Feature, Policy
    from .population import Population
    from .revalidation import Revalidation, revalidate
    from .survival import refit_survival, robustness

__version__ = "0.1.0"

# Public name -> the module that holds it, loaded on first use: `import recourse` compiles nothing and stays light.
_HOME = {
    "BestScore": "plan",
    "Blocking": "obstacles",
    "Budget": "budget",
    "Certificate": "plan",
    "Change": "plan",
    "CheckFailed": "errors",
    "DataError": "errors",
    "Feature": "policy",
    "Finder": "finder",
    "InputError": "errors",
    "ModelError": "errors",
    "Outcome": "plan",
    "Plan": "plan",
    "Policy": "policy",
    "PolicyError": "errors",
    "Population": "population",
    "Provenance": "plan",
    "RecourseError": "errors",
    "Revalidation": "revalidation",
    "SelfCheckFailed": "errors",
    "UnknownFeature": "errors",
    "UnsupportedModel": "errors",
    "blocking": "obstacles",
    "check": "checking",
    "read_model": "models",
    "refit_survival": "survival",
    "revalidate": "revalidation",
    "robustness": "survival",
}

__all__ = [
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


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
