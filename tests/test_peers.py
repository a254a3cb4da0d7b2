"""The contract with other people's systems: an environment, a process and a folder of its own, JSON lines."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import peers

ADAPTER = """
import json, os, sys, time
shared = json.loads(sys.stdin.readline())
if shared.get("broken"):
    print("no such library", file=sys.stderr)
    sys.exit(3)
told = {"path": sys.path, "files": os.listdir("."), "environ": sorted(os.environ)}
print(json.dumps({"ready": True, "calls": 7, **told}))
sys.stdout.flush()
for line in sys.stdin:
    row = json.loads(line)["row"]
    if row["x"] == "slow":
        time.sleep(60)
    if row["x"] == "end":
        print("I give up", file=sys.stderr)
        os._exit(1)
    said = {"error": "ValueError: odd", "row": None, "calls": 1, "seconds": 0.0} if row["x"] == 1 else {
        "row": {"x": row["x"] + 1}, "calls": 3, "seconds": 0.0}
    print(json.dumps(said))
    sys.stdout.flush()
"""


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A peer with this Python and an adapter that needs no library."""
    folder = tmp_path / "peers" / "made_up"
    folder.mkdir(parents=True)
    (folder / "adapter.py").write_text(ADAPTER)
    (folder / "requirements.txt").write_text("")
    monkeypatch.setattr(peers, "HERE", folder.parent)
    monkeypatch.setattr(peers, "NAMES", ("made_up",))
    monkeypatch.setattr(peers, "environment", lambda name: Path(sys.executable))
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    return "made_up"


def test_a_peer_starts_from_nothing(made_up: str) -> None:
    """The folder is empty, the checkout is not on the path, and no variable of ours tells Python otherwise."""
    with peers.peer(made_up, {}, seconds=20) as peer:
        assert peer.setup["calls"] == 7
        assert peer.setup["files"] == []
        assert "PYTHONPATH" not in peer.setup["environ"]
        assert not any("made_up" in path or path in ("", "/nowhere") for path in peer.setup["path"])


def test_rows_go_there_and_answers_come_back(made_up: str) -> None:
    """One line asks, one line answers; what the library raises is a failure of this row alone."""
    with peers.peer(made_up, {}, seconds=20) as peer:
        assert peer.ask({"row": {"x": 4}}) == {"row": {"x": 5}, "calls": 3, "seconds": 0.0}
        odd = peer.ask({"row": {"x": 1}})
        assert (odd["row"], odd["error"]) == (None, "ValueError: odd")
        assert peer.ask({"row": {"x": 5}})["row"] == {"x": 6}


def test_a_row_that_takes_too_long_or_ends_the_process_is_a_failure(made_up: str) -> None:
    """The next row gets a fresh process, and the failure says what happened."""
    with peers.peer(made_up, {}, seconds=2.0) as peer:
        late = peer.ask({"row": {"x": "slow"}})
        assert (late["row"], late["error"]) == (None, "no answer within 2 s")
        assert peer.ask({"row": {"x": 2}})["row"] == {"x": 3}
        gone = peer.ask({"row": {"x": "end"}})
        assert "I give up" in gone["error"]
        assert peer.ask({"row": {"x": 2}})["row"] == {"x": 3}


def test_a_peer_that_does_not_start_says_why(made_up: str) -> None:
    """The library's own words are in the error."""
    with pytest.raises(peers.PeerFailed, match="no such library"), peers.peer(made_up, {"broken": True}, seconds=5):
        pass


def test_an_unknown_peer_and_a_failed_installation_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error lists the peers there are, or holds the installer's last lines."""
    with pytest.raises(peers.PeerFailed, match="no peer 'mice'; there are cfnow, dice, nice"):
        peers.environment("mice")
    with pytest.raises(peers.PeerFailed, match="ended with 5:\nno wheel"):
        peers._install([sys.executable, "-c", "import sys; print('no wheel'); sys.exit(5)"])
    monkeypatch.setenv("FAIRPATH_PEERS", str(tmp_path))
    assert peers.cache_folder() == tmp_path


@pytest.mark.parametrize("name", peers.NAMES)
def test_requirements_are_pinned(name: str) -> None:
    """A peer's environment is the same on every day: every requirement names one version."""
    lines = (peers.HERE / name / "requirements.txt").read_text().split()
    assert lines
    assert all("==" in line for line in lines)
    assert json.dumps(sorted(lines)) == json.dumps(sorted(set(lines)))
