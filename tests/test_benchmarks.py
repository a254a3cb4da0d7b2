"""The harness notices a cost that contradicts what is proven elsewhere; its tables quote the files they come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmarks import search, table, tail
from benchmarks.workloads import Workload, frozen

KNOWN = {19: ("found", 1.325), 20: ("none_exists", float("nan"))}


def contradictions(**query: Any) -> list[str]:
    """Return what the harness says of one query's result."""
    work = Workload("x", model=None, policy=None, population=pd.DataFrame(), frame=pd.DataFrame(), known=KNOWN)  # type: ignore[arg-type]
    return search.disagreements(work, {"queries": [query]})


@pytest.mark.parametrize("cost", [1.325, 1.325009, 1.324991])
def test_an_equal_cost_agrees(cost: float) -> None:
    """Proven costs within 1e-5 of the frozen ones agree."""
    assert contradictions(id="19", status="found", cost=cost, bound=cost, proven=True) == []


@pytest.mark.parametrize(
    "query",
    [
        {"id": "19", "status": "found", "cost": 1.32502, "bound": 1.32502, "proven": True},
        {"id": "19", "status": "none_exists", "cost": None, "bound": 0.0, "proven": True},
        {"id": "19", "status": "found", "cost": 1.3, "bound": 1.2, "proven": False},
        {"id": "19", "status": "none_found", "cost": None, "bound": 1.4, "proven": False},
        {"id": "20", "status": "found", "cost": 2.0, "bound": 2.0, "proven": True},
    ],
)
def test_a_contradiction_is_named(query: dict[str, Any]) -> None:
    """Another proven cost, a plan below the optimum, a bound above it, a plan where none exists: all are named."""
    (told,) = contradictions(**query)
    assert f"row {query['id']}" in told


@pytest.mark.parametrize(
    "query",
    [
        {"id": "19", "status": "found", "cost": 1.5, "bound": 1.2, "proven": False},
        {"id": "19", "status": "none_found", "cost": None, "bound": 1.1, "proven": False},
        {"id": "20", "status": "none_exists", "cost": None, "bound": 0.0, "proven": True},
        {"id": "7", "status": "found", "cost": 9.0, "bound": 9.0, "proven": True},
    ],
)
def test_an_honest_gap_agrees(query: dict[str, Any]) -> None:
    """An unproven result agrees when its bounds enclose the optimum; a row that nobody proved is not compared."""
    assert contradictions(**query) == []


def test_the_table_links_every_result(tmp_path: Path) -> None:
    """Each row of the table names the file that it quotes."""
    ms = {"p50": 0.123, "mean": 1.5, "p95": 10.0, "p99": 12.0, "max": 1234.5}
    result = {"workload": "x-y", "kind": "search", "reference_ms": 31.0, "ms": ms, "proven": 1, "queries": [{}, {}]}
    (tmp_path / "x-y.json").write_text(json.dumps(result))
    last = table.render(tmp_path).splitlines()[-1]
    assert last == "| [x-y](benchmarks/results/x-y.json) | 0.12 | 1.5 | 10 | 12 | 1,234 | 1 of 2 | 31 |"


def test_a_gap_is_that_of_the_plans_held() -> None:
    """What is proven has gap 0, an open plan its own; without a plan or that proof there is none to tell."""
    answers = [
        {"status": "found", "proven": True, "cost": 2.0, "bound": 2.0},
        {"status": "found", "proven": False, "cost": 2.0, "bound": 0.5},
        {"status": "none_found", "proven": False, "cost": None, "bound": 0.5},
        {"status": "none_exists", "proven": True, "cost": None, "bound": None},
    ]
    found = [{**answer, "budget": 10, "nodes": 10, "seconds": 1e-3} for answer in answers]
    told = tail._told([*found, {**found[1], "budget": 100}], 10, 4)
    assert (told["applicants"], told["proven"], told["share_proven"], told["without_plan"]) == (4, 2, 0.5, 1)
    assert told["gap"] == {"median": 0.375, "max": 0.75}
    assert told["microseconds_a_node"] == 100.0


def test_frozen_instances_are_the_ones_described(instances: Path, data_dir: Any) -> None:
    """Each frozen instance has 100 refused applicants whose native margin is the one in its file."""
    xgboost = pytest.importorskip("xgboost")
    data_dir("heloc")
    for name in frozen.NAMES:
        work = frozen.load(name)
        told = pd.read_csv(instances / f"{name}.csv").set_index("row")["margin"]
        margin = xgboost.Booster(model_file=str(work.model)).predict(xgboost.DMatrix(work.frame), output_margin=True)
        assert len(work.frame) == 100
        assert (margin < 0).all()
        assert margin == pytest.approx(told.to_numpy(), abs=1e-5)
