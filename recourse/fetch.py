"""Bring a public file home: whole and with the hash expected, or not at all."""

from __future__ import annotations

import hashlib
import os
import secrets
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from .errors import DataError

Progress = Callable[[int, int | None], None]
_CHUNK = 1 << 16
_AGENT = "fairpath (data set loader)"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(
    url: str,
    target: Path,
    *,
    sha256: tuple[str, ...],
    member: str | None = None,
    progress: Progress | None = None,
    timeout: float = 60.0,
) -> Path:
    """Download `url` to `target`.

    What arrives is written beside the target under a temporary name and takes the target's name only after its hash is
    found right: nobody ever sees half a file, and a file that is there stays as it is when the download fails.

    Parameters
    ----------
    url : str
        An http or https address.
    target : Path
        The file to write; its folder is made if need be.
    sha256 : tuple of str
        The hashes accepted, of the file itself or, with `member`, of that member of the ZIP archive.
    member : str, optional
        The member to take out of a ZIP archive.
    progress : callable (bytes so far, bytes in all or None), optional
        Called after every piece.
    timeout : float
        Seconds without an answer after which the server is given up.

    Returns
    -------
    Path
        `target`.

    Raises
    ------
    DataError
        If the server does not answer, has no such file, sends only part of it, or sends something else.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise DataError(f"{url!r} is no http or https address.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _beside(target) as arrived:
            _receive(url, arrived, progress, timeout)
            if member is None:
                _adopt(arrived, target, sha256, url)
            else:
                with _beside(target) as taken:
                    _take(arrived, member, taken, url)
                    _adopt(taken, target, sha256, f"{member} in {url}")
    except OSError as error:
        raise DataError(f"cannot write {target}: {error}. Name another folder with `cache`.") from error
    return target


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Give a new file in the target's folder, gone afterwards unless it was renamed."""
    temporary = target.with_name(f"{target.name}.{secrets.token_hex(8)}.part")
    temporary.open("xb").close()
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _receive(url: str, target: Path, progress: Progress | None, timeout: float) -> None:
    try:
        request = Request(url, headers={"User-Agent": _AGENT})  # some servers turn away urllib's own name
        with urlopen(request, timeout=timeout) as response, target.open("wb") as file:
            stated = response.headers.get("Content-Length")
            total = int(stated) if stated and stated.isdecimal() else None
            done = 0
            for piece in _pieces(url, response):
                file.write(piece)
                done += len(piece)
                if progress is not None:
                    progress(done, total)
    except HTTPError as error:
        error.close()
        raise DataError(f"{url}: the server answered {error.code} ({error.reason}); {_BY_HAND}") from None
    except (URLError, HTTPException) as error:
        raise _failed(url, error) from error
    if total is not None and done != total:
        raise DataError(f"{url}: {done:,} of {total:,} bytes came; nothing was kept. Try again.")


def _pieces(url: str, response: HTTPResponse) -> Iterator[bytes]:
    """Yield what the server sends; a broken line is a DataError, unlike a full disk."""
    try:
        while piece := response.read(_CHUNK):
            yield piece
    except (OSError, HTTPException) as error:
        raise _failed(url, error) from error


def _failed(url: str, error: Exception) -> DataError:
    return DataError(f"{url}: the download failed ({error or type(error).__name__}); {_BY_HAND}")


def _take(archive: Path, member: str, target: Path, url: str) -> None:
    try:
        with zipfile.ZipFile(archive) as opened, opened.open(member) as source, target.open("wb") as file:
            while piece := source.read(_CHUNK):
                file.write(piece)
    except KeyError:
        raise DataError(f"{url}: the archive has no member {member!r}; {_BY_HAND}") from None
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise DataError(f"{url}: what came is no whole ZIP archive ({error}); {_BY_HAND}") from None


def _adopt(arrived: Path, target: Path, sha256: tuple[str, ...], what: str) -> None:
    found = sha256_of(arrived)
    if found not in sha256:
        raise DataError(
            f"{what}: SHA-256 {found} came, {' or '.join(sha256)} was expected; nothing was kept. "
            f"The file at its home has changed, or something between it and here changed it; {_BY_HAND}"
        )
    os.replace(arrived, target)


_BY_HAND = "get the file by hand and name its folder with `path` or FAIRPATH_DATA."
