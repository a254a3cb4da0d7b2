"""What is asked of plans: from a command's options to a finder, and through a file's header to its check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError, ModelError
from .options import Shape

if TYPE_CHECKING:
    from ..finder import Finder
    from ..models.base import Model
    from ..policy import Policy
    from ..population import Population


@dataclass(frozen=True, slots=True)
class Asked:
    """What a plan must be: its shape, how many, and by whom else it must be approved."""

    shape: str = Shape.POINT.value
    box_steps: int = 5
    plans: int = 1
    also_approve: tuple[Path, ...] = ()
    plausibility: Path | None = None
    black_box: bool = False
    seed: int = 0
    nodes: int = 200_000
    calls: int = 500

    def header(self, models: Models) -> dict[str, Any]:
        """Return the part of a file's header that says what was asked; keys with defaults are left out."""
        said: dict[str, Any] = {"shape": self.shape, "node_budget": self.nodes}
        if self.shape == Shape.BOX.value:
            said["box_steps"] = self.box_steps
        if self.plans > 1:
            said["plans"] = self.plans
        if self.also_approve:
            pairs = zip(self.also_approve, models.also_approve, strict=True)
            said["also_approve"] = [{"file": str(path), "sha256": model.sha256} for path, model in pairs]
        if self.plausibility is not None and models.plausibility is not None:
            said["plausibility"] = {"file": str(self.plausibility), "sha256": models.plausibility.sha256}
        if self.black_box:
            said["black_box"] = {"seed": self.seed, "calls": self.calls}
        return said

    @classmethod
    def from_header(cls, header: Mapping[str, Any], also_approve: tuple[Path, ...], plausibility: Path | None) -> Asked:
        """Return what a file's header says was asked; files that are given stand in for the ones it names.

        Raises
        ------
        DataError
            If the header is not one that `find` writes.
        """
        try:
            told = header.get("black_box")
            more = tuple(Path(str(part["file"])) for part in header.get("also_approve", ()))
            forest = header.get("plausibility")
            return cls(
                shape=Shape(header["shape"]).value,
                box_steps=int(header.get("box_steps", 5)),
                plans=int(header.get("plans", 1)),
                also_approve=also_approve or more,
                plausibility=plausibility or (None if forest is None else Path(str(forest["file"]))),
                black_box=told is not None,
                seed=0 if told is None else int(told["seed"]),
                nodes=int(header["node_budget"]),
                calls=500 if told is None else int(told["calls"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"the header of the plans is malformed ({error}); was the file edited?") from None

    def finder(self, models: Models, policy: Policy, population: Population) -> Finder:
        """Return the finder that answers."""
        from ..finder import Budget, Finder  # brings the compiler: last

        return Finder(
            models.model,
            policy,
            population,
            shape=self.shape,
            box_steps=self.box_steps,
            plans=self.plans,
            also_approve=models.also_approve,
            plausibility=models.plausibility,
            budget=Budget(nodes=self.nodes, calls=self.calls),
            black_box=self.black_box,
            seed=self.seed,
        )


@dataclass(frozen=True, slots=True)
class Models:
    """The models that must approve, read."""

    model: Model
    also_approve: tuple[Model, ...] = ()
    plausibility: Model | None = None


def read_models(source: str, asked: Asked, policy: Policy, *, allow_pickle: bool) -> Models:
    """Read the model of a command (a file, or with a black box an address) and those that must approve as well."""
    model = read_one(source, policy, allow_pickle=allow_pickle, black_box=asked.black_box)
    others = tuple(read_one(str(path), policy, allow_pickle=allow_pickle) for path in asked.also_approve)
    forest = None
    if asked.plausibility is not None:
        from ..models.isolation import read_plausibility

        columns = [column.name for column in model.columns]
        forest = read_plausibility(_estimator(asked.plausibility, allow_pickle=allow_pickle), columns)
    return Models(model, others, forest)


def read_one(source: str, policy: Policy, *, allow_pickle: bool, black_box: bool = False) -> Model:
    """Read one model for a policy's decision."""
    from ..models import read_model

    address = source.startswith(("http://", "https://"))
    if address and not black_box:
        raise ModelError(f"{source} answers over HTTP and cannot be read exactly; --black-box asks it, without proofs")
    return read_model(
        source if address else Path(source),
        favourable=policy.decision.favourable,
        score=policy.decision.score,
        levels=policy.levels,
        allow_pickle=allow_pickle,
        black_box=black_box,
        columns=_columns(policy) if black_box else None,
    )


def _columns(policy: Policy) -> tuple[str, ...]:
    """Return the columns of data that a policy speaks of, with which a model without names of its own is asked."""
    groups = policy.groups.columns
    return tuple(column for name in policy.features for column in groups.get(name, (name,)))


def _estimator(path: Path, *, allow_pickle: bool) -> Any:
    """Return the estimator in a file."""
    from ..models.sklearn_files import load_pickle, load_skops

    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    if path.suffix.lower() in (".pkl", ".pickle", ".joblib"):
        if not allow_pickle:
            raise ModelError(
                f"{path} is a pickle, which can run any code when it is loaded; --allow-pickle loads it all the same"
            )
        return load_pickle(path)
    return load_skops(path.read_bytes())
