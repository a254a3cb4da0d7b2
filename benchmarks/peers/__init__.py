"""Other people's systems, each in an environment and a process of its own, asked over JSON lines.

A peer is a folder with `adapter.py` and `requirements.txt`. Its environment is made once in a cache folder
(``FAIRPATH_PEERS``, by default ``~/.cache/fairpath/peers``), under a name that holds the hash of its requirements. The
adapter is started from an empty folder with ``python -P``, so that nothing of this checkout is imported by accident,
and speaks one JSON object a line. The first line says what all rows share, every other one asks about a row:

    {"model": FILE, "train": FILE, "target": NAME, "numbers": [NAME, ...], "categories": {NAME: [LEVEL, ...]},
     "method": NAME, "seed": 0, "cost": {NAME: PRICE OF ONE UNIT}}         -> {"ready": true, "calls": 3000, ...}
    {"row": {NAME: VALUE}, "permitted": {NAME: [LOW, HIGH] or [LEVEL, ...]}, "max_changes": 5, "threshold": 0.5}
                                           -> {"row": {NAME: VALUE} or null, "calls": 87, "seconds": 0.2}

`model` is a skops file of a scikit-learn classifier, `train` a CSV file. `permitted` holds what the policy lets this
applicant change, and within which bounds; an adapter passes on as much of it as its library takes. `calls` counts the
rows that the model scored. What goes wrong is ``{"error": TEXT}`` and a failure, and so is a row that takes too long:
the process is ended and the next row gets a fresh one.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

HERE = Path(__file__).parent
NAMES = tuple(sorted(path.parent.name for path in HERE.glob("*/adapter.py")))
START_SECONDS = 300.0  # importing the library and scoring the training rows

_PASSED_ON = ("PATH", "HOME", "TMPDIR", "LANG", "SYSTEMROOT", "FAIRPATH_PEERS")


class PeerFailed(Exception):
    """A peer could not be installed or started."""


def cache_folder() -> Path:
    """Where environments are kept."""
    given = os.environ.get("FAIRPATH_PEERS")
    return Path(given) if given else Path.home() / ".cache" / "fairpath" / "peers"


def environment(name: str) -> Path:
    """Return the Python of a peer's environment, which is made if it is not there yet.

    Raises
    ------
    PeerFailed
        There is no such peer, or its requirements cannot be installed; with the installer's last lines.
    """
    if name not in NAMES:
        raise PeerFailed(f"no peer {name!r}; there are {', '.join(NAMES)}")
    requirements = HERE / name / "requirements.txt"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(version.encode() + requirements.read_bytes()).hexdigest()[:12]
    folder = cache_folder() / f"{name}-{digest}"
    python, ready = folder / "bin" / "python", folder / "ready"
    if ready.exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted run left
    folder.parent.mkdir(parents=True, exist_ok=True)
    print(f"peer {name}: installing into {folder}", file=sys.stderr, flush=True)
    if shutil.which("uv"):
        _install(["uv", "venv", "-q", "--python", sys.executable, str(folder)])
        _install(["uv", "pip", "install", "-q", "--python", str(python), "-r", str(requirements)])
    else:
        _install([sys.executable, "-m", "venv", str(folder)])
        _install([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", str(requirements)])
    ready.touch()
    return python


def _install(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-12:])
        raise PeerFailed(f"{' '.join(command)} ended with {done.returncode}:\n{said}")


@contextmanager
def peer(name: str, shared: dict[str, Any], *, seconds: float) -> Iterator[Peer]:
    """Start a peer, hand it over, and end it.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    shared : dict
        The first line.
    seconds : float
        How long one row may take.
    """
    started = Peer(name, environment(name), shared, seconds)
    try:
        yield started
    finally:
        started.end()


class Peer:
    """A running adapter. `setup` is its answer to the first line."""

    def __init__(self, name: str, python: Path, shared: dict[str, Any], seconds: float) -> None:
        self.name, self._python, self._shared, self._seconds = name, python, shared, seconds
        self.setup: dict[str, Any] = {}
        self._start()

    def _start(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix=f"peer-{self.name}-")  # empty: nothing to import by accident
        environ = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
        environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "PYTHONUTF8": "1"}
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed in `end`)
        self._process = subprocess.Popen(
            [str(self._python), "-P", str(HERE / self.name / "adapter.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True,
            cwd=self._folder.name, env=environ,
        )  # fmt: skip
        self._lines: queue.Queue[str | None] = queue.Queue()
        assert self._process.stdout is not None
        threading.Thread(target=_pump, args=(self._process.stdout, self._lines), daemon=True).start()
        self.setup = self._exchange(self._shared, START_SECONDS)
        if not self.setup.get("ready"):
            said = self._said()
            self.end()
            raise PeerFailed(f"peer {self.name} did not start: {self.setup.get('error')}\n{said}")

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the answer about one row; a failure is ``{"row": None, "error": ...}``."""
        began = time.perf_counter()
        answer = self._exchange(request, self._seconds)
        if "error" in answer:
            answer = {"row": None, "calls": None, "seconds": round(time.perf_counter() - began, 3), **answer}
            if answer.get("gone"):
                self.end()
                self._start()
        return answer

    def _exchange(self, message: dict[str, Any], seconds: float) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            return {"error": f"no answer within {seconds:g} s", "gone": True}
        except OSError:
            line = None
        if line is None:
            return {"error": f"the process ended: {self._said()}", "gone": True}
        return dict(json.loads(line))

    def _said(self) -> str:
        self._errors.flush()
        self._errors.seek(0)
        return "\n".join(self._errors.read().splitlines()[-8:])

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                stream.close()
        self._folder.cleanup()


def _pump(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    """Hand lines on until the process ends."""
    try:
        for line in stream:
            lines.put(line)
    except ValueError:  # closed under our feet by `end`
        pass
    lines.put(None)
