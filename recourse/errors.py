"""The errors of recourse, as one tree.

RecourseError
├── InputError            what the caller gave cannot be used
│   ├── PolicyError           the policy file
│   │   └── UnknownFeature        a name that the policy, the model or the data does not have
│   ├── ModelError            the model or its file
│   │   ├── UnsupportedModel      a model that cannot be read exactly
│   │   └── SelfCheckFailed       what was read does not equal the native library
│   └── DataError             the applicants or the population
└── CheckFailed           a finished plan breaks the rules or is not approved: a bug of ours, never shown to anyone
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class RecourseError(Exception):
    """Base of all errors that recourse raises on purpose."""


class InputError(RecourseError, ValueError):
    """What the caller gave cannot be used; the message says what to do."""


class PolicyError(InputError):
    """The policy is not valid."""


class UnknownFeature(PolicyError):
    """A name that the policy, the model or the data does not have."""


class ModelError(InputError):
    """The model or its file cannot be used."""


class UnsupportedModel(ModelError):
    """The model cannot be read exactly."""


class SelfCheckFailed(ModelError):
    """What was read from the model does not equal what the native library computes."""


class DataError(InputError):
    """The applicants or the population cannot be used."""


class CheckFailed(RecourseError):
    """A finished plan breaks the policy or is not approved by the native model."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the nearest known name, or an empty string.

    Examples
    --------
    >>> did_you_mean("incme", ["income", "age"])
    " Did you mean 'income'?"
    >>> did_you_mean("ID", ["id", "age"])
    " Did you mean 'id'?"
    """
    names = [str(k) for k in known]
    folded = {k.strip().casefold(): k for k in reversed(names)}  # of two that differ in case alone, the first
    same = folded.get(str(name).strip().casefold())
    near = [same] if same is not None else get_close_matches(str(name), names, n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""
