"""A CSV or Parquet file as a frame whose cells mean what the policy and the model mean by them."""

from __future__ import annotations

import codecs
import csv
import hashlib
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from ..errors import DataError, did_you_mean

if TYPE_CHECKING:
    from ..models.base import Level, Model
    from ..policy import Policy

MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL")  # in a column of numbers; text has only ""


def read_table(path: Path) -> pd.DataFrame:
    """Read a file as it stands: every cell of a CSV file as text, a Parquet file with its own types.

    Raises
    ------
    DataError
        If the file is empty, cut off, of another kind, or has two columns of one name.
    """
    if not path.is_file():
        raise DataError(
            f"{path} is a folder; expected a CSV or Parquet file" if path.is_dir() else f"{path}: no such file"
        )
    with path.open("rb") as stream:
        start = stream.read(4096)
    if not start.strip():
        raise DataError(f"{path} is empty; expected a header line with column names, then one applicant a line")
    frame = _parquet(path) if start[:4] == b"PAR1" else _csv(path, start)
    if frame.empty:
        raise DataError(f"{path} has column names but no rows")
    return frame


_PACKED = {
    b"\x1f\x8b": "compressed (gzip): unpack it first",
    b"PK\x03\x04": "a spreadsheet or a ZIP archive: save the table as CSV, or unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed (zstd): unpack it first",
}


def _parquet(path: Path) -> pd.DataFrame:
    try:
        table = pa.parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet ({error}); is the file complete?") from None
    _one_of_each(table.column_names, path)
    return table.to_pandas(ignore_metadata=True)


def _csv(path: Path, start: bytes) -> pd.DataFrame:
    if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise DataError(f"{path} is written in UTF-16; save the file as UTF-8")
    for magic, words in _PACKED.items():
        if start.startswith(magic):
            raise DataError(f"{path} is {words}; expected CSV or Parquet")
    if path.suffix.lower() in (".parquet", ".pq") or b"\0" in start:
        raise DataError(f"{path} is neither CSV nor Parquet; is the file complete?")
    first = start.decode("utf-8", errors="replace").lstrip("\ufeff").splitlines()[0]
    if "," not in first:
        for separator, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
            if separator in first:
                raise DataError(f"{path} is separated by {name}; expected commas")
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            lines = (line for line in csv.reader(stream) if line)
            names = next(lines)
            if next(lines, None) is None:
                raise DataError(f"{path} has column names but no rows")
        for name in names:
            if any("\udc80" <= character <= "\udcff" for character in name):  # a byte that is no UTF-8
                shown = name.encode("utf-8", "surrogateescape").decode("latin-1")
                raise DataError(f"{path}: the column name {shown!r} is not UTF-8; save the file as UTF-8")
        _one_of_each(names, path)
        table = pa.csv.read_csv(
            path,
            read_options=pa.csv.ReadOptions(use_threads=False),  # with threads, errors do not name the row
            parse_options=_PARSING,
            convert_options=pa.csv.ConvertOptions(
                column_types={name: pa.string() for name in names}, strings_can_be_null=False
            ),
        )
    except (pa.ArrowException, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV: {_shorter(str(error))}") from None
    return pd.DataFrame({name: table.column(name).to_numpy(zero_copy_only=False) for name in names}, columns=names)


_PARSING = pa.csv.ParseOptions(newlines_in_values=True)


def _shorter(message: str) -> str:
    """Drop arrow's prefix, and the rest of a line that may be long."""
    message = message.removeprefix("CSV parse error: ").removeprefix("In CSV column ")
    if "invalid UTF8" in message or "invalid UTF-8" in message:
        return f"{message}; save the file as UTF-8"
    return message if len(message) <= 160 else f"{message[:157]}..."


def _one_of_each(names: Sequence[str], path: Path) -> None:
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise DataError(f"{path} has more than one column named {twice[0]!r}; rename or drop one")


def typed(frame: pd.DataFrame, policy: Policy, model: Model | None = None) -> pd.DataFrame:
    """Return the columns that the policy or the model names, with text read as what they expect there.

    A column whose levels are text stays text (``01`` is not 1, and ``NA`` may be a level); any other becomes numbers,
    where ``NA``, ``NaN``, ``null`` and the empty cell are missing. A cell that is no number stays as it is: whoever
    encodes the row names it.
    """
    levels: dict[str, tuple[Level, ...] | None] = {}
    if model is not None:
        levels = {column.name: column.levels for column in model.columns}
    for name, feature in policy.features.items():
        levels[name] = (feature.levels or (0, 1)) if feature.listed else levels.get(name)
    for name in policy.other_columns:
        levels.setdefault(name, None)
    return pd.DataFrame(
        {name: _column(frame[name], levels[name]) for name in map(str, frame.columns) if name in levels},
        index=frame.index,
    )


def _column(series: pd.Series[Any], levels: Collection[Level] | None) -> pd.Series[Any]:
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(object)
    if not (series.dtype == object or isinstance(series.dtype, pd.StringDtype)):
        return series
    if levels is not None:
        spelt = {str(level): level for level in levels}
        spelt |= {text.lower(): level for text, level in spelt.items() if isinstance(level, bool)}
        cells = [_level(cell, spelt) for cell in series]
        return pd.Series(cells, index=series.index, dtype=object)
    cells = [_number(cell) for cell in series]
    whole = all(type(cell) is int for cell in cells)
    if whole or all(isinstance(cell, int | float) for cell in cells):
        return pd.Series(np.array(cells, dtype=np.int64 if whole else np.float64), index=series.index)
    return pd.Series(cells, index=series.index, dtype=object)


def _level(cell: Any, spelt: dict[str, Level]) -> Any:
    if not isinstance(cell, str):
        return cell
    if cell in spelt:
        return spelt[cell]
    if cell == "":
        return None
    number = _number(cell)
    if isinstance(number, float) and number.is_integer() and str(int(number)) in spelt:
        level = spelt[str(int(number))]  # 1.0 in a file where 1 is meant; text levels are never numbers
        return cell if isinstance(level, str) else level
    if any(isinstance(level, str) for level in spelt.values()):
        return cell
    if cell in MISSING:
        return None
    return {"true": 1, "false": 0}.get(cell.lower(), cell) if set(spelt) == {"0", "1"} else cell


def _number(cell: Any) -> Any:
    if not isinstance(cell, str):
        return np.nan if cell is None or cell is pd.NA else cell
    text = cell.strip()
    if text in MISSING:
        return np.nan
    if "_" in text:
        return cell
    try:
        number = int(text)
        return number if abs(number) < 2**53 else float(number)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return cell


def numbers_only(frame: pd.DataFrame, policy: Policy) -> pd.DataFrame:
    """Return a frame in which cells that are no finite number are missing, for summaries of a file with bad rows."""
    columns = {}
    for name in frame.columns:
        series = frame[name]
        feature = policy.features.get(str(name))
        if feature is None or not feature.listed:
            if series.dtype == object:
                series = pd.to_numeric(series, errors="coerce")
            if pd.api.types.is_float_dtype(series.dtype):
                series = series.where(np.isfinite(series.to_numpy(dtype=float, na_value=np.nan)))
        columns[name] = series
    return pd.DataFrame(columns, index=frame.index)


def with_ids(frame: pd.DataFrame, id_column: str | None) -> pd.DataFrame:
    """Return the frame with the applicants' ids, as text, for an index; without a column, rows are numbered from 0.

    Raises
    ------
    DataError
        If there is no such column, or an id is missing or stands twice.
    """
    if id_column is None:
        return frame.set_axis([str(i) for i in range(len(frame))], axis=0)
    if id_column not in frame.columns:
        raise DataError(f"no column named {id_column!r} for ids.{did_you_mean(id_column, map(str, frame.columns))}")
    ids = []
    for i, cell in enumerate(frame[id_column]):
        if cell is None or cell is pd.NA or cell != cell or cell == "":
            raise DataError(f"column {id_column!r}, row {i}: the id is missing")
        ids.append(str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell))
    seen: set[str] = set()
    for i, name in enumerate(ids):
        if name in seen:
            raise DataError(f"column {id_column!r}, row {i}: the id {name!r} stands twice; ids must be unique")
        seen.add(name)
    return frame.set_axis(ids, axis=0)


def chosen_ids(text: str, known: Iterable[str]) -> list[str]:
    """Return the ids that ``--ids`` names, as ``a,b,c`` or as a file with one a line.

    Raises
    ------
    DataError
        If none is named, or one is not in the data.
    """
    if _is_file(text):
        wanted = [line.strip() for line in Path(text).read_text(encoding="utf-8-sig").splitlines()]
    else:
        wanted = [part.strip() for part in text.split(",")]
    wanted = [name for name in wanted if name]
    if not wanted:
        raise DataError("--ids names no applicant; give ids separated by commas, or a file with one a line")
    present = set(known)
    absent = [name for name in wanted if name not in present]
    if absent:
        more = f" (and {len(absent) - 1:,} more)" if len(absent) > 1 else ""
        hint = did_you_mean(absent[0], present)
        if len(wanted) == 1 and not hint:
            hint = " Nor is there a file of that name."
        raise DataError(f"no applicant with id {absent[0]!r}{more} in the data.{hint}")
    return wanted


def _is_file(text: str) -> bool:
    """Tell whether a text is the path of a file; a list of ids may be longer than any path."""
    try:
        return Path(text).is_file()
    except OSError:
        return False


def file_sha256(path: Path) -> str:
    """Return the hash of a file's bytes."""
    with path.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"


def guessed(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with every column of text that holds only numbers as numbers, and empty cells missing."""
    columns = {}
    for name in frame.columns:
        series = frame[name]
        if series.dtype == object or isinstance(series.dtype, pd.StringDtype):
            numbers = _column(series, None)
            if numbers.dtype == object:
                numbers = series.astype(object).where(series != "", None)
            series = numbers
        columns[str(name)] = series
    return pd.DataFrame(columns, index=frame.index)
