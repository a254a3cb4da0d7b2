"""What is installed works alone: the wheel without the checkout, from an empty folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import recourse

pytestmark = pytest.mark.slow

PLAIN = {"card.toml", "policy.toml", "README.md"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> Path:
    """Build the wheel as a release does, without a network."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(checkout)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel where this environment's libraries are seen but not the checkout; return its programs."""
    home = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True, capture_output=True, text=True)
    python = home / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    # A path file inside a folder that is itself added by a path file is not read: the checkout stays out of sight.
    (site,) = home.glob("lib/python*/site-packages")
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin"


def run(installed: Path, folder: Path, *command: str) -> str:
    """Run an installed program in an empty folder, knowing nothing of the checkout or its data."""
    hidden = {"PYTHONPATH", "FAIRPATH_DATA", "FAIRPATH_INSTANCES"}
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    done = subprocess.run(
        [str(installed / command[0]), *command[1:]], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_the_package_and_its_data_alone(wheel: Path, checkout: Path) -> None:
    """Cards, policies and the lender are in the wheel; tests, benchmarks and other people's raw data are not."""
    names = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}
    assert {name.split("/")[0] for name in names} == {"recourse", f"fairpath-{recourse.__version__}.dist-info"}
    carried = {name.removeprefix("recourse/_data/") for name in names if name.startswith("recourse/_data/")}
    assert carried == {
        path.relative_to(checkout / "datasets").as_posix()
        for path in (checkout / "datasets").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "lender/policy.toml" in carried
    assert {"heloc", "german_credit", "south_german_credit", "adult", "hmeq", "lender"} <= {
        n.split("/")[0] for n in carried
    }
    assert [name for name in carried if not name.startswith("lender/") and name.split("/")[-1] not in PLAIN] == []


def test_the_installed_package_is_the_wheel(installed: Path, tmp_path: Path) -> None:
    """What the tests below run is what was installed, and it says its version."""
    place = run(installed, tmp_path, "python", "-c", "import recourse; print(recourse.__file__)").strip()
    assert Path(place).is_relative_to(installed.parent)
    assert recourse.__version__ in run(installed, tmp_path, "recourse", "--version")


def test_the_demo_runs_without_the_checkout(installed: Path, tmp_path: Path) -> None:
    """`recourse demo` needs nothing beside the wheel, shows a proof, and leaves the folder empty."""
    assert "proven" in run(installed, tmp_path, "recourse", "demo")
    assert list(tmp_path.iterdir()) == []


def test_the_schema_is_printed_without_the_checkout(installed: Path, tmp_path: Path) -> None:
    """`recourse policy schema` prints a JSON Schema that names the features."""
    assert "features" in json.loads(run(installed, tmp_path, "recourse", "policy", "schema"))["properties"]
