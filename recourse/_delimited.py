"""Delimited text read as it stands: numbers to the last bit, and only what is named counts as missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd


def read_delimited(source: Path | BinaryIO, *, missing: tuple[str, ...] = ("",), **options: Any) -> pd.DataFrame:
    """Return the table in `source`; `options` are those of `pandas.read_csv`.

    A column is whole numbers (int64) if every field is one, numbers (float64, missing as NaN) if every field that is
    not missing is one, else text. pandas' own reading of decimals differs between its versions in the last bit, hence
    Python's here.
    """
    table = pd.read_csv(source, dtype="str", keep_default_na=False, na_values=list(missing), **options)
    return pd.DataFrame({name: _typed(table[name]) for name in table.columns})


def _typed(column: pd.Series) -> pd.Series:
    gap = column.isna().to_numpy()
    fields = column.to_numpy(dtype=object)
    kinds: tuple[Any, ...] = (np.float64,) if gap.any() else (np.int64, np.float64)
    for kind in kinds:
        try:
            return pd.Series(np.where(gap, np.nan, fields).astype(kind) if gap.any() else fields.astype(kind))
        except ValueError:
            continue
    return column
