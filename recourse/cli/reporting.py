"""How the program speaks: results on stdout, everything else on stderr, an error in one line, an exit code."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Sequence
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from ..errors import CheckFailed, InputError, RecourseError

CHECK_FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130
UNREAD = 141  # as the shell reports every program whose reader stopped early: neither done nor failed
COMPILING = "compiling the search kernels once (half a minute or more; later runs find them in the cache) ..."


class Failure(RecourseError):
    """A check that a command was asked for has failed; what failed is printed already, or is the message."""


class Interrupted(RecourseError):
    """Ctrl-C, with what was saved and how to go on."""


class _Unread(RecourseError):
    """The reader of stdout has seen enough."""


def stdout() -> Console:
    """Return a console for results."""
    return Console(file=sys.stdout, soft_wrap=False, emoji=False, markup=False)


def stderr() -> Console:
    """Return a console for progress, notes and errors."""
    return Console(file=sys.stderr, emoji=False, markup=False)


def note(message: str, *, quiet: bool = False) -> None:
    """Say something that is no result, in one line on stderr."""
    if not quiet:
        sys.stderr.write(f"{_line(message)}\n")
        sys.stderr.flush()


def warn(message: str) -> None:
    """Warn in one line on stderr."""
    note(f"warning: {message}")


class ReportingGroup(TyperGroup):
    """The group of all commands: turns whatever goes wrong into one line on stderr and an exit code."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command and exit: 0 done, 1 a check failed, 2 bad input, 130 interrupted, 141 nobody reads on."""
        words = list(sys.argv[1:] if args is None else args)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # a file or pipe gets UTF-8, whatever the terminal's alphabet
                stream.reconfigure(errors="replace", encoding=None if stream.isatty() else "utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("default", UserWarning)
            warnings.showwarning = _show_warning
            try:
                code = super().main(words, prog_name, complete_var, False, windows_expand_args, **extra)
            except BaseException as error:
                code = _report(error, as_json="--json-errors" in words, debug="--debug" in words)
        if code == INTERRUPTED and threading.active_count() > 1:
            # A search that is under way does not look up; what it had finished is on disk, so nobody needs to wait.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(INTERRUPTED)
        raise SystemExit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        """Run a command, and pass on what typer would else swallow: Ctrl-C and a reader that is gone."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted("stopped before anything was written") from None
        except BrokenPipeError:
            raise _Unread from None


def _report(error: BaseException, *, as_json: bool, debug: bool) -> int:
    """Say what went wrong and return the exit code for it."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, _Unread):  # keep the interpreter's last flush quiet
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD
    if debug and not isinstance(error, KeyboardInterrupt | Interrupted | Failure):
        traceback.print_exception(error)
    message, code = _words(error)
    if message and as_json:
        name = type(error).__name__
        sys.stderr.write(json.dumps({"error": name, "message": message, "exit_code": code}, ensure_ascii=False) + "\n")
    elif message:
        note(f"interrupted: {message}" if code == INTERRUPTED else f"error: {message}")
    return code


def _words(error: BaseException) -> tuple[str, int]:
    """Return the message of an error, in one line, and its exit code."""
    if isinstance(error, Interrupted):
        return _line(str(error)), INTERRUPTED
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return "stopped before anything was written", INTERRUPTED
    if isinstance(error, Failure):
        return _line(str(error)), CHECK_FAILED
    if isinstance(error, InputError):
        return _line(str(error)), BAD_INPUT
    if isinstance(error, CheckFailed):
        return f"{_line(str(error))} (this is a bug of fairpath: nothing of it was written)", CHECK_FAILED
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{(error.strerror or str(error)).lower()}", BAD_INPUT
    if hasattr(error, "format_message"):  # a wrong option, as typer finds it
        return f"{_line(error.format_message())} (see --help)".replace(". (see", " (see"), BAD_INPUT
    name = type(error).__name__
    words = _line(str(error))
    words = words if len(words) <= 200 else f"{words[:197]}..."
    return f"unexpected {name}: {words} (a bug of fairpath; --debug shows where)", CHECK_FAILED


def _line(message: str) -> str:
    """One line, without control characters that data might smuggle to a terminal."""
    joined = ""
    for line in filter(None, (" ".join(line.split()) for line in message.splitlines())):
        joined += line if not joined else f"{' ' if joined.endswith(':') else '; '}{line}"
    return "".join(c if c.isprintable() else " " for c in joined)


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    """Show what a user should know; what libraries tell developers stays out."""
    if issubclass(category, UserWarning):
        warn(str(message))
