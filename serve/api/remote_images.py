"""Images that a request names by URL: from listed hosts alone, and never from inside the server's own network.

What is fetched is bytes, not yet known to be a picture.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Collection

import httpx

from align.images import FORMATS, ImageLimits
from serve.errors import InvalidPrompt
from serve.settings import RemoteImages

from .addresses import is_reachable

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a host name, for a port."""

MAX_REDIRECTS = 3
HEADERS = {
    "accept": ", ".join(f"image/{name.lower()}" for name in FORMATS),
    "accept-encoding": "identity",  # a small body must not become a large one
    "user-agent": "errata",
}


async def resolve(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class RemoteImageFetcher:
    def __init__(
        self, settings: RemoteImages, limits: ImageLimits, max_total_bytes: int, resolve: Resolve = resolve
    ) -> None:
        """`max_total_bytes` holds for all images of one request together."""
        self._settings, self._limits, self._max_total_bytes = settings, limits, max_total_bytes
        self._transport = _GuardedTransport(settings, resolve)

    async def fetch(self, urls: Collection[str]) -> dict[str, bytes]:
        """The bodies by URL. Raises `InvalidPrompt`."""
        if not urls:
            return {}
        if not self._settings.hosts:
            raise InvalidPrompt("image_url must be a data: URL; this server fetches nothing from the network")
        allowance = _Allowance(self._max_total_bytes)
        client = httpx.AsyncClient(
            transport=self._transport, headers=HEADERS, timeout=self._settings.timeout_s, trust_env=False
        )
        tasks = [asyncio.ensure_future(self._download(client, url, allowance)) for url in urls]
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                return dict(zip(urls, await asyncio.gather(*tasks), strict=True))
        except TimeoutError as error:
            raise InvalidPrompt(
                f"the images took longer than {self._settings.timeout_s:g} s; send them as data: URLs"
            ) from error
        finally:
            for task in tasks:
                task.cancel()

    async def _download(self, client: httpx.AsyncClient, url: str, allowance: _Allowance) -> bytes:
        try:
            request = client.build_request("GET", url)
            for _ in range(MAX_REDIRECTS + 1):
                # followed here, because httpx would read the whole body of each answer on the way
                response = await client.send(request, stream=True)
                try:
                    if response.next_request is None:
                        return await self._read(response, allowance)
                    request = response.next_request
                finally:
                    await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            raise InvalidPrompt(f"the image at {url!r} cannot be fetched: {error}") from error
        raise InvalidPrompt(f"the image at {url!r} is redirected more than {MAX_REDIRECTS} times")

    async def _read(self, response: httpx.Response, allowance: _Allowance) -> bytes:
        if response.status_code != 200:
            raise InvalidPrompt(f"{response.url.host} answered {response.status_code} instead of an image")
        body = bytearray()
        async for piece in response.aiter_raw():
            body += piece
            if len(body) > self._limits.max_bytes:
                raise InvalidPrompt(f"an image is larger than {self._limits.max_bytes} bytes")
            allowance.take(len(piece))
        return bytes(body)


class _Allowance:
    """Bytes that the images of one request may still bring."""

    def __init__(self, num_bytes: int) -> None:
        self._limit = self._left = num_bytes

    def take(self, num_bytes: int) -> None:
        self._left -= num_bytes
        if self._left < 0:
            raise InvalidPrompt(f"the images of a request may have {self._limit} bytes in all")


class _GuardedTransport(httpx.AsyncBaseTransport):
    """Each request, and so each redirect, goes to a listed host at an address that was checked.

    The connection is made to that very address, so it cannot matter what the name stands for a moment later.
    """

    def __init__(self, settings: RemoteImages, resolve: Resolve) -> None:
        self._settings, self._resolve = settings, resolve
        # connections are never used again: one to an address may have been checked under another host's name
        self._transport = httpx.AsyncHTTPTransport(
            verify=ssl.create_default_context(),
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._check_listed(request.url)
        failure: httpx.TransportError | None = None
        for address in await self._addresses(request.url):
            extensions = {**request.extensions, "sni_hostname": request.url.host}
            url = request.url.copy_with(host=address)
            pinned = httpx.Request("GET", url, headers=request.headers, extensions=extensions)
            try:
                return await self._transport.handle_async_request(pinned)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
        raise failure or httpx.ConnectError("its host has no address")

    def _check_listed(self, url: httpx.URL) -> None:
        """Raises `InvalidPrompt`."""
        if url.scheme not in ("http", "https"):
            raise InvalidPrompt("an image_url must be a data:, http: or https: URL")
        if url.userinfo:
            raise InvalidPrompt("an image_url must hold no user name or password")
        host = url.raw_host.decode() if url.port is None else f"{url.raw_host.decode()}:{url.port}"
        if host not in self._settings.hosts:
            raise InvalidPrompt(f"this server fetches no images from {host!r}; send them as data: URLs")

    async def _addresses(self, url: httpx.URL) -> list[str]:
        """Raises `InvalidPrompt` where any of them is not the public's."""
        port = url.port or (443 if url.scheme == "https" else 80)
        addresses = list(dict.fromkeys(await self._resolve(url.raw_host.decode(), port)))
        if not all(is_reachable(address, self._settings.networks) for address in addresses):
            raise InvalidPrompt(
                f"{url.host!r} has an address that is not public; send the image as a data: URL"
            )
        return addresses
