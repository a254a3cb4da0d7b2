"""The options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """How results are shown on stdout."""

    TABLE = "table"
    JSON = "json"


class Shape(StrEnum):
    """What a plan promises beside its own row."""

    POINT = "point"
    BOX = "box"
    ORTHANT = "orthant"


ModelSource = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="FILE",
        help="The fitted model: XGBoost .json or .ubj, LightGBM .txt, CatBoost .cbm, ONNX .onnx, scikit-learn .skops; "
        "with --black-box also an http(s) address.",
        show_default=False,
    ),
]
AlsoApprove = Annotated[
    list[Path] | None,
    typer.Option(
        "--also-approve",
        metavar="FILE",
        help="A further model that must approve each plan: a challenger, the next release. May be repeated.",
        show_default=False,
    ),
]
Plausibility = Annotated[
    Path | None,
    typer.Option(
        "--plausibility",
        metavar="FILE",
        help="An isolation forest (.skops) that must not call a plan's row an outlier.",
        show_default=False,
    ),
]
PopulationFile = Annotated[
    Path | None,
    typer.Option(
        "--population",
        metavar="FILE",
        help="Rows of the training data, or a saved summary (.json), that costs are measured in; "
        "without it, the data file itself.",
        show_default=False,
    ),
]
ModelFile = Annotated[
    Path,
    typer.Option(
        "--model",
        metavar="FILE",
        help="The fitted model: XGBoost .json or .ubj, LightGBM .txt, scikit-learn .skops.",
        show_default=False,
    ),
]
PolicyFile = Annotated[
    Path,
    typer.Option(
        "--policy", metavar="FILE", help="What applicants may change, and at what cost (TOML).", show_default=False
    ),
]
DataFile = Annotated[
    Path, typer.Option("--data", metavar="FILE", help="The applicants, as CSV or Parquet.", show_default=False)
]
IdColumn = Annotated[
    str | None,
    typer.Option(
        "--id-column",
        metavar="COLUMN",
        help="The column of ids; without it, rows are numbered from 0.",
        show_default=False,
    ),
]
AllowPickle = Annotated[
    bool,
    typer.Option(
        "--allow-pickle", help="Load a pickle or joblib file. It can run any code: only from a trusted source."
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notes on stderr.")]
JsonErrors = Annotated[bool, typer.Option("--json-errors", help="Write an error to stderr as one JSON object.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
