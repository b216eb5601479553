"""What learned from erased words leaves service without waiting for a run, and takes nothing else with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from records import adapter_row, correction, response, running
from served import serving, wait_until

from align import alignment as module
from align.adapter_files import adapter_digest
from align.errors import NotFound
from align.state import Blobs, Rollout, Store, Terms
from align.state.rollouts import INITIAL, Desired
from serve.aligner import Aligner
from serve.retirement import Retirement, successor
from serve.settings import AlignmentSettings, Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state=tmp_path, alignment=AlignmentSettings(poll_s=0.01))


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    store = Store(settings.database_url)
    yield store
    store.close()


@pytest.fixture
def tree(settings: Settings) -> Blobs:
    return Blobs(settings.blobs_url, cache=settings.state / "cache")


@pytest.fixture
def retirement(store: Store, tree: Blobs) -> Retirement:
    return Retirement(store, tree, prepare_s=30.0)


def learned(store: Store, tree: Blobs, folder: Path, index: int, **changes: str) -> str:
    """A version with files that a run made of the correction c<index>."""
    store.responses.add(response(f"r{index}"))
    store.corrections.add(correction(f"c{index}", response_id=f"r{index}"))
    run_id = running(store)
    store.runs.update(store.runs.get(run_id), manifest={"train": [f"c{index}"], "last_sequence": index + 1})
    files = folder / f"made-{index}"
    files.mkdir()
    (files / "adapter_model.safetensors").write_bytes(f"weights {index}".encode())
    values = {"blob": f"adapters/d{index}", **changes}
    tree.put_folder(files, values["blob"])
    return adapter_row(store, run_id=run_id, **values).version


def serve(
    store: Store, live: str, candidate: str | None = None, share: float = 0.0, terms: Terms | None = None
) -> None:
    rollout = store.rollouts.propose(live, candidate, share, terms=terms)
    assert store.rollouts.commit(rollout.generation, ahead_s=0.0)


def settle(store: Store) -> None:
    """As replicas do that have prepared what was proposed."""
    assert store.rollouts.commit(store.rollouts.newest().generation, ahead_s=0.0)


def test_a_live_version_gives_way_to_the_one_before_it_and_is_retired_with_its_files(
    store: Store, tree: Blobs, retirement: Retirement, tmp_path: Path
) -> None:
    for index in range(3):
        serve(store, learned(store, tree, tmp_path, index))
    store.erasures.correction("c2")
    store.erasures.correction("c1")
    retirement.step()
    newest = store.rollouts.newest()
    assert (newest.status, newest.live) == ("preparing", "v0001"), "v0002 may not serve either"
    assert store.adapters.get("v2").status == "retired"
    assert store.adapters.get("v3").status == "admitted", "it answers until the other one is prepared"
    settle(store)
    retirement.step()
    assert store.adapters.get("v3").status == "retired"
    assert tree.fetch_folder("adapters/d0").is_dir()
    for gone in ("d1", "d2"):
        with pytest.raises(NotFound):
            tree.fetch_folder(f"adapters/{gone}")
    assert b"weights 2" not in b"".join(path.read_bytes() for path in (tmp_path / "blobs").rglob("d2/*"))


def test_without_an_earlier_version_the_base_answers(
    store: Store, tree: Blobs, retirement: Retirement, tmp_path: Path
) -> None:
    serve(store, learned(store, tree, tmp_path, 0))
    store.erasures.response("r0")
    retirement.step()
    assert store.rollouts.newest().live == "base"


def test_a_tainted_candidate_goes_and_the_live_version_stays(
    store: Store, tree: Blobs, retirement: Retirement, tmp_path: Path
) -> None:
    for index in range(2):
        learned(store, tree, tmp_path, index)
    serve(store, "v0001")
    serve(store, "v0001", "v0002", 0.1)
    store.erasures.correction("c1")
    retirement.step()
    newest = store.rollouts.newest()
    assert (newest.live, newest.candidate, newest.share, newest.terms) == ("v0001", None, 0.0, None)


def test_a_candidate_keeps_its_share_and_is_judged_on_when_the_live_version_goes(
    store: Store, tree: Blobs, retirement: Retirement, tmp_path: Path
) -> None:
    for index in range(3):
        learned(store, tree, tmp_path, index)
    serve(store, "v0001")
    serve(store, "v0002")
    terms = Terms(alpha=0.01, settled_s=60.0, num_answers=50)
    serve(store, "v0002", "v0003", 0.1, terms)
    store.erasures.correction("c1")
    retirement.step()
    newest = store.rollouts.newest()
    assert (newest.live, newest.candidate, newest.share) == ("v0001", "v0003", 0.1)
    assert newest.as_terms == terms
    assert newest.reason == "a version in service learned from what was erased or rejected"


def test_it_waits_while_another_rollout_is_under_way(
    store: Store, tree: Blobs, retirement: Retirement, tmp_path: Path
) -> None:
    for index in range(2):
        learned(store, tree, tmp_path, index)
    serve(store, "v0001")
    store.erasures.correction("c0")
    other = store.rollouts.propose("v0002")
    retirement.step()
    assert store.rollouts.newest() == other
    settle(store)
    retirement.step()
    assert store.rollouts.newest().live == "v0002"
    assert store.adapters.get("v1").status == "retired"


def test_what_the_gate_refused_or_held_is_retired_with_its_files_as_well(
    store: Store, tree: Blobs, retirement: Retirement, tmp_path: Path
) -> None:
    for index, status in enumerate(("refused", "held")):
        learned(store, tree, tmp_path, index, status=status)
        store.erasures.correction(f"c{index}")
    retirement.step()
    assert [adapter.status for adapter in store.adapters.all()] == ["retired", "retired"]
    for blob in ("d0", "d1"):
        with pytest.raises(NotFound):
            tree.fetch_folder(f"adapters/{blob}")


def test_files_that_another_version_shares_stay(
    store: Store, tree: Blobs, retirement: Retirement, tmp_path: Path
) -> None:
    for index in range(2):
        learned(store, tree, tmp_path, index, blob="adapters/same")
    store.erasures.correction("c0")
    retirement.step()
    assert [adapter.status for adapter in store.adapters.all()] == ["admitted", "retired"]
    assert tree.fetch_folder("adapters/same").is_dir()
    store.erasures.correction("c1")
    retirement.step()
    with pytest.raises(NotFound):
        tree.fetch_folder("adapters/same")


def test_files_that_a_crash_left_are_removed_the_next_time(
    store: Store, tree: Blobs, retirement: Retirement, tmp_path: Path
) -> None:
    version = learned(store, tree, tmp_path, 0)
    kept = learned(store, tree, tmp_path, 1)
    store.erasures.correction("c0")
    for retired in (version, kept):
        store.adapters.retire(retired)
    retirement.remove_left_files()
    with pytest.raises(NotFound):
        tree.fetch_folder("adapters/d0")
    assert tree.fetch_folder("adapters/d1").is_dir(), "it was retired for another reason"


def rollout(generation: int, live: str, status: str = "committed", candidate: str | None = None) -> Rollout:
    return Rollout(generation, 0.0, status, live, candidate, 0.0, 0.0, 0.0)


def test_nothing_is_replaced_where_all_may_serve() -> None:
    desired = Desired((rollout(2, "v0002"), rollout(1, "v0001"), INITIAL), withheld=frozenset({"v0001"}))
    assert successor(desired, desired.committed[0], 1.0) is None


def test_a_version_that_could_not_be_prepared_is_not_tried_again() -> None:
    desired = Desired((rollout(2, "v0002"), rollout(1, "v0001"), INITIAL), withheld=frozenset({"v0002"}))
    in_force = desired.committed[0]
    assert successor(desired, in_force, 1.0) == (in_force, "v0001", None)
    assert successor(desired, rollout(3, "v0001", "abandoned"), 1.0) == (in_force, "base", None)
    assert successor(desired, rollout(3, "v0009", "abandoned"), 1.0) == (in_force, "v0001", None)


def test_a_deletion_does_not_wait_for_a_run_under_way(
    settings: Settings, store: Store, tree: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned(store, tree, tmp_path, 0)
    is_training, may_end = threading.Event(), threading.Event()

    def align(*_: object) -> None:
        is_training.set()
        may_end.wait(20)
        raise NotFound("this run came to nothing")

    monkeypatch.setattr(module, "align", align)
    store.runs.request("request")
    aligner = Aligner(settings)
    aligner.start()
    assert is_training.wait(20)
    store.erasures.correction("c0")
    wait_until(lambda: store.adapters.get("v1").status == "retired")
    may_end.set()
    aligner.stop()


def test_by_another_policy_a_tainted_adapter_stays_as_it_is(
    settings: Settings, store: Store, tree: Blobs, tmp_path: Path
) -> None:
    learned(store, tree, tmp_path, 0)
    store.erasures.correction("c0")
    patient = settings.alignment.model_copy(update={"retire_tainted": False, "min_corrections": 10**6})
    aligner = Aligner(settings.model_copy(update={"alignment": patient}))
    aligner.start()
    time.sleep(0.2)
    assert aligner.is_alive
    aligner.stop()
    assert store.adapters.get("v1").status == "admitted"
    assert tree.fetch_folder("adapters/d0").is_dir()


def test_with_a_replica_a_deleted_correction_takes_its_adapter_out_of_the_answers(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        adapter_row(served.store)  # has no files: nothing may need them
        served.store.rollouts.commit(served.store.rollouts.propose("base").generation, 0.0)
        folder = tmp_path / "adapter"
        folder.mkdir()
        (folder / "adapter_config.json").write_text("{}")
        (folder / "adapter_model.safetensors").write_bytes(b"weights")
        digest = adapter_digest(folder)
        served.replica.blobs.put_folder(folder, f"adapters/{digest}")
        correction_id = served.client.post(
            "/v1/feedback", json={"response_id": served.respond(), "corrected_text": "A blue cup and a fork."}
        ).json()["id"]
        run_id = running(served.store)
        served.store.runs.update(served.store.runs.get(run_id), manifest={"train": [correction_id]})
        adapter_row(served.store, run_id=run_id, digest=digest, blob=f"adapters/{digest}")
        served.client.post("/v1/adapters/v2/promote")
        wait_until(lambda: served.chat().headers["x-errata-adapter"] == "v0002")

        assert served.client.delete(f"/v1/feedback/{correction_id}").json()["tainted"] == ["v0002"]
        assert served.chat().headers["x-errata-adapter"] == "v0002", "it answers until it is replaced"
        retirement = Retirement(served.store, served.replica.blobs, prepare_s=30.0)
        retirement.step()
        wait_until(lambda: served.chat().headers["x-errata-adapter"] == "base")
        retirement.step()
        assert served.store.adapters.get("v2").status == "retired"
        wait_until(lambda: "v0002" not in served.engine.loaded)
        assert served.chat(model="errata-scenes@v0002").status_code == 404
