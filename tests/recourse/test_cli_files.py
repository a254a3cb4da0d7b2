"""Files are read as the policy means them, and a file of outcomes loses nothing."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recourse.cli.frames import chosen_ids, guessed, numbers_only, read_table, typed, with_ids
from recourse.cli.outcomes import BadRow, OutcomeFile, ids_sha256, read_outcomes
from recourse.errors import DataError
from recourse.plan import Outcome, Provenance
from recourse.policy import Policy

POLICY = Policy.from_text("""
[decision]
threshold = 0.5

[features.income]
kind = "number"

[features.months]
kind = "integer"

[features.region]
kind = "category"
levels = ["01", "1", "NA"]

[features.grade]
kind = "ordinal"
levels = [1, 2, 3]

[features.owner]
kind = "flag"

[features.smoker]
kind = "category"
levels = [true, false]
""")
HEAD = "income,months,region,grade,owner,smoker,note\n"


@pytest.fixture
def file(tmp_path: Path) -> Any:
    """Write a file of applicants: ``file("a,b\\n1,2\\n")``."""

    def write(content: str | bytes, name: str = "data.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_cells_become_what_the_policy_means(file: Any) -> None:
    """Levels that are text stay text, even '01' and 'NA'; numbers are numbers; missing is missing."""
    frame = typed(read_table(file(HEAD + "1.5,3,01,2,1,true,x\nNA,4,NA,3.0,0,False,\n,5,,,yes,,z\n")), POLICY)
    assert list(frame.columns) == ["income", "months", "region", "grade", "owner", "smoker"]
    assert frame["income"].tolist()[0] == 1.5
    assert frame["income"].isna().tolist() == [False, True, True]
    assert frame["months"].tolist() == [3, 4, 5]
    assert frame["months"].dtype == np.int64
    assert frame["region"].tolist() == ["01", "NA", None]
    assert frame["grade"].tolist() == [2, 3, None]
    assert frame["owner"].tolist() == [1, 0, "yes"]
    assert frame["smoker"].tolist() == [True, False, None]


def test_a_cell_that_is_no_number_stays_to_be_named(file: Any) -> None:
    """Reading does not decide what a bad row is: whoever encodes it says which cell is wrong."""
    frame = typed(read_table(file(HEAD + "12 %,3,1,1,0,true,\n1_000,1,1,1,0,true,\n")), POLICY)
    assert frame["income"].tolist() == ["12 %", "1_000"]
    assert numbers_only(frame, POLICY)["income"].isna().all()
    assert numbers_only(frame, POLICY)["region"].tolist() == ["1", "1"]


def test_csv_and_parquet_give_the_same_frame(file: Any, tmp_path: Path) -> None:
    """The kind of file makes no difference to what is read."""
    csv = typed(read_table(file(HEAD + "1.5,3,01,2,1,true,x\n2.5,4,NA,3,0,false,y\n")), POLICY)
    typed_file = pd.DataFrame(
        {"income": [1.5, 2.5], "months": [3, 4], "region": ["01", "NA"], "grade": [2, 3], "owner": [1, 0]}
    ).assign(smoker=[True, False], region=lambda f: f["region"].astype("category"))
    typed_file.to_parquet(tmp_path / "data.parquet")
    parquet = typed(read_table(tmp_path / "data.parquet"), POLICY)
    assert csv.to_dict("list") == parquet.to_dict("list")


def test_a_byte_order_mark_and_quotes_are_read(file: Any) -> None:
    """What spreadsheets write is read."""
    path = file(b'\xef\xbb\xbfincome,note\r\n1,"a, ""b""\nc"\r\n')
    assert read_table(path).to_dict("list") == {"income": ["1"], "note": ['a, "b"\nc']}


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("", "data.csv", "data.csv is empty; expected a header line with column names, then one applicant a line"),
        (" \n \n", "data.csv", "data.csv is empty; expected a header line"),
        ("a,b\n", "data.csv", "data.csv has column names but no rows"),
        ("a,b", "data.csv", "data.csv has column names but no rows"),
        (
            "größe,b\n1,2\n".encode("latin-1"),
            "data.csv",
            "the column name 'größe' is not UTF-8; save the file as UTF-8",
        ),
        (gzip.compress(b"a,b\n1,2\n", mtime=0), "data.csv.gz", "data.csv.gz is compressed (gzip): unpack it first"),
        (b"PK\x03\x04 and so on", "data.xlsx", "data.xlsx is a spreadsheet or a ZIP archive: save the table as CSV"),
        ("a,b\n1,2\n".encode("utf-16"), "data.csv", "data.csv is written in UTF-16; save the file as UTF-8"),
        ("a;b\n1;2\n", "data.csv", "data.csv is separated by semicolons; expected commas"),
        ("a\tb\n1\t2\n", "data.csv", "data.csv is separated by tabs; expected commas"),
        ("a,b,a\n1,2,3\n", "data.csv", "data.csv has more than one column named 'a'; rename or drop one"),
        ("a,b\n1,2\n3\n", "data.csv", "data.csv cannot be read as CSV: Row #3: Expected 2 columns, got 1: 3"),
        ("a,b\n1,2,3\n", "data.csv", "data.csv cannot be read as CSV: Row #2: Expected 2 columns, got 3: 1,2,3"),
        (b"a,b\n1,\xff\n", "data.csv", "save the file as UTF-8"),
        (b"\x00\x01\x02", "data.csv", "data.csv is neither CSV nor Parquet; is the file complete?"),
        ("a,b\n1,2\n", "data.parquet", "data.parquet is neither CSV nor Parquet; is the file complete?"),
        (b"PAR1abc", "data.parquet", "data.parquet cannot be read as Parquet"),
    ],
)
def test_an_unreadable_file_is_named(file: Any, content: str | bytes, name: str, message: str) -> None:
    """The error says which file, what is wrong with it and what was expected."""
    path = file(content, name)
    with pytest.raises(DataError) as error:
        read_table(path)
    assert message in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """No such file is an error of ours, not a traceback."""
    with pytest.raises(DataError, match=r"nowhere\.csv: no such file"):
        read_table(tmp_path / "nowhere.csv")


def test_rows_are_numbered_where_no_column_has_ids() -> None:
    """Ids are text, from 0."""
    assert list(with_ids(pd.DataFrame({"a": [5, 6]}), None).index) == ["0", "1"]


def test_ids_are_kept_as_text() -> None:
    """Leading zeros stay; whole numbers of a Parquet file lose their point."""
    assert list(with_ids(pd.DataFrame({"id": ["007", "8"]}), "id").index) == ["007", "8"]
    assert list(with_ids(pd.DataFrame({"id": [7.0, 8.0]}), "id").index) == ["7", "8"]


@pytest.mark.parametrize(
    ("cells", "column", "message"),
    [
        (["1", "2"], "idd", "no column named 'idd' for ids. Did you mean 'id'?"),
        (["1", ""], "id", "column 'id', row 1: the id is missing"),
        (["1", None], "id", "column 'id', row 1: the id is missing"),
        (["1", "1"], "id", "column 'id', row 1: the id '1' stands twice; ids must be unique"),
    ],
)
def test_ids_that_cannot_name_a_row_are_refused(cells: list[Any], column: str, message: str) -> None:
    """An applicant must be found again by the id."""
    with pytest.raises(DataError) as error:
        with_ids(pd.DataFrame({"id": cells}), column)
    assert str(error.value) == message


def test_ids_are_chosen_by_a_list_or_a_file(tmp_path: Path) -> None:
    """``--ids a,b`` and a file with one id a line mean the same."""
    path = tmp_path / "ids.txt"
    path.write_text("a\n\nb\n")
    assert chosen_ids("a, b", ["a", "b", "c"]) == chosen_ids(str(path), ["a", "b", "c"]) == ["a", "b"]


def test_a_long_list_of_ids_is_not_taken_for_a_path() -> None:
    """No system has paths of ten thousand characters; a lender has that many ids."""
    known = [f"A{i:05d}" for i in range(2000)]
    assert chosen_ids(",".join(known), known) == known


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (",", "--ids names no applicant; give ids separated by commas, or a file with one a line"),
        ("ids.txt", "no applicant with id 'ids.txt' in the data. Nor is there a file of that name."),
        ("a,x-17,y", "no applicant with id 'x-17' (and 1 more) in the data. Did you mean 'x-71'?"),
    ],
)
def test_ids_that_are_not_there_are_named(text: str, message: str) -> None:
    """Nobody is left out in silence."""
    with pytest.raises(DataError) as error:
        chosen_ids(text, ["a", "x-71"])
    assert str(error.value) == message


def test_a_draft_sees_numbers_where_only_numbers_stand(file: Any) -> None:
    """Types are guessed for drafts alone."""
    frame = guessed(read_table(file("a,b,c\n1,x,\n2,,0.5\n")))
    assert frame["a"].dtype == np.int64
    assert frame["b"].tolist() == ["x", None]
    assert frame["c"].dtype == np.float64


HEADER = {"schema": "fairpath.outcomes/1", "threshold": 0.5, "ids": "sha256:x"}


def approved(name: str) -> Outcome:
    provenance = Provenance("m", "p", "q", "fairpath 0.1.0", "equal")
    return Outcome(name, "already_approved", None, "point", 0.7, 0.5, (), None, None, provenance)


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    """Lines go to FILE.part; FILE is there when all are written."""
    path = tmp_path / "plans.jsonl"
    with OutcomeFile(path, HEADER) as file:
        file.write(approved("1"))
        assert not path.exists()
        assert len(file.part.read_text().splitlines()) == 2  # on disk already
        file.write(BadRow("2", "column 'income': é"))
        file.finish()
    assert not file.part.exists()
    header, records = read_outcomes(path)
    assert header == HEADER
    assert list(records) == [approved("1"), BadRow("2", "column 'income': é")]


def test_an_interrupted_file_is_taken_up_after_its_last_whole_line(tmp_path: Path) -> None:
    """Half a line is written again, nothing else is."""
    path = tmp_path / "plans.jsonl"
    with OutcomeFile(path, HEADER) as file:
        file.write(approved("1"))
        file.write(approved("2"))
    file.part.write_bytes(file.part.read_bytes()[:-20])
    with OutcomeFile(path, HEADER) as file:
        assert [record.id for record in file.done] == ["1"]
        file.write(approved("2"))
        file.finish()
    assert [record.id for record in read_outcomes(path)[1]] == ["1", "2"]


def test_a_part_is_taken_up_whatever_characters_its_ids_hold(tmp_path: Path) -> None:
    """Only a line feed ends a line of the file; Unicode knows other ends, which JSON leaves as they are."""
    path = tmp_path / "plans.jsonl"
    names = ["a\u2028b", "c\x85d", "e\r\n\x0cf"]
    with OutcomeFile(path, HEADER) as file:
        for name in names:
            file.write(approved(name))
    with OutcomeFile(path, HEADER) as file:
        assert [record.id for record in file.done] == names
        file.finish()
    assert [record.id for record in read_outcomes(path)[1]] == names


def test_the_part_of_another_run_is_not_taken_up(tmp_path: Path) -> None:
    """Two runs are never mixed in one file; the error says how they differ."""
    path = tmp_path / "plans.jsonl"
    with OutcomeFile(path, HEADER) as file:
        file.write(approved("1"))
    before = file.part.read_bytes()
    with pytest.raises(DataError) as error, OutcomeFile(path, {**HEADER, "threshold": 0.6}):
        pass
    assert "is of another run (it differs in threshold); delete it to start anew, or choose another --out" in str(
        error.value
    )
    assert file.part.read_bytes() == before


def test_a_file_that_was_stopped_before_its_header_starts_anew(tmp_path: Path) -> None:
    """A part without one whole line holds nothing."""
    path = tmp_path / "plans.jsonl"
    (tmp_path / "plans.jsonl.part").write_text('{"schema": "fairp')
    with OutcomeFile(path, HEADER) as file:
        assert file.done == []
        file.finish()
    assert json.loads(path.read_text()) == HEADER


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; expected a file that `recourse find --out` wrote"),
        ("id,status\n", "line 1: not JSON (Expecting value); is the file complete?"),
        ('{"schema": "other"}\n', "has no header 'fairpath.outcomes/1'"),
        ("[1]\n", "line 1: expected a JSON object, got '[1]'"),
        (json.dumps(HEADER) + '\n{"schema": "x"}\n', "line 2: expected 'fairpath.outcome/1', got 'x'"),
        (json.dumps(HEADER) + '\n{"schema": "fairpath.outcome/1", "id": "3"}\n', "line 2: outcome '3' has no 'status'"),
    ],
)
def test_a_file_that_holds_no_outcomes_is_named(tmp_path: Path, text: str, message: str) -> None:
    """The error says which line, what came and what was expected."""
    path = tmp_path / "plans.jsonl"
    path.write_text(text)
    with pytest.raises(DataError) as error:
        list(read_outcomes(path)[1])
    assert message in str(error.value)


def test_the_hash_of_ids_knows_their_order() -> None:
    """Completeness is held against who was announced, in which order."""
    assert ids_sha256(["1", "2"]) != ids_sha256(["2", "1"]) != ids_sha256(["12"])
