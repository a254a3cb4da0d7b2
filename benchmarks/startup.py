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
PROGRAM = [sys.executable, "-m", "recourse"]


def measure(*, runs: int = 5) -> dict[str, Any]:
    """Time fresh processes; compilation starts from an empty cache each time."""
    references, seconds = [], {}
    with tempfile.TemporaryDirectory() as folder:
        find = [*PROGRAM, *_ten_applicants(Path(folder))]
        cold = [compile_cold() for _ in range(runs)]
        references.append(machine.reference_ms())
        seconds["`import recourse`"] = _median([sys.executable, "-c", "import recourse"], runs)
        seconds["`recourse warmup`, nothing compiled"] = statistics.median(cold)
        seconds["`recourse warmup`, all compiled"] = _median([*PROGRAM, "warmup"], runs)
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
    files = {"policy": "policy.toml", "data": "applicants.csv", "population": "train.csv", "out": "plans.jsonl"}
    options = [word for option, file in files.items() for word in (f"--{option}", str(folder / file))]
    return ["find", "--model", str(work.model), *options, "--quiet"]


def compile_cold() -> float:
    """Return the seconds that a fresh process with an empty cache takes to compile all kernels."""
    with tempfile.TemporaryDirectory() as cache:
        return _timed([*PROGRAM, "warmup"], {**os.environ, "NUMBA_CACHE_DIR": cache})


def _median(command: list[str], runs: int) -> float:
    _timed(command, dict(os.environ))  # fills the caches of the file system and of Numba
    return statistics.median(_timed(command, dict(os.environ)) for _ in range(runs))


def _timed(command: list[str], environment: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began
