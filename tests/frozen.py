"""The frozen search instances as a model, a policy and refused rows with their proven costs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recourse import Policy, Population

NAMES = ("100x6-policy", "100x6-free", "500x6-policy", "500x6-free")


@dataclass(frozen=True, eq=False)
class Instance:
    """One of the four: `told` has a line for each applicant (row, margin, status, cost, sketch_nodes)."""

    name: str
    model: Path
    policy: Policy
    population: Population
    frame: pd.DataFrame  # the refused applicants, in the order of `told`
    told: pd.DataFrame


def read(name: str, instances: Path, heloc: Path) -> Instance:
    """Read a frozen instance and write its README as a policy."""
    size, freedom = name.split("-")
    about = json.loads((instances / "instances.json").read_text())
    rows = pd.read_csv(heloc / "heloc_dataset_v1.csv").drop(columns="RiskPerformance")
    rows = rows[~(rows == -9).all(axis=1)].reset_index(drop=True).astype(np.float64)
    told = pd.read_csv(instances / f"heloc-xgboost-{name}.csv")
    policy = Policy.model_validate(
        {
            "decision": {"favourable": 1, "threshold": 0.5},
            "cost": {
                "unit": "raw",
                "per_change": 0.1,
                **({} if about["max_changes"][size] is None else {"max_changes": about["max_changes"][size]}),
            },
            "features": {n: _feature(n, rows[n], about, free=freedom == "free") for n in rows},
        }
    )
    model = instances / f"heloc-xgboost-{size}.ubj"
    return Instance(name, model, policy, Population.from_frame(rows, policy), rows.loc[told["row"]], told)


def _feature(name: str, values: pd.Series, about: dict[str, Any], *, free: bool) -> dict[str, Any]:
    weight = 1.0 / about["mad"][name]
    if free:
        return {"kind": "integer", "weight": weight}
    if name not in about["directions"]:
        return {"kind": "integer", "role": "fixed"}
    codes = {str(int(v)): "a negative code" for v in sorted(values[values < 0].unique())}
    change = {1: "up", -1: "down", 0: "any"}[about["directions"][name]]
    return {"kind": "integer", "weight": weight, "change": change, "min": 0, "codes": codes}
