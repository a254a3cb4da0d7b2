"""The data sets: found, fetched, checked, and read as their cards say."""

from __future__ import annotations

import dataclasses
import io
import os
import shutil
import threading
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recourse import datasets
from recourse.datasets import Card, DataFile, card, load, names, policy_path, table_sha256
from recourse.errors import DataError
from recourse.fetch import fetch
from recourse.lint import lint_policy
from recourse.policy import Policy, check_costs
from recourse.population import Population

PUBLIC = [name for name in names() if name != "lender"]
WITH_POLICY = ["adult", "german_credit", "heloc", "hmeq", "lender", "south_german_credit"]
SHAPES = {
    "adult": (48_842, 13),
    "compas": (6_172, 8),
    "german_credit": (1_000, 20),
    "heloc": (9_871, 23),
    "hmda_tx_2022": (50_000, 10),
    "hmeq": (5_960, 12),
    "law_school": (20_798, 11),
    "lender": (10_000, 17),
    "south_german_credit": (1_000, 20),
}
FAVOURABLE = {
    "adult": 11_687,
    "compas": 3_363,
    "german_credit": 700,
    "heloc": 4_735,
    "hmda_tx_2022": 36_983,
    "hmeq": 4_771,
    "law_school": 18_505,
    "lender": 7_859,
    "south_german_credit": 700,
}
Raw = Callable[[str], Path]


@pytest.fixture
def raw(data_dir: Raw) -> Raw:
    """Return the folder of one set's raw files, whatever `nowhere` hides; the lender's are in the repository."""
    shared = os.environ.get("FAIRPATH_DATA")

    def find(name: str) -> Path:
        if name == "lender":
            return policy_path(name).parent
        with pytest.MonkeyPatch.context() as patch:
            if shared is not None:
                patch.setenv("FAIRPATH_DATA", shared)
            return data_dir(name)

    return find


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment without data: no FAIRPATH_DATA, an empty cache."""
    monkeypatch.delenv("FAIRPATH_DATA", raising=False)
    return tmp_path / "cache"


# ------------------------------------------------------------------------------------------------------------ reading


@pytest.mark.parametrize("name", names())
def test_each_data_set_is_read_as_its_card_says(name: str, raw: Raw) -> None:
    """Rows, columns, favourable outcomes and sensitive columns are those of the card and of the published counts."""
    data = load(name, path=raw(name))
    about = data.card
    assert data.frame.shape == SHAPES[name]
    assert len(data.frame) == len(data.target) == len(data.extra) == about.usable
    assert int(data.target.sum()) == FAVOURABLE[name]
    assert set(data.target.unique()) == {0, 1}
    assert set(about.sensitive) <= set(data.frame.columns)
    assert about.target in about.columns
    assert about.target not in data.frame.columns
    assert not set(data.frame.columns) & set(data.extra.columns)
    for part in (data.frame, data.target, data.extra):
        assert part.index.equals(pd.RangeIndex(len(data.frame)))
    everything = load(name, path=raw(name), complete=False)
    assert len(everything.frame) == about.rows
    assert table_sha256(everything.frame, everything.target) == about.table_sha256


def test_heloc_leaves_out_the_empty_rows(raw: Raw) -> None:
    """The 588 rows of nothing but -9 go, the index starts anew, all other codes stay."""
    data, everything = load("heloc", path=raw("heloc")), load("heloc", path=raw("heloc"), complete=False)
    empty = (everything.frame == -9).all(axis=1)
    assert empty.sum() == 588
    pd.testing.assert_frame_equal(data.frame, everything.frame[~empty].reset_index(drop=True))
    assert (data.frame["MSinceMostRecentDelq"] == -7).sum() == 4_664
    assert data.frame.dtypes.eq("int64").all()


def test_german_levels_are_the_files_codes(raw: Raw) -> None:
    """Categories keep their A-codes; the three amounts and the ordinals are whole numbers."""
    frame = load("german_credit", path=raw("german_credit")).frame
    assert sorted(frame["status"].unique()) == ["A11", "A12", "A13", "A14"]
    assert frame["amount"].sum() == 3_271_258
    assert round(frame["age"].mean(), 3) == 35.546
    assert frame["personal_status_sex"].value_counts().to_dict() == {"A93": 548, "A92": 310, "A94": 92, "A91": 50}


def test_south_german_is_one_table_in_both_spellings(raw: Raw, tmp_path: Path) -> None:
    """The public home's file (German names, CRLF) and the copy with English names and LF give the same table."""
    copy = raw("south_german_credit") / "SouthGermanCredit.asc"
    german = (
        "laufkont laufzeit moral verw hoehe sparkont beszeit rate famges buerge wohnzeit verm alter weitkred wohn "
        "bishkred beruf pers telef gastarb kredit"
    )
    rows = copy.read_text().splitlines()[1:]
    (tmp_path / "SouthGermanCredit.asc").write_bytes(("\r\n".join([german, *rows]) + "\r\n").encode())
    one, other = load("south_german_credit", path=copy), load("south_german_credit", path=tmp_path)
    pd.testing.assert_frame_equal(one.frame, other.frame)
    pd.testing.assert_series_equal(one.target, other.target)


def test_adult_keeps_gaps_as_gaps(raw: Raw) -> None:
    """A question mark is missing, the survey weight is no feature, training rows come first."""
    data = load("adult", path=raw("adult"))
    gaps = data.frame.isna().sum()
    assert gaps[gaps > 0].to_dict() == {"workclass": 2_799, "occupation": 2_809, "native-country": 857}
    assert "fnlwgt" not in data.frame
    assert data.extra["part"].tolist() == ["train"] * 32_561 + ["test"] * 16_281
    assert data.frame["sex"].value_counts().to_dict() == {"Male": 32_650, "Female": 16_192}


def test_compas_features_do_not_know_the_outcome(raw: Raw) -> None:
    """The published counts by race hold after ProPublica's filter, and nothing after the arrest is a feature."""
    data = load("compas", path=raw("compas"))
    counts = data.frame["race"].value_counts().to_dict()
    assert counts["African-American"] == 3_175
    assert counts["Caucasian"] == 2_103
    assert data.extra["score_text"].value_counts().to_dict() == {"Low": 3_421, "Medium": 1_607, "High": 1_144}
    assert not {"is_recid", "two_year_recid", "decile_score", "score_text"} & set(data.frame.columns)


def test_hmeq_keeps_its_gaps(raw: Raw) -> None:
    """Every missing value of the file is missing in the frame, none is filled."""
    gaps = load("hmeq", path=raw("hmeq")).frame.isna().sum()
    assert int(gaps.sum()) == 5_271
    assert gaps["DEBTINC"] == 1_267
    assert gaps["LOAN"] == 0


def test_hmda_codes_are_text(raw: Raw) -> None:
    """Race codes and ratio bands are text, exempt numbers are missing and marked."""
    data = load("hmda_tx_2022", path=raw("hmda_tx_2022"))
    assert data.frame["applicant_race-1"].value_counts()["5"] == 31_221
    assert data.frame["applicant_race-1"].isna().sum() == 16
    assert {"<20%", "Exempt", "36"} <= set(data.frame["debt_to_income_ratio"].dropna())
    assert data.extra["exempt"].sum() == 960
    assert data.frame["loan_to_value_ratio"].dtype == "float64"


def test_the_canonical_hash_sees_values_and_not_their_storage() -> None:
    """Types and index do not change the hash; a value, a gap, a name or the order of rows and columns does."""
    frame = pd.DataFrame({"a": [1, 2, 3], "b": ["x", None, "z"]})
    target = pd.Series([0, 1, 1], name="y")
    base = table_sha256(frame, target)
    assert table_sha256(frame.astype({"a": "float64"}).set_axis([7, 8, 9]), target) == base
    assert table_sha256(frame.astype({"b": object}), target.astype("Int8")) == base
    assert table_sha256(frame.assign(a=[-0.0, 2, 3]), target) == table_sha256(frame.assign(a=[0.0, 2, 3]), target)
    others = [
        frame.assign(a=[1, 2, np.nextafter(3.0, 4.0)]),
        frame.assign(a=[1, 2, np.nan]),
        frame.assign(b=["x", "", "z"]),
        frame.assign(b=["x", "None", "z"]),
        frame.rename(columns={"a": "A"}),
        frame[["b", "a"]],
        frame.iloc[::-1],
    ]
    hashes = {table_sha256(other, target) for other in others}
    assert len(hashes) == len(others)
    assert base not in hashes


# -------------------------------------------------------------------------------------------------- where files are


@pytest.mark.parametrize("name", PUBLIC)
def test_a_missing_file_says_what_to_do(name: str, nowhere: Path) -> None:
    """Without the file the error names the variable, and the download or the terms."""
    with pytest.raises(DataError) as caught:
        load(name, cache=nowhere)
    message = str(caught.value)
    assert "FAIRPATH_DATA" in message
    assert name in message
    assert ("download=True" in message) == (card(name).files[0].url is not None)


@pytest.mark.parametrize("name", [name for name in PUBLIC if card(name).files[0].url is None])
def test_closed_data_is_never_fetched(name: str, nowhere: Path) -> None:
    """Where no open licence is known, download=True fetches nothing and says where the file can be had."""
    with pytest.raises(DataError, match="cannot be downloaded for you") as caught:
        load(name, cache=nowhere, download=True)
    assert card(name).obtain in str(caught.value)
    assert not nowhere.exists()


def test_places_are_asked_in_order(raw: Raw, nowhere: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`path` comes before $FAIRPATH_DATA, which comes before the cache."""
    source = raw("german_credit") / "german.data"
    kept = nowhere / "german_credit" / "german.data"
    kept.parent.mkdir(parents=True)
    shutil.copyfile(source, kept)
    assert len(load("german_credit", cache=nowhere).frame) == 1_000
    shared = tmp_path / "shared" / "german_credit"
    shared.mkdir(parents=True)
    (shared / "german.data").write_text("not it")
    monkeypatch.setenv("FAIRPATH_DATA", str(shared.parent))
    with pytest.raises(DataError, match="is not the file that the card of german_credit describes"):
        load("german_credit", cache=nowhere)
    assert len(load("german_credit", path=source).frame) == 1_000
    assert len(load("german_credit", path=source.parent).frame) == 1_000


def test_the_users_cache_follows_the_platform(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `cache` the custom of the platform decides; on Linux that is XDG_CACHE_HOME."""
    monkeypatch.setattr(datasets.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(nowhere))
    with pytest.raises(DataError) as caught:
        load("heloc")
    assert str(nowhere / "fairpath" / "datasets" / "heloc") in str(caught.value)


def test_path_and_download_exclude_each_other(tmp_path: Path) -> None:
    """Two sources at once are refused."""
    with pytest.raises(DataError, match="give one of them"):
        load("german_credit", path=tmp_path, download=True)


def test_unknown_names() -> None:
    """A misspelt name is answered with the nearest one and the list."""
    for ask in (load, card, policy_path):
        with pytest.raises(DataError, match=r"Did you mean 'german_credit'.*heloc"):
            ask("german_credits")


# --------------------------------------------------------------------------------------------------------- fetching


class _Home(BaseHTTPRequestHandler):
    """A public home with its bad days."""

    pages: dict[str, bytes]

    def do_GET(self) -> None:
        page = self.pages.get(self.path.removeprefix("/cut"))
        if page is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page[: len(page) // 2] if self.path.startswith("/cut") else page)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


Serve = Callable[[dict[str, bytes]], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serve pages from 127.0.0.1; returns the address they hang below."""
    running: list[ThreadingHTTPServer] = []

    def start(pages: dict[str, bytes]) -> str:
        handler = type("Home", (_Home,), {"pages": pages})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        running.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


TEXT = b"a b\n" + b"1 2\n" * 50_000
HASH = sha256(TEXT).hexdigest()


def test_a_good_file_arrives(serve: Serve, tmp_path: Path) -> None:
    """The file comes whole, under its name, with progress told to the end, and nothing else is left."""
    told: list[tuple[int, int | None]] = []
    target = tmp_path / "new" / "toy.data"
    home = serve({"/toy.data": TEXT})
    assert fetch(f"{home}/toy.data", target, sha256=(HASH,), progress=lambda *step: told.append(step)) == target
    assert target.read_bytes() == TEXT
    assert told[-1] == (len(TEXT), len(TEXT))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert list(target.parent.iterdir()) == [target]


def test_a_member_of_an_archive_arrives(serve: Serve, tmp_path: Path) -> None:
    """From a ZIP archive the member named is taken, and its own hash is checked."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("toy.data", TEXT)
        archive.writestr("../escape.txt", "never unpacked")
    home = serve({"/toy.zip": buffer.getvalue(), "/toy.data": TEXT})
    target = tmp_path / "in" / "toy.data"
    fetch(f"{home}/toy.zip", target, sha256=(HASH,), member="toy.data")
    assert target.read_bytes() == TEXT
    assert list(tmp_path.rglob("*")) == [target.parent, target]
    for url, member, message in [
        ("/toy.zip", "other.data", "no member 'other.data'"),
        ("/toy.data", "toy.data", "no whole ZIP archive"),
    ]:
        with pytest.raises(DataError, match=message):
            fetch(home + url, tmp_path / "in" / "x", sha256=(HASH,), member=member)
    assert list(tmp_path.rglob("*")) == [target.parent, target]


@pytest.mark.parametrize(
    "page, accepted, message",
    [
        ("/cut/toy.data", HASH, r"of 200,004 bytes came|download failed"),
        ("/toy.data", "0" * 64, "was expected; nothing was kept"),
        ("/gone.data", HASH, "answered 404"),
    ],
)
@pytest.mark.parametrize("old", [None, b"an older file"])
def test_a_bad_download_leaves_everything_as_it_was(
    page: str, accepted: str, message: str, old: bytes | None, serve: Serve, tmp_path: Path
) -> None:
    """Cut short, wrong hash, not there: an error, no half file, and what was there before is still there."""
    target, neighbour = tmp_path / "toy.data", tmp_path / "neighbour"
    neighbour.write_bytes(b"not ours")
    if old is not None:
        target.write_bytes(old)
    home = serve({"/toy.data": TEXT})
    with pytest.raises(DataError, match=message):
        fetch(home + page, target, sha256=(accepted,))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "neighbour": b"not ours",
        **({"toy.data": old} if old is not None else {}),
    }


def test_no_server_is_a_data_error(serve: Serve, tmp_path: Path) -> None:
    """A home that does not answer, or is no web address, is named."""
    with pytest.raises(DataError, match="no http or https address"):
        fetch("file:///etc/hostname", tmp_path / "x", sha256=(HASH,))
    with pytest.raises(DataError, match="download failed"):
        fetch("http://127.0.0.1:9/x", tmp_path / "x", sha256=(HASH,))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(serve: Serve, tmp_path: Path) -> None:
    """Where nothing can be written the error says to name another folder."""
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write .* `cache`"):
        fetch(serve({"/x": TEXT}) + "/x", tmp_path / "file" / "x", sha256=(HASH,))


def moved(about: Card, home: str) -> Card:
    """The same data set with another public home."""
    files = tuple(dataclasses.replace(file, url=f"{home}/{file.name}", member=None) for file in about.files)
    return dataclasses.replace(about, files=files)


@pytest.mark.parametrize("name", ["german_credit", "south_german_credit", "adult"])
def test_download_fetches_once_and_then_reads_the_cache(name: str, raw: Raw, nowhere: Path, serve: Serve) -> None:
    """download=True fills the cache from the card's home; a second load needs no home; the table is the right one."""
    pages = {f"/{file.name}": (raw(name) / file.name).read_bytes() for file in card(name).files}
    about = moved(card(name), serve(pages))
    fetched = load(about, download=True, cache=nowhere)
    pages.clear()  # the home is gone
    again = load(about, download=True, cache=nowhere)
    local = load(name, cache=nowhere)
    assert len(fetched.frame) == SHAPES[name][0]
    pd.testing.assert_frame_equal(fetched.frame, again.frame)
    pd.testing.assert_frame_equal(fetched.frame, local.frame)
    assert sorted(path.name for path in (nowhere / name).iterdir()) == sorted(file.name for file in about.files)


def test_a_damaged_cache_is_mended_by_downloading(raw: Raw, nowhere: Path, serve: Serve) -> None:
    """A cached file with a wrong hash is an error that deletes nothing; download=True replaces it by a good one."""
    kept = nowhere / "german_credit" / "german.data"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"damaged")
    with pytest.raises(DataError, match="is not the file"):
        load("german_credit", cache=nowhere)
    with pytest.raises(DataError, match="404"):
        load(moved(card("german_credit"), serve({})), cache=nowhere, download=True)
    assert kept.read_bytes() == b"damaged"
    good = (raw("german_credit") / "german.data").read_bytes()
    load(moved(card("german_credit"), serve({"/german.data": good})), cache=nowhere, download=True)
    assert kept.read_bytes() == good


def test_a_table_that_reads_differently_is_refused(raw: Raw) -> None:
    """The right file with a wrong table hash is an error that names both hashes."""
    about = dataclasses.replace(card("german_credit"), table_sha256="0" * 64)
    with pytest.raises(DataError, match=f"not {'0' * 64}"):
        load(about, path=raw("german_credit"))


def test_public_homes() -> None:
    """Only data under an open licence has an address to fetch from, and it is https."""
    fetchable = {name for name in names() if any(file.url for file in card(name).files)}
    assert fetchable == {"german_credit", "south_german_credit", "adult"}
    for name in fetchable:
        assert card(name).licence == "CC BY 4.0"
        assert all(file.url is not None and file.url.startswith("https://") for file in card(name).files)


# ------------------------------------------------------------------------------------------------ cards and policies


@pytest.mark.parametrize("name", names())
def test_every_data_set_has_its_papers(name: str, checkout: Path) -> None:
    """A card whose keys are the dataclass's, a page for people, and no raw data of third parties in the repository."""
    folder = checkout / "datasets" / name
    content = tomllib.loads((folder / "card.toml").read_text(encoding="utf-8"))
    assert set(content) <= {field.name for field in dataclasses.fields(Card)}
    for file in content["files"]:
        assert set(file) <= {field.name for field in dataclasses.fields(DataFile)}
    assert card(name).name == name
    assert (folder / "README.md").read_text(encoding="utf-8").startswith("# ")
    allowed = {"card.toml", "policy.toml", "README.md"} | ({"lender.csv.gz"} if name == "lender" else set())
    assert {path.name for path in folder.iterdir()} <= allowed


@pytest.mark.parametrize("name", sorted(set(names()) - set(WITH_POLICY)))
def test_where_there_is_no_policy_the_card_says_why(name: str) -> None:
    """A data set without a policy gives a reason when asked for one."""
    with pytest.raises(DataError, match="there is no policy") as caught:
        policy_path(name)
    assert card(name).no_policy
    assert str(card(name).no_policy) in str(caught.value)


@pytest.mark.parametrize("name", WITH_POLICY)
def test_each_policy_fits_its_data(name: str, raw: Raw) -> None:
    """A policy names every column once, knows every level seen, lets something move, and protects what is sensitive.

    What it names beside the columns is reckoned from them: a formula that rules and effects read.
    """
    data, policy = load(name, path=raw(name)), Policy.from_toml(policy_path(name))
    beside = {column: policy.features[column] for column in set(policy.features) - set(data.frame.columns)}
    assert set(data.frame.columns) <= set(policy.features)
    assert all(feature.role == "derived" for feature in beside.values())
    assert policy.movable
    for column in data.card.sensitive:
        assert policy.features[column].role == "protected"
    for column, feature in policy.features.items():
        if column in beside:
            continue
        values = data.frame[column].dropna()
        if feature.listed:
            assert set(values.unique()) <= set(feature.levels or ()), column
            continue
        numbers = values[~values.isin(feature.code_values)].to_numpy(dtype=float)
        if feature.kind in ("integer", "ordinal"):
            assert (numbers % 1 == 0).all(), column
        if feature.movable:
            assert feature.label, column
            if feature.step is not None and feature.step_from == "zero":
                assert (np.round(numbers / float(feature.step), 9) % 1 == 0).all(), f"{column} lies off its grid"


@pytest.mark.parametrize("name", WITH_POLICY)
def test_each_policy_passes_the_lint(name: str, raw: Raw) -> None:
    """Held against its own data, no policy has an error, and its costs can be added up exactly."""
    frame, policy = load(name, path=raw(name)).frame, Policy.from_toml(policy_path(name))
    assert [str(finding) for finding in lint_policy(policy, frame=frame) if finding.level == "error"] == []
    check_costs(policy, Population.from_frame(frame, policy))


def test_heloc_declares_every_code_it_holds(raw: Raw) -> None:
    """No negative value of HELOC is taken for a number."""
    data, policy = load("heloc", path=raw("heloc")), Policy.from_toml(policy_path("heloc"))
    for column in data.frame.columns:
        feature, values = policy.features[column], set(data.frame[column].unique())
        assert {value for value in values if value < 0} <= set(feature.code_values), column


def test_no_plan_worsens_the_file_on_purpose() -> None:
    """German policies never close an account, hide savings, take up other credit, or misstate the purpose."""
    german = Policy.from_toml(policy_path("german_credit")).features
    assert all("A14" not in ends for ends in (german["status"].moves or {}).values())
    assert all("A65" not in ends for ends in (german["savings"].moves or {}).values())
    assert all(ends == ("A143",) for ends in (german["other_plans"].moves or {}).values())
    south = Policy.from_toml(policy_path("south_german_credit")).features
    assert all(1 not in ends for ends in (south["status"].moves or {}).values())
    assert all(1 not in ends for ends in (south["savings"].moves or {}).values())
    for features in (german, south):
        assert not features["purpose"].movable
        assert not features["telephone"].movable
