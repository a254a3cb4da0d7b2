"""What a person waits for: importing, compiling cold, loading what is compiled, ten applicants through the program."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from . import machine
from .workloads import frozen

INSTANCE = "heloc-xgboost-100x6-policy"


def measure(*, runs: int = 5) -> dict[str, Any]:
    """Time fresh processes; compilation starts from an empty cache each time."""
    references, seconds = [], {}
    recourse = [sys.executable, "-m", "recourse"]
    with tempfile.TemporaryDirectory() as folder:
        find = [*recourse, *_ten_applicants(Path(folder))]
        cold = [_cold([*recourse, "warmup"]) for _ in range(runs)]
        references.append(machine.reference_ms())
        seconds["`import recourse`"] = _median([sys.executable, "-c", "import recourse"], runs)
        seconds["`recourse warmup`, nothing compiled"] = statistics.median(cold)
        seconds["`recourse warmup`, all compiled"] = _median([*recourse, "warmup"], runs)
        seconds["`recourse find` on 10 applicants, warm"] = _median(find, runs)
        references.append(machine.reference_ms())
    return {
        "workload": "startup",
        "kind": "startup",
        "machine": machine.describe(threads=1),
        "reference_ms": round(statistics.median(references), 3),
        "runs": runs,
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
    }


def _ten_applicants(folder: Path) -> list[str]:
    """Write the files of one `recourse find` and return its arguments."""
    work = frozen.load(INSTANCE)
    (folder / "policy.toml").write_text(work.policy.to_toml())
    work.frame.iloc[:10].to_csv(folder / "applicants.csv", index=False)
    work.population.to_csv(folder / "train.csv", index=False)
    files = (
        "--policy",
        folder / "policy.toml",
        "--data",
        folder / "applicants.csv",
        "--population",
        folder / "train.csv",
    )
    return ["find", "--model", str(work.model), *map(str, files), "--out", str(folder / "plans.jsonl"), "--quiet"]


def _cold(command: list[str]) -> float:
    with tempfile.TemporaryDirectory() as cache:
        return _timed(command, {**os.environ, "NUMBA_CACHE_DIR": cache})


def _median(command: list[str], runs: int) -> float:
    _timed(command, dict(os.environ))  # fills the caches of the file system and of Numba
    return statistics.median(_timed(command, dict(os.environ)) for _ in range(runs))


def _timed(command: list[str], environment: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began
