"""The arrows between the rooms, read from the imports themselves."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGES = ("recourse", "mitigation")  # the second one comes later
MODULES = sorted(path for package in PACKAGES for path in (CHECKOUT / package).rglob("*.py"))
MODEL_LIBRARIES = {"sklearn", "skops", "joblib", "xgboost", "lightgbm", "catboost", "interpret", "optbinning", "onnx"}


def imports_of(path: Path) -> Iterator[str]:
    """Yield the full dotted name of everything a file imports, wherever in the file."""
    package = path.relative_to(CHECKOUT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *filter(None, [node.module])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def within(name: str, *packages: str) -> bool:
    """Tell whether a dotted name is one of the packages or lies inside one."""
    return any(name == package or name.startswith(package + ".") for package in packages)


def name_of(path: Path) -> str:
    """Spell a file as a path from the checkout."""
    return path.relative_to(CHECKOUT).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_the_packages_import_nothing_of_the_workbench(path: Path) -> None:
    """Nothing that is installed imports benchmarks, the data folder or tests."""
    assert [name for name in imports_of(path) if within(name, "benchmarks", "datasets", "tests", "conftest")] == []


@pytest.mark.parametrize("path", [m for m in MODULES if m.is_relative_to(CHECKOUT / "recourse")], ids=name_of)
def test_recourse_does_not_know_mitigation(path: Path) -> None:
    """mitigation imports recourse, never the reverse."""
    assert [name for name in imports_of(path) if within(name, "mitigation")] == []


@pytest.mark.parametrize("path", [m for m in MODULES if "search" in m.parts], ids=name_of)
def test_the_search_sees_arrays_alone(path: Path) -> None:
    """recourse/search imports the standard library, NumPy, Numba (llvmlite is its lower half) and itself."""
    allowed = {*sys.stdlib_module_names, "numpy", "numba", "llvmlite"}
    strangers = [
        name for name in imports_of(path) if name.split(".")[0] not in allowed and not within(name, "recourse.search")
    ]
    assert strangers == []


@pytest.mark.parametrize("path", [m for m in MODULES if "models" not in m.parts], ids=name_of)
def test_only_the_readers_know_the_model_libraries(path: Path) -> None:
    """A model library is imported in recourse/models and nowhere else; whoever trains a model borrows from there."""
    assert [name for name in imports_of(path) if name.split(".")[0] in MODEL_LIBRARIES] == []


def test_import_is_light() -> None:
    """`import recourse` loads no model library, no compiler and no data frames: nothing compiles, nobody waits."""
    heavy = [*sorted(MODEL_LIBRARIES), "numba", "pandas", "pyarrow", "scipy", "pydantic", "typer", "rich"]
    script = f"import sys, recourse; print(*[name for name in {heavy!r} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    assert loaded.stdout.split() == []


def test_the_program_starts_without_a_compiler() -> None:
    """`recourse --version` loads neither Numba nor a model library: help and errors come at once."""
    script = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from recourse.cli import app\n"
        "assert CliRunner().invoke(app, ['--version']).exit_code == 0\n"
        f"print(*[name for name in {['numba', *sorted(MODEL_LIBRARIES)]!r} if name in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    assert loaded.stdout.split() == []
