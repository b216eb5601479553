"""Adapters, models and alignments over HTTP: looked at, promoted, rolled back, asked for; refused with a reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from records import adapter_row
from served import FAST, MODEL, Served, error, promote, publish, serving, settle

from serve.rollout_settings import CanarySettings


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path / "state") as served:
        yield served


@pytest.fixture
def published(served: Served, tmp_path: Path) -> Served:
    return publish(served, tmp_path)


def live(served: Served) -> str:
    return str(served.chat().headers["x-errata-adapter"])


def test_a_promotion_is_prepared_and_then_answers(published: Served) -> None:
    promote(published, "v1")
    assert live(published) == "v0001"
    assert published.engine.loaded["v0001"].name == published.store.adapters.get("v1").digest
    promote(published, "base")
    assert live(published) == "base"


def test_a_share_makes_a_candidate_and_a_rollback_ends_it(published: Served) -> None:
    promote(published, "v1")
    promote(published, "v2", share=0.5)
    in_force = published.client.get("/v1/adapters").json()["in_force"]
    assert (in_force["live"], in_force["candidate"], in_force["share"]) == ("v0001", "v0002", 0.5)
    assert {live(published) for _ in range(30)} == {"v0001", "v0002"}
    assert published.client.post("/v1/adapters/rollback").json()["live"] == "v0001"
    settle(published)
    assert {live(published) for _ in range(5)} == {"v0001"}


def test_a_user_meets_the_same_version_each_time(published: Served) -> None:
    promote(published, "v1", share=0.5)

    def met(user: str) -> set[str]:
        return {str(published.chat(user=user).headers["x-errata-adapter"]) for _ in range(5)}

    versions = [met(f"user-{number}") for number in range(12)]
    assert all(len(one) == 1 for one in versions)
    assert set().union(*versions) == {"base", "v0001"}


def test_a_candidate_is_compared_with_the_live_version_by_what_was_corrected_and_what_failed(
    tmp_path: Path,
) -> None:
    now = CanarySettings(settled_s=0.0, num_answers=50)
    with serving(tmp_path / "state", rollout=FAST.model_copy(update={"canary": now})) as served:
        promote(publish(served, tmp_path), "v1", share=0.5)
        ids = {"base": "", "v0001": ""}
        for number in range(12):
            answer = served.chat(user=f"user-{number}")
            ids[answer.headers["x-errata-adapter"]] = answer.json()["id"]
        for pin in ("base", "v0001"):
            served.respond(model=f"{MODEL}@{pin}")
        served.client.post("/v1/feedback", json={"response_id": ids["v0001"], "corrected_text": "By nobody."})
        served.engine.error_after = 2
        for number in range(3):
            error(served.chat(user=f"user-{number}"), 500)
        seen = served.client.get("/v1/adapters/comparison").json()
        new, other = seen["version"], seen["other"]
        assert (seen["kind"], new["version"], other["version"]) == ("canary", "v0001", "base")
        assert new["ended"] + other["ended"] == 12 + 3, "those that named a version are left out"
        assert new["failed"] + other["failed"] == 3
        assert other["corrected"] == 0
        assert (seen["num_answers"], seen["threshold"]) == (50, 200.0)
        assert seen["evidence_failed"] >= 1.0


def test_a_correction_counts_when_its_time_is_over_against_the_version_that_answered(
    published: Served,
) -> None:
    promote(published, "v1", share=0.5)
    response_id = ""
    while not response_id:
        answer = published.chat(user=f"user-{len(published.engine.submitted)}")
        response_id = answer.json()["id"] if answer.headers["x-errata-adapter"] == "v0001" else ""
    published.client.post("/v1/feedback", json={"response_id": response_id, "corrected_text": "By nobody."})
    assert published.client.get("/v1/adapters/comparison").json()["version"]["answers"] == 0
    with published.store.database.write() as connection:  # an hour later
        connection.exec_driver_sql("UPDATE responses SET created = created - 3600")
        connection.exec_driver_sql("UPDATE corrections SET created = created - 3600")
    version = published.client.get("/v1/adapters/comparison").json()["version"]
    assert (version["answers"], version["corrected"], version["corrected_per_1000"]) == (1, 1, 1000.0)


def test_without_a_new_version_there_is_nothing_to_compare(served: Served) -> None:
    assert not served.client.get("/v1/adapters").json()["in_force"]["is_judged"]
    answer = served.client.get("/v1/adapters/comparison")
    assert error(answer, 404)["message"].startswith("no version is being compared")


def test_a_rollback_goes_back_to_the_version_before(published: Served) -> None:
    for version in ("v1", "v2"):
        promote(published, version)
    answer = published.client.post("/v1/adapters/rollback")
    assert (answer.status_code, answer.json()["live"]) == (202, "v0001")
    settle(published)
    assert live(published) == "v0001"


def test_without_an_earlier_version_there_is_no_way_back(served: Served) -> None:
    answer = served.client.post("/v1/adapters/rollback")
    assert error(answer, 409)["message"] == "there is no earlier version to go back to"


def test_a_version_tells_where_it_comes_from_and_what_it_did(published: Served) -> None:
    promote(published, "v2")
    run_id = published.store.adapters.get("v2").run_id
    live(published)
    story = published.client.get("/v1/adapters/v2").json()
    assert (story["version"], story["report"], story["tainted"]) == ("v0002", {"number": 2}, None)
    assert (story["run"]["id"], story["run"]["status"], story["run"]["adapter"]) == (
        run_id,
        "admitted",
        "v0002",
    )
    assert (story["manifest"], story["erased"], story["num_responses"]) == ({}, [], 1)
    assert [(one["live"], one["phase"]) for one in story["rollouts"]] == [("v0002", "committed")]
    listed = published.client.get("/v1/adapters").json()["data"]
    short = set(listed[1]) - {"num_pairs", "verdict", "reasons", "figures"}
    assert {name: story[name] for name in short} == {name: listed[1][name] for name in short}


def test_a_version_with_damaged_files_is_never_served(published: Served) -> None:
    adapter = published.store.adapters.get("v2")
    folder = published.replica.blobs.fetch_folder(adapter.blob)
    (folder / "adapter_model.safetensors").write_bytes(b"\x09")
    promote(published, "v2")
    rollout = published.client.get("/v1/adapters").json()["rollout"]
    assert rollout["phase"] == "abandoned"
    assert "the files of v0002 are damaged; restore them from a backup" in rollout["reason"]
    assert live(published) == "base"


@pytest.mark.parametrize("status", ["refused", "retired"])
def test_only_an_admitted_version_may_serve(served: Served, status: str) -> None:
    adapter_row(served.store, status=status)
    answer = served.client.post("/v1/adapters/v0001/promote")
    assert error(answer, 409)["message"] == f"v0001 is {status}; only an admitted adapter may serve"


def test_one_change_at_a_time(published: Served) -> None:
    published.engine.hold_loads()
    assert published.client.post("/v1/adapters/v1/promote").status_code == 202
    for path in ("v2/promote", "base/promote", "v1/promote"):
        answer = published.client.post(f"/v1/adapters/{path}")
        assert "another rollout is being prepared" in error(answer, 409)["message"]
    published.engine.go_on()
    settle(published)
    assert live(published) == "v0001"


def test_the_live_version_is_no_candidate(served: Served) -> None:
    answer = served.client.post("/v1/adapters/base/promote", json={"share": 0.5})
    assert "base is live already" in error(answer, 409)["message"]


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, "half"])
def test_a_share_is_a_part(served: Served, share: object) -> None:
    adapter_row(served.store)
    answer = served.client.post("/v1/adapters/v1/promote", json={"share": share})
    assert error(answer, 400)["param"] == "share"


def test_unknown_versions_are_not_found(served: Served) -> None:
    for answer in (
        served.client.get("/v1/adapters/v9"),
        served.client.get("/v1/adapters/nine"),
        served.client.post("/v1/adapters/v9/promote"),
        served.client.get(f"/v1/models/{MODEL}@v9"),
        served.client.get("/v1/models/gpt-5"),
    ):
        error(answer, 404)


def test_versions_are_listed_in_short_and_shown_whole(published: Served) -> None:
    measured = {"estimate": 0.5, "low": 0.2, "high": None}
    comparisons = {"held_out.margin": {"live": 0, "change": measured}, "general.length": {"change": measured}}
    report = {
        "training": {"num_pairs": 7, "seconds": 3},
        "gate": {"decision": "held", "reasons": ["held: too little"], "comparisons": comparisons},
    }
    adapter_row(published.store, status="held", report=report)
    adapters = published.client.get("/v1/adapters").json()
    assert [adapter["version"] for adapter in adapters["data"]] == ["v0004", "v0003", "v0002", "v0001"]
    assert adapters["in_force"]["live"] == "base"
    held, older, *_ = adapters["data"]
    assert (held["status"], held["num_pairs"], held["verdict"]) == ("held", 7, "held")
    assert (held["reasons"], held["figures"]) == (["held: too little"], {"held_out.margin": measured})
    assert (older["num_pairs"], older["verdict"], older["figures"]) == (None, None, {})
    assert "report" not in held
    assert published.client.get("/v1/adapters/v4").json()["report"] == report


def test_a_version_is_retired_by_hand_unless_it_is_served(published: Served) -> None:
    promote(published, "v1")
    path = "/v1/adapters/{}/retire".format
    assert "v0001 is being served" in error(published.client.post(path("v1")), 409)["message"]
    for _ in range(2):
        answer = published.client.post(path("v2"))
        assert (answer.status_code, answer.json()["status"]) == (200, "retired")
    assert "v0002 is retired" in error(published.client.post("/v1/adapters/v2/promote"), 409)["message"]
    assert published.client.get("/v1/adapters/v2").json()["status"] == "retired"
    error(published.client.post(path("v9")), 404)


def test_models_are_the_name_and_its_pins(published: Served) -> None:
    promote(published, "v1")
    models = published.client.get("/v1/models").json()["data"]
    assert [(model["id"], model["adapter"], model["is_live"]) for model in models] == [
        (MODEL, "v0001", True),
        (f"{MODEL}@base", "base", False),
        (f"{MODEL}@v0001", "v0001", True),
    ]
    digest = published.store.adapters.get("v1").digest
    assert [(model["role"], model["parent"], model["digest"]) for model in models] == [
        ("live", f"{MODEL}@base", digest),
        ("base", None, None),
        ("live", f"{MODEL}@base", digest),
    ]
    for name, adapter in ((MODEL, "v0001"), (f"{MODEL}@v1", "v0001"), (f"{MODEL}@base", "base")):
        model = published.client.get(f"/v1/models/{name}").json()
        assert (model["id"], model["adapter"]) == (name, adapter)


def test_models_tell_the_live_version_the_candidate_and_those_that_are_kept(published: Served) -> None:
    for version in ("v1", "v2"):
        promote(published, version)
    promote(published, "v3", share=0.5)
    models = published.client.get("/v1/models").json()["data"]
    assert {model["adapter"]: model["role"] for model in models} == {
        "base": "base",
        "v0001": "kept",
        "v0002": "live",
        "v0003": "candidate",
    }


def test_the_plain_name_stands_for_the_live_version_whatever_a_candidates_share(published: Served) -> None:
    promote(published, "v1", share=0.999)
    assert published.client.get(f"/v1/models/{MODEL}").json()["adapter"] == "base"
    assert published.client.get(f"/v1/models/{MODEL}@latest").json()["adapter"] == "v0001"


def test_a_run_is_asked_for_once_and_can_be_followed(served: Served) -> None:
    first = served.client.post("/v1/alignments", json={})
    assert first.status_code == 202
    run = first.json()
    assert (run["status"], run["trigger"], run["num_corrections"]) == ("requested", "request", 0)
    assert served.client.post("/v1/alignments").json() == run
    assert served.client.get(f"/v1/alignments/{run['id']}").json() == run
    claimed = served.store.runs.claim()
    assert claimed is not None
    served.store.runs.update(
        claimed, status="refused", reason="too few", manifest={"train": ["a", "b"], "held_out": ["c"]}
    )
    (ended,) = served.client.get("/v1/alignments").json()["data"]
    assert (ended["status"], ended["reason"], ended["num_corrections"]) == ("refused", "too few", 3)
    assert ended["ended"] is not None
    error(served.client.get("/v1/alignments/run-9"), 404)
    error(served.client.post("/v1/alignments", json={"epochs": 3}), 400)


def test_a_run_is_cancelled_once(served: Served) -> None:
    run = served.client.post("/v1/alignments").json()
    answer = served.client.post(f"/v1/alignments/{run['id']}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert answer.json()["reason"] == "cancelled on request"
    again = served.client.post(f"/v1/alignments/{run['id']}/cancel")
    assert "only a run that has not ended" in error(again, 409)["message"]
    error(served.client.post("/v1/alignments/run-9/cancel"), 404)
    assert served.client.post("/v1/alignments").json()["id"] != run["id"]


def test_the_gates_report_is_a_page_that_loads_and_runs_nothing(served: Served, tmp_path: Path) -> None:
    run = served.client.post("/v1/alignments").json()
    path = f"/v1/alignments/{run['id']}/report"
    message = error(served.client.get(path), 404)["message"]
    assert message == f"the gate has judged nothing of {run['id']}, which is requested"
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "report.html").write_text("<h1>Refused</h1>")
    served.replica.blobs.put_folder(folder, f"reports/{run['id']}")
    answer = served.client.get(path)
    assert (answer.status_code, answer.text) == (200, "<h1>Refused</h1>")
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-security-policy"] == "default-src 'none'; style-src 'unsafe-inline'"
    error(served.client.get("/v1/alignments/run-9/report"), 404)


def test_a_version_that_was_held_for_review_serves_once_it_is_admitted(
    served: Served, published: Served
) -> None:
    files = published.store.adapters.get("v1")
    held = adapter_row(published.store, status="held", digest=files.digest, blob=files.blob)
    error(published.client.post(f"/v1/adapters/{held.version}/promote"), 409)
    answer = published.client.post(f"/v1/adapters/{held.version}/admit")
    assert (answer.status_code, answer.json()["status"]) == (200, "admitted")
    promote(published, held.version)
    assert live(published) == held.version
    error(published.client.post(f"/v1/adapters/{held.version}/admit"), 409)
