"""The data sets that fairpath is shown and measured on, each with its card and policy."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache as remember
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from . import lender
from ._delimited import read_delimited
from .errors import DataError, did_you_mean
from .fetch import Progress, fetch, sha256_of
from .lender import Lender, simulate_lender

__all__ = [
    "Card",
    "DataFile",
    "Dataset",
    "Lender",
    "card",
    "load",
    "names",
    "policy_path",
    "simulate_lender",
    "table_sha256",
]


Columns = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DataFile:
    """One raw file of a data set.

    `sha256` holds every hash under which the same content is known, the public home's first; `url` is given only where
    the licence lets anyone fetch it, with `member` if it is a ZIP archive.
    """

    name: str
    bytes: int
    sha256: tuple[str, ...]
    url: str | None = None
    member: str | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """What is known about a data set.

    `rows` counts the raw rows and `usable` those that `load` keeps; `columns` are the raw columns in the order of the
    file; `table_sha256` is the canonical hash of all raw rows (see the function of that name); `no_policy` says why
    there is no policy, where there is none.
    """

    name: str
    title: str
    source: str
    home: str
    obtain: str
    licence: str
    redistribution: str
    rows: int
    usable: int
    table_sha256: str
    target: str
    favourable: str
    label_meaning: Literal["repaid", "past_decision", "other"]
    sensitive: tuple[str, ...]
    defects: tuple[str, ...]
    citation: str
    columns: tuple[str, ...]
    files: tuple[DataFile, ...]
    no_policy: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """A data set, read.

    Attributes
    ----------
    name : str
    frame : DataFrame
        The features as the source spells them; index 0, 1, ...
    target : Series of 0 and 1
        1 is the outcome that is good for the applicant.
    extra : DataFrame
        Columns that are neither feature nor target (weights, past decisions, outputs of an audited tool), if any.
    card : Card
    """

    name: str
    frame: pd.DataFrame
    target: pd.Series
    extra: pd.DataFrame
    card: Card

    @property
    def policy(self) -> Path:
        """The path of the hand-made policy."""
        return policy_path(self.name)


def names() -> tuple[str, ...]:
    """Return the names that `load` knows.

    Examples
    --------
    >>> names()[:3]
    ('adult', 'compas', 'german_credit')
    """
    return tuple(sorted(_READERS))


@remember
def card(name: str) -> Card:
    """Return the card of a data set.

    Examples
    --------
    >>> card("german_credit").licence
    'CC BY 4.0'
    """
    content: dict[str, Any] = tomllib.loads((_folder(name) / "card.toml").read_text(encoding="utf-8"))
    content["files"] = [DataFile(**{**file, "sha256": tuple(file["sha256"])}) for file in content["files"]]
    frozen: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}
    return Card(**frozen)


def policy_path(name: str) -> Path:
    """Return the path of a data set's hand-made policy.

    Raises
    ------
    DataError
        If the data set is unknown, or holds nothing that a person could be advised to change.

    Examples
    --------
    >>> policy_path("lender").name
    'policy.toml'
    """
    path = _folder(name) / "policy.toml"
    if not path.is_file():
        raise DataError(f"there is no policy for {name!r}: {card(name).no_policy}")
    return path


def load(
    name: str | Card,
    *,
    path: str | Path | None = None,
    download: bool = False,
    cache: str | Path | None = None,
    complete: bool = True,
    progress: Progress | None = None,
) -> Dataset:
    """Read a data set from its original files; hashes of files and of the parsed table are checked.

    Files are looked for in `path` if given, else in `$FAIRPATH_DATA/<name>/`, else in the user's cache. The simulated
    lender is embedded in the package.

    Parameters
    ----------
    name : str or Card
        One of `names()`, or a card of one of them that names other homes.
    path : path, optional
        The folder that holds the files, or the file itself where there is one only.
    download : bool
        Fetch what is not there from its public home into the cache. Only for data whose licence is open; for the
        others the error says where to get them and on what terms.
    cache : path, optional
        A folder to use in place of the user's cache.
    complete : bool
        Leave out the rows that the card declares unusable (HELOC: all 23 features are -9; COMPAS: ProPublica's filter).
    progress : callable (bytes so far, bytes in all or None), optional
        Called while downloading.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        If a file is missing or is not the one the card describes, or a download fails.

    Examples
    --------
    >>> data = load("lender")
    >>> data.frame.shape, float(data.target.mean().round(2))
    ((10000, 17), 0.79)
    """
    about = name if isinstance(name, Card) else card(name)
    reader = _READERS.get(about.name)
    if reader is None:
        raise _unknown(about.name)
    files = _files(about, path=path, download=download, cache=cache, progress=progress)
    read = reader(files, about.columns)
    found = table_sha256(read.frame, read.target)
    if found != about.table_sha256:
        raise DataError(
            f"{about.name}: the files are the right ones, but the table read from them has SHA-256 {found}, not "
            f"{about.table_sha256}; this pandas ({pd.__version__}) reads them differently from the one we know."
        )
    if complete and read.usable is not None:
        read = _Read(*(part[read.usable].reset_index(drop=True) for part in (read.frame, read.target, read.extra)))
    return Dataset(about.name, read.frame, read.target, read.extra, about)


def table_sha256(frame: pd.DataFrame, target: pd.Series) -> str:
    """Return the canonical SHA-256 of a table: the features in order, then the target.

    A column of numbers is the line ``name<TAB>rows<TAB>number`` followed by its values as little-endian float64
    (missing is the quiet NaN 0x7ff8000000000000, there is no -0); a column of text is ``name<TAB>rows<TAB>text``
    followed by the values as a JSON array in ASCII, missing as null, and a line feed. The index is left out, and whole
    numbers hash alike whether stored as integers or floats.

    Examples
    --------
    >>> frame = pd.DataFrame({"income": [41_000, 38_500]})
    >>> table_sha256(frame, pd.Series([1, 0], name="repaid"))[:8]
    '5b6cae91'
    """
    digest = hashlib.sha256()
    for column in (*(frame[name] for name in frame.columns), target):
        numeric = pd.api.types.is_numeric_dtype(column.dtype)
        digest.update(f"{column.name}\t{len(column)}\t{'number' if numeric else 'text'}\n".encode())
        if numeric:
            values = column.to_numpy(dtype="<f8", na_value=np.nan) + 0.0
            digest.update(np.where(np.isnan(values), np.nan, values).astype("<f8").tobytes())
        else:
            text = [None if missing else value for value, missing in zip(column.tolist(), column.isna())]
            digest.update(json.dumps(text, separators=(",", ":")).encode() + b"\n")
    return digest.hexdigest()


# ---------------------------------------------------------------------------------------------- where the files are


def _unknown(name: str) -> DataError:
    return DataError(f"no data set named {name!r}.{did_you_mean(name, names())} There are {', '.join(names())}.")


def _folder(name: str) -> Path:
    """Return the folder of card and policy: in the package if installed, beside it in a checkout."""
    if name not in _READERS:
        raise _unknown(name)
    package = Path(__file__).resolve().parent
    installed = package / "_data" / name
    return installed if installed.is_dir() else package.parent / "datasets" / name


def _user_cache() -> Path:
    """Return the user's cache folder, by the custom of the platform."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "fairpath" / "datasets"


def _files(
    about: Card, *, path: str | Path | None, download: bool, cache: str | Path | None, progress: Progress | None
) -> dict[str, Path]:
    """Find or fetch every file of a data set, each with the right hash."""
    if path is not None:
        if download:
            raise DataError("`path` and `download=True` are two places to take the files from; give one of them.")
        given = Path(path)
        places = [given.parent if given.is_file() and len(about.files) == 1 else given]
        alone = given if given.is_file() else None
        return {file.name: _checked(about, file, alone or _find(about, file, places)) for file in about.files}
    home = (Path(cache) if cache is not None else _user_cache()) / about.name
    shared = os.environ.get("FAIRPATH_DATA")
    places = [_folder(about.name)] if about.name == "lender" else [Path(shared) / about.name] if shared else []
    found: dict[str, Path] = {}
    for file in about.files:
        kept = home / file.name
        elsewhere = next((place / file.name for place in places if (place / file.name).is_file()), None)
        if elsewhere is not None:
            found[file.name] = _checked(about, file, elsewhere)
        elif not download:
            found[file.name] = _checked(about, file, _find(about, file, [*places, home]))
        elif kept.is_file() and sha256_of(kept) in file.sha256:
            found[file.name] = kept
        elif file.url is None:
            raise DataError(f"{about.name} cannot be downloaded for you ({about.redistribution}). {about.obtain}")
        else:
            found[file.name] = fetch(file.url, kept, sha256=file.sha256, member=file.member, progress=progress)
    return found


def _find(about: Card, file: DataFile, places: list[Path]) -> Path:
    for place in places:
        if (place / file.name).is_file():
            return place / file.name
    looked = " and ".join(str(place) for place in places)
    remedy = f"name the folder with `path`, or set FAIRPATH_DATA to the folder that holds {about.name}/"
    if file.url is not None:
        remedy += f", or fetch it with load({about.name!r}, download=True) (licence: {about.licence})"
    else:
        remedy += f". {about.obtain}"
    raise DataError(f"{about.name}: no file {file.name!r} in {looked}; {remedy}")


def _checked(about: Card, file: DataFile, path: Path) -> Path:
    found = sha256_of(path)
    if found not in file.sha256:
        raise DataError(
            f"{path} is not the file that the card of {about.name} describes: its SHA-256 is {found} "
            f"({path.stat().st_size:,} bytes), expected {' or '.join(file.sha256)} ({file.bytes:,} bytes). "
            f"{about.obtain}"
        )
    return path


# ------------------------------------------------------------------------------------------------ how they are read


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """All raw rows; `usable` marks those that the card does not declare unusable."""

    frame: pd.DataFrame
    target: pd.Series
    extra: pd.DataFrame
    usable: pd.Series | None = None


def _lender(files: Mapping[str, Path], columns: Columns) -> _Read:
    table = lender.from_bytes(files["lender.csv.gz"].read_bytes())[list(columns)]
    extra = pd.DataFrame(
        {
            "approved_before": table["approved_before"],
            "repaid_observed": lender.observed(table["repaid"], table["approved_before"]),
            "repay_probability": table["repay_probability"],
        }
    )
    return _Read(table[list(lender.FEATURES)], table["repaid"], extra)


def _heloc(files: Mapping[str, Path], columns: Columns) -> _Read:
    table = read_delimited(files["heloc_dataset_v1.csv"])[list(columns)]
    frame = table.drop(columns="RiskPerformance")
    good = _outcome("good", table["RiskPerformance"] == "Good")
    return _Read(frame, good, _none(table), usable=~(frame == -9).all(axis=1))


def _german_credit(files: Mapping[str, Path], columns: Columns) -> _Read:
    table = read_delimited(files["german.data"], sep=" ", header=None, names=columns)
    return _Read(table.drop(columns="class"), _outcome("good", table["class"] == 1), _none(table))


def _south_german_credit(files: Mapping[str, Path], columns: Columns) -> _Read:
    # the public home's file has German column names and CRLF, other copies English names and LF; the order is the same
    table = read_delimited(files["SouthGermanCredit.asc"], sep=" ", header=0, names=columns)
    return _Read(table.drop(columns="credit_risk"), _outcome("good", table["credit_risk"] == 1), _none(table))


def _adult(files: Mapping[str, Path], columns: Columns) -> _Read:
    options: dict[str, Any] = {"header": None, "names": columns, "skipinitialspace": True, "missing": ("?",)}
    train = read_delimited(files["adult.data"], **options)
    test = read_delimited(files["adult.test"], skiprows=1, **options)
    table = pd.concat([train.assign(part="train"), test.assign(part="test")], ignore_index=True)
    above = _outcome("above_50k", table["income"].str.rstrip(".") == ">50K")
    return _Read(table.drop(columns=["fnlwgt", "income", "part"]), above, table[["fnlwgt", "part"]])


def _compas(files: Mapping[str, Path], columns: Columns) -> _Read:
    table = read_delimited(files["compas_two_years_nopii.csv"])[list(columns)]
    usable = (
        table["days_b_screening_arrest"].between(-30, 30)
        & (table["is_recid"] != -1)
        & (table["c_charge_degree"] != "O")
        & (table["score_text"] != "N/A")
    )
    free = _outcome("not_rearrested", table["two_year_recid"] == 0)
    # everything else in the file is either the audited tool's output or known only after the outcome
    history = [name for name in columns if name.startswith("juv_")]
    features = ["sex", "age", "race", *history, "priors_count", "c_charge_degree"]
    return _Read(table[features], free, table.drop(columns=[*features, "two_year_recid"]), usable=usable)


def _hmeq(files: Mapping[str, Path], columns: Columns) -> _Read:
    table = read_delimited(files["hmeq.csv"])[list(columns)]
    return _Read(table.drop(columns="BAD"), _outcome("repaid", table["BAD"] == 0), _none(table))


def _law_school(files: Mapping[str, Path], columns: Columns) -> _Read:
    table = read_delimited(files["law_school_clean.csv"])[list(columns)]
    codes = ["fulltime", "fam_inc", "male", "tier"]  # written as 1.0, 2.0, ...
    table[codes] = table[codes].astype("int64")
    return _Read(table.drop(columns="pass_bar"), _outcome("pass_bar", table["pass_bar"] == 1), _none(table))


def _hmda(files: Mapping[str, Path], columns: Columns) -> _Read:
    table = read_delimited(files["hmda_sample.csv"])[list(columns)]
    exempt = table["debt_to_income_ratio"].eq("Exempt").fillna(False)
    for name in ("loan_to_value_ratio", "property_value"):
        table[name] = table[name].replace("Exempt", np.nan).astype("float64")
    race = table["applicant_race-1"]
    table["applicant_race-1"] = race.astype("Int64").astype("str").where(race.notna())  # codes, not quantities
    approved = _outcome("approved", table["approved"] == 1)
    return _Read(table.drop(columns="approved"), approved, pd.DataFrame({"exempt": exempt.astype("int64")}))


def _outcome(name: str, favourable: pd.Series) -> pd.Series:
    """Return 1 where the outcome is good for the applicant; the name says what 1 means."""
    return favourable.astype("int64").rename(name)


def _none(table: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(index=table.index)


_READERS: dict[str, Callable[[Mapping[str, Path], Columns], _Read]] = {
    "adult": _adult,
    "compas": _compas,
    "german_credit": _german_credit,
    "heloc": _heloc,
    "hmda_tx_2022": _hmda,
    "hmeq": _hmeq,
    "law_school": _law_school,
    "lender": _lender,
    "south_german_credit": _south_german_credit,
}
