"""What a server's processes wrote: at one place while it runs, told as it comes, and kept when it ends."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path

import pytest
from served import wait_until

from serve import session_logs as module
from serve.session_logs import session_logs

NAME = "session_2026-01-02_03-04-05_000006_7"


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """As Ray lays it out: by a link, which is there only when it has started."""
    return begin(tmp_path / "ray", NAME)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


def begin(ray: Path, name: str) -> Path:
    (ray / name / "logs" / "serve").mkdir(parents=True)
    (ray / name / "logs" / "serve" / "controller.log").touch()
    latest = ray / "session_latest"
    latest.unlink(missing_ok=True)
    latest.symlink_to(ray / name)
    return latest


def kept(state: Path) -> dict[str, str]:
    folder = state / "logs" / NAME
    files = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert files.pop("serve/controller.log") == ""
    return files


def test_the_logs_are_at_one_place_while_a_server_runs_and_kept_however_it_ends(
    session: Path, state: Path
) -> None:
    with suppress(SystemExit), session_logs(session, state):
        (session / "logs" / "worker-1.err").write_text("a traceback\n")
        assert (state / "logs" / "current" / "worker-1.err").read_text() == "a traceback\n"
        (session / "logs" / "serve" / "proxy.log").write_text("a line\n")
        raise SystemExit
    assert kept(state) == {"worker-1.err": "a traceback\n", "serve/proxy.log": "a line\n"}
    assert [path.name for path in (state / "logs").iterdir()] == [NAME]


def test_a_server_that_ended_before_ray_was_there_leaves_no_logs(tmp_path: Path, state: Path) -> None:
    with session_logs(tmp_path / "ray" / "session_latest", state):
        pass
    assert list((state / "logs").iterdir()) == []


def test_the_logs_of_a_server_that_was_killed_are_kept_at_the_next_start(
    tmp_path: Path, session: Path, state: Path
) -> None:
    (session / "logs" / "raylet.out").write_text("its last words\n")
    killed = session_logs(session, state)
    killed.__enter__()
    with session_logs(begin(tmp_path / "other", "session_2026-02"), state):
        assert kept(state) == {"raylet.out": "its last words\n"}


def test_of_many_runs_the_last_ones_are_kept(tmp_path: Path, state: Path) -> None:
    for number in range(module.NUM_RUNS + 2):
        with session_logs(begin(tmp_path, f"session_{number}"), state):
            pass
    mine = state / "logs" / "mine.txt"
    mine.touch()
    with session_logs(begin(tmp_path, "session_9"), state):
        pass
    assert sorted(path.name for path in (state / "logs").glob("session_*")) == [
        f"session_{number}" for number in (3, 4, 5, 6, 9)
    ]
    assert mine.exists()


def test_of_large_files_the_ends_are_kept_and_small_ones_whole(
    session: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 100)
    with session_logs(session, state):
        for name, size in (("small", 20), ("large", 1000), ("larger", 2000)):
            (session / "logs" / name).write_text("x" * (size - 1) + "\n")
    assert {name: len(text) for name, text in kept(state).items()} == {"small": 20, "large": 40, "larger": 40}
    assert all(text.endswith("\n") for text in kept(state).values())


def test_logs_that_cannot_be_kept_are_told_and_hide_no_other_end(
    session: Path, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with suppress(SystemExit), session_logs(session, state):
        (session / "logs" / "raylet.out").write_text("its last words\n")
        (state / "logs" / NAME).touch()  # in the way
        raise SystemExit
    assert f"the logs of {NAME} are not kept" in caplog.text


def test_our_own_lines_are_told_whole_as_they_come(session: Path, state: Path) -> None:
    echo = io.StringIO()
    with session_logs(session, state, echo), (session / "logs" / "worker-1.out").open("w") as file:
        file.write(':actor_name:Replica\n{"event": "one"}\n{"event": ')
        file.flush()
        wait_until(lambda: echo.getvalue() == '{"event": "one"}\n')
        file.write('"two"}\n')
        file.flush()
        (session / "logs" / "worker-2.err").write_text("{not ours}\n")
    assert echo.getvalue() == '{"event": "one"}\n{"event": "two"}\n', "the last one at the end"


def test_a_server_runs_where_its_logs_cannot_be_kept(
    session: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("this file system knows no links")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    echo = io.StringIO()
    with session_logs(session, state, echo):
        (session / "logs" / "worker-1.out").write_text('{"event": "request"}\n')
    assert echo.getvalue() == '{"event": "request"}\n'
    assert list((state / "logs").iterdir()) == []
