"""The frozen HELOC instances, read in place from $FAIRPATH_INSTANCES and $FAIRPATH_DATA."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pandas as pd

from recourse import Policy

from . import Workload

NAMES = tuple(f"heloc-xgboost-{size}-{variant}" for size in ("100x6", "500x6") for variant in ("policy", "free"))
DIRECTION = {1: "up", -1: "down", 0: "any"}
CODES = {"-7": "condition not met", "-8": "no usable record", "-9": "no record"}


def load(name: str) -> Workload:
    """Return one frozen instance: its 100 refused applicants with their proven costs."""
    _, _, size, variant = name.split("-")
    folder = _folder("FAIRPATH_INSTANCES")
    told = json.loads((folder / "instances.json").read_text())
    model = folder / f"heloc-xgboost-{size}.ubj"
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    if digest != told["models"][model.stem]:
        raise SystemExit(f"{model} is not the frozen model: its sha256 is {digest}")
    rows = heloc()
    answers = pd.read_csv(folder / f"{name}.csv").set_index("row")
    known = {int(row): (str(one.status), float(one.cost)) for row, one in answers.iterrows() if one.status != "open"}
    return Workload(
        name=name,
        model=model,
        policy=policy(told, size, variant),
        population=rows,
        frame=rows.loc[answers.index],
        known=known,
    )


def refused(name: str, margin_below: float = 0.0) -> Workload:
    """Return the instance with *all* applicants whom its model refuses, in place of the 100 chosen ones."""
    import xgboost

    work = load(name)
    booster = xgboost.Booster(model_file=str(work.model))
    margin = booster.predict(xgboost.DMatrix(work.population), output_margin=True)
    return Workload(work.name, work.model, work.policy, work.population, work.population[margin < margin_below])


def heloc() -> pd.DataFrame:
    """Return HELOC's 23 features without the rows that are -9 throughout, renumbered."""
    frame = pd.read_csv(_folder("FAIRPATH_DATA") / "heloc" / "heloc_dataset_v1.csv").drop(columns="RiskPerformance")
    return frame[~(frame == -9).all(axis=1)].reset_index(drop=True)


def policy(told: dict[str, Any], size: str, variant: str) -> Policy:
    """Write an instance's rules as a policy."""
    features: dict[str, dict[str, Any]] = {}
    for name, mad in told["mad"].items():
        features[name] = {"kind": "integer", "weight": 1 / mad}
        if variant == "policy":
            direction = told["directions"].get(name)
            if direction is None:
                features[name] |= {"role": "fixed"}
            else:
                features[name] |= {"change": DIRECTION[direction], "min": 0}
            features[name]["codes"] = CODES
    cost = {"unit": "raw", "per_change": 0.1}
    if told["max_changes"][size] is not None:
        cost["max_changes"] = told["max_changes"][size]
    return Policy.model_validate(
        {"decision": {"score": "decision_function", "threshold": 0.0}, "cost": cost, "features": features}
    )


def _folder(variable: str) -> Path:
    place = os.environ.get(variable)
    if not place or not Path(place).is_dir():
        raise SystemExit(f"set {variable} to the folder that holds them; the frozen instances are read in place")
    return Path(place)
