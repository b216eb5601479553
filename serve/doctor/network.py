"""The port, who may reach it, and the server that answers there or elsewhere."""

from __future__ import annotations

from ..settings import Settings
from .files import num_active_keys
from .finding import Finding, good, problem, warning


def port(settings: Settings) -> Finding:
    """Free, or an Errata's own already."""
    from ..launch import check_port

    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    status = _status(f"http://{f'[{host}]' if ':' in host else host}:{settings.port}")
    if status is not None:
        return good("port", f"an Errata server answers at {settings.host}:{settings.port}: {status}")
    check_port(settings.host, settings.port)
    return good("port", f"{settings.host}:{settings.port} is free")


def keys(settings: Settings) -> Finding:
    """Beyond loopback nobody may come in without one."""
    if settings.is_loopback:
        return good("keys", f"not needed on {settings.host}, which only this machine reaches")
    if num := num_active_keys(settings):
        return good("keys", f"{num} in use")
    return problem(
        "keys",
        f"{settings.host} can be reached from other machines, and there is no key",
        f"make one: errata keys create --state {settings.state}",
    )


def server(address: str, key: str) -> Finding:
    """One that runs elsewhere, named by --url: whether it is ready, and takes the key."""
    import httpx

    root = address.removesuffix("/v1")
    try:
        ready = httpx.get(f"{root}/readyz", timeout=10.0)
        models = httpx.get(f"{root}/v1/models", headers={"authorization": f"Bearer {key}"}, timeout=10.0)
    except httpx.HTTPError as error:
        return problem("server", f"no answer from {root}: {error}", "start it, or correct --url")
    if ready.status_code not in (200, 503) or "live" not in ready.text:
        return problem("server", f"what answers at {root} is no Errata server", "correct --url")
    if models.status_code in (401, 403):
        return problem("server", f"{root} does not take the key", "set ERRATA_API_KEY or --key")
    if ready.status_code == 503:
        return warning("server", f"{root} is not ready yet", "wait; its log says what it loads")
    return good("server", f"{root} is ready, and {ready.json()['live']} answers")


def _status(root: str) -> str | None:
    """`ready` or `behind`; none where no Errata answers."""
    import httpx

    try:
        answer = httpx.get(f"{root}/readyz", timeout=3.0, trust_env=False).json()
    except (httpx.HTTPError, ValueError):
        return None
    return str(answer["status"]) if isinstance(answer, dict) and "live" in answer else None
