"""Replicas are alive by their heartbeat, keys are known by their hash."""

from __future__ import annotations

from dataclasses import replace
from hmac import compare_digest

import pytest
from sqlalchemy import select, update

from align.errors import NotFound, StateError
from align.state import Store, schema
from align.state.replicas import Replica

pytestmark = pytest.mark.every_database


def test_replicas_are_alive_by_their_heartbeat_whatever_their_own_clocks_say(store: Store) -> None:
    here = Replica("a", 100.0, "http://127.0.0.1:1/metrics", 3, None, ["v0001"])
    store.replicas.report(here)
    store.replicas.report(replace(here, id="b", failure={"generation": 3, "reason": "no"}))
    shift(store, "b", seconds=-90.0)
    assert [replica.id for replica in store.replicas.alive(60.0)] == ["a"]
    store.replicas.report(replace(here, prepared=4))
    (alive,) = store.replicas.alive(60.0)
    assert alive == replace(here, heartbeat=alive.heartbeat, prepared=4)
    store.replicas.remove("a")
    assert [replica.id for replica in store.replicas.alive(3600.0)] == ["b"]


def test_a_replica_that_died_before_the_clock_was_set_back_is_not_alive_until_then(store: Store) -> None:
    here = Replica("a", 100.0, "", 3, None, [])
    store.replicas.report(here)
    shift(store, "a", seconds=3600.0)
    assert store.replicas.alive(60.0) == []
    store.replicas.report(here)
    assert [replica.id for replica in store.replicas.alive(60.0)] == ["a"], "it lives, so it reports again"


def shift(store: Store, replica_id: str, seconds: float) -> None:
    """What it reported last lies so far from now."""
    table = schema.replicas
    moved = update(table).where(table.c.id == replica_id).values(heartbeat=table.c.heartbeat + seconds)
    with store.database.write() as connection:
        connection.execute(moved)


def test_keys_are_kept_hashed_and_found_by_their_secret(store: Store) -> None:
    assert not store.keys.exist()
    key, secret = store.keys.create("ada", ["chat"])
    assert store.keys.find(secret) == key
    assert store.keys.find(secret[:-1]) is None
    with store.database.read() as connection:
        assert secret not in str(connection.execute(select(schema.keys)).all())


def test_a_secret_is_compared_with_every_key_in_constant_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = [store.keys.create(str(number), ["chat"])[1] for number in range(5)]
    compared: list[tuple[str, str]] = []

    def compare(one: str, other: str) -> bool:
        compared.append((one, other))
        return compare_digest(one, other)

    monkeypatch.setattr("align.state.keys.hmac.compare_digest", compare)
    for secret in (*secrets, "", "sk-errata-", "sk-errata-ö", secrets[0] + "x"):
        compared.clear()
        found = store.keys.find(secret)
        assert (found is not None) == (secret in secrets)
        assert len(compared) == 5, "the time tells not which key it was, nor whether there was one"
        assert all(len(one) == len(other) == 64 for one, other in compared)


def test_limits_are_kept_with_the_key(store: Store) -> None:
    key, secret = store.keys.create("ada", ["chat"], requests_per_minute=60, max_concurrent=4)
    assert (key.requests_per_minute, key.max_concurrent) == (60, 4)
    assert store.keys.find(secret) == key
    assert store.keys.create("eve", ["chat"])[0].requests_per_minute is None


def test_a_revoked_key_is_not_found_but_was_there(store: Store) -> None:
    key, secret = store.keys.create("ada", ["chat"])
    store.keys.revoke(key.id)
    assert store.keys.find(secret) is None
    assert store.keys.active() == []
    assert store.keys.exist(), "to revoke the last key must not open the server"
    with pytest.raises(NotFound, match=r"no key 'key-9'; `errata keys list`"):
        store.keys.revoke("key-9")


def test_scopes_allow_what_they_name_and_admin_allows_all(store: Store) -> None:
    chat, _ = store.keys.create("ada", ["chat"])
    admin, _ = store.keys.create("eve", ["admin"])
    assert [chat.allows(scope) for scope in ("chat", "feedback", "admin")] == [True, False, False]
    assert all(admin.allows(scope) for scope in ("chat", "feedback", "admin"))


@pytest.mark.parametrize(
    ("scopes", "message"), [(["chat", "root"], "unknown scope root"), ([], "without scopes")]
)
def test_unknown_scopes_are_refused(store: Store, scopes: list[str], message: str) -> None:
    with pytest.raises(StateError, match=message):
        store.keys.create("ada", scopes)
