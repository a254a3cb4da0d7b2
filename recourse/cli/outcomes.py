"""A file of outcomes: a header line, then one line for each applicant, written so that nothing done is lost."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from ..errors import DataError
from ..plan import OUTCOME_SCHEMA, Outcome

FILE_SCHEMA = "fairpath.outcomes/1"
ERROR_SCHEMA = "fairpath.error/1"


@dataclass(frozen=True, slots=True)
class BadRow:
    """An applicant whose row cannot be used, in the place of an outcome."""

    id: str
    error: str

    def to_json(self) -> str:
        """Return the record as one line of JSON."""
        return json.dumps({"schema": ERROR_SCHEMA, "id": self.id, "error": self.error}, ensure_ascii=False)


Record = Outcome | BadRow


def require_place(path: Path, inputs: Mapping[str, Path]) -> None:
    """Raise `DataError` if no file can be written there or an input stands there, before anything is computed."""
    if path.is_dir():
        raise DataError(f"{path} is a folder; --out needs a file")
    if not path.parent.is_dir():
        raise DataError(f"{path.parent}: no such folder for --out")
    if not os.access(path.parent, os.W_OK):
        raise DataError(f"{path.parent}: no permission to write there")
    if path.is_symlink() or (path.exists() and not path.is_file()):  # it would be replaced, as /dev/stdout was once
        raise DataError(f"{path} is no regular file; --out needs one (without --out, --format json writes to stdout)")
    for option, taken in inputs.items():
        if path.exists() and taken.exists() and path.samefile(taken):
            raise DataError(f"--out would overwrite the file that {option} names, {path}; choose another name")


class OutcomeFile:
    """Writes ``FILE.part`` line by line and renames it to ``FILE`` at the end.

    A ``FILE.part`` that an interrupted run of the same header left is taken up where it ends; `done` are its records.
    Use as a context; `finish` renames.
    """

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        self.path = path
        self.part = path.with_name(path.name + ".part")
        self.done: list[Record] = []
        self._header = header
        self._stream: IO[str] | None = None

    def __enter__(self) -> Self:
        """Open the part for this run alone; one of other settings is an error, a half-written last line is cut off."""
        new = not self.part.exists()
        self._stream = self.part.open("a", encoding="utf-8", newline="\n", buffering=1)
        try:
            self._lock()
            whole = 0 if new else self._taken_up()
        except BaseException:
            self._stream.close()
            self._stream = None
            raise
        self._stream.truncate(whole)
        if whole == 0:
            self._write(json.dumps(self._header, ensure_ascii=False, allow_nan=False))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the part, which stays."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def write(self, record: Record) -> None:
        """Append one record."""
        self._write(record.to_json())

    def written(self) -> int:
        """Return how many records the part holds, whole lines as they stand on disk."""
        return max(0, self.part.read_bytes().count(b"\n") - 1)

    def finish(self) -> None:
        """Put the finished file in its place, in one step."""
        assert self._stream is not None
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()
        self._stream = None
        self.part.replace(self.path)

    def _lock(self) -> None:
        """Take the part for this process; the lock goes with it, however it ends."""
        try:
            import fcntl
        except ImportError:  # a system without such locks
            return
        assert self._stream is not None
        try:
            fcntl.flock(self._stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(
                f"another run is writing {self.part}; wait until it has finished, or choose another --out"
            ) from None
        except OSError:  # a file system without such locks
            return

    def _write(self, line: str) -> None:
        assert self._stream is not None
        self._stream.write(line + "\n")

    def _taken_up(self) -> int:
        """Read the records of an earlier run, and return the length of its whole lines in bytes."""
        content = self.part.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole == 0:
            return 0
        lines = content[: whole - 1].decode("utf-8").split("\n")  # text may hold the other ends of lines
        header = _parsed(lines[0], self.part, 1)
        if header != json.loads(json.dumps(self._header)):
            differs = [key for key in self._header if header.get(key) != self._header[key]]
            raise DataError(
                f"{self.part} is of another run (it differs in {', '.join(differs) or 'its form'}); "
                "delete it to start anew, or choose another --out"
            )
        self.done = [_record(_parsed(line, self.part, i), self.part, i) for i, line in enumerate(lines[1:], 2)]
        return whole


def ids_sha256(ids: Iterable[str]) -> str:
    """Return the hash of a list of ids, so that a file can be held to be complete."""
    text = json.dumps(list(ids), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def read_outcomes(path: Path) -> tuple[dict[str, Any], Iterator[Record]]:
    """Return the header of a file of outcomes, and its records one by one.

    Raises
    ------
    DataError
        If the file is no such file, or (while iterating) a line cannot be read.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    with path.open(encoding="utf-8", errors="replace") as stream:
        first = stream.readline()
    if not first.strip():
        raise DataError(f"{path} is empty; expected a file that `recourse find --out` wrote")
    header = _parsed(first, path, 1)
    if header.get("schema") != FILE_SCHEMA:
        raise DataError(f"{path} has no header {FILE_SCHEMA!r}; expected a file that `recourse find --out` wrote")
    return header, _records(path)


def _records(path: Path) -> Iterator[Record]:
    with path.open(encoding="utf-8", errors="replace") as stream:
        for number, line in enumerate(stream, 1):
            if number > 1 and line.strip():
                yield _record(_parsed(line, path, number), path, number)


def _parsed(line: str, path: Path, number: int) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {number}: not JSON ({error.msg}); is the file complete?") from None
    if not isinstance(data, dict):
        raise DataError(f"{path}, line {number}: expected a JSON object, got {line[:40].strip()!r}")
    return data


def _record(data: dict[str, Any], path: Path, number: int) -> Record:
    if data.get("schema") == ERROR_SCHEMA:
        return BadRow(str(data.get("id")), str(data.get("error")))
    if data.get("schema") != OUTCOME_SCHEMA:
        raise DataError(f"{path}, line {number}: expected {OUTCOME_SCHEMA!r}, got {data.get('schema')!r}")
    try:
        return Outcome.from_dict(data)
    except DataError as error:
        raise DataError(f"{path}, line {number}: {error}") from None
