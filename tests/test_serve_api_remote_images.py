"""Images by URL, attacked: every way into the server's own network, and bodies that are slow, endless or no picture.

127.0.0.2 is let through as if it were the Internet's; 127.0.0.1, where a server listens too, is the inside.
"""

from __future__ import annotations

import asyncio
import gzip
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from served import encoded, error, image_part, serving

from align.images import ImageLimits
from serve.api.addresses import is_reachable
from serve.api.remote_images import MAX_REDIRECTS, RemoteImageFetcher, Resolve
from serve.errors import InvalidPrompt
from serve.settings import RemoteImages

PICTURE = encoded()
OUTSIDE, INSIDE = "127.0.0.2", "127.0.0.1"
LIMITS = ImageLimits(max_bytes=5000)

Answer = Callable[[BaseHTTPRequestHandler], None]


class Site:
    """A web server on one address; what a path answers is set by the test."""

    def __init__(self, address: str, port: int = 0, context: ssl.SSLContext | None = None) -> None:
        self.paths: dict[str, Answer] = {}
        self.asked: list[tuple[str, str]] = []  # host header and path
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append((self.headers["host"], self.path))
                site.paths[self.path](self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer((address, port), Handler)
        if context is not None:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that leave are expected
        self.port = int(self.server.server_address[1])
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def body(data: bytes, status: int = 200, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def endless(status: int = 200, pause_s: float = 0.0, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        while True:  # until the client has left
            handler.wfile.write(PICTURE[:16])
            time.sleep(pause_s)

    return answer


def redirect(to: str) -> Answer:
    return body(b"", 302, Location=to)


def is_free(address: str, port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site(OUTSIDE)
    while not is_free(INSIDE, site.port):  # another program may use that port there
        site.close()
        site = Site(OUTSIDE)
    site.paths["/a.png"] = body(PICTURE)
    yield site
    site.close()


@contextmanager
def inside(port: int) -> Iterator[Site]:
    """A server that only the machine itself may reach, on the same port as the outer one."""
    site = Site(INSIDE, port)
    site.paths["/a.png"] = body(PICTURE)
    try:
        yield site
    finally:
        site.close()


def names(**addresses: list[str]) -> Resolve:
    """A resolver of `images` and the like, each with `.example` after it; whatever it does not know has no address."""

    async def resolve(host: str, _port: int) -> list[str]:
        return addresses.get(host.removesuffix(".example"), [])

    return resolve


def fetch(
    url: str,
    hosts: tuple[str, ...],
    resolve: Resolve | None = None,
    *,
    timeout_s: float = 10.0,
    max_total_bytes: int = 10**6,
    more: tuple[str, ...] = (),
) -> dict[str, bytes]:
    settings = RemoteImages.model_validate(
        {"hosts": hosts, "networks": [f"{OUTSIDE}/32"], "timeout_s": timeout_s}
    )
    resolve = resolve or names(images=[OUTSIDE])
    fetcher = RemoteImageFetcher(settings, LIMITS, max_total_bytes, resolve)
    return asyncio.run(fetcher.fetch([url, *more]))


def refused(url: str, hosts: tuple[str, ...], resolve: Resolve | None = None, timeout_s: float = 10.0) -> str:
    with pytest.raises(InvalidPrompt) as error:
        fetch(url, hosts, resolve, timeout_s=timeout_s)
    return str(error.value)


# --- which addresses


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_are_reachable(address: str) -> None:
    assert is_reachable(address)


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "127.255.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
        ),
        *("0.0.0.0", "0.1.2.3", "192.0.2.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1"),
        *("255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00::1"),
        *("ff02::1", "ff0e::1", "2001:db8::1", "100::1", "5f00::1", "2002:7f00:1::", "2001:0:4136::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "::127.0.0.1", "64:ff9b::7f00:1"),
        *("64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "localhost", "2130706433", "0x7f000001", "127.1", ""),
    ],
)
def test_no_other_address_is(address: str) -> None:
    assert not is_reachable(address)


def test_a_network_may_be_opened_by_its_name_and_no_other_with_it() -> None:
    networks = RemoteImages.model_validate({"networks": ["10.1.2.0/24", "fd00:1::/32"]}).networks
    assert is_reachable("10.1.2.3", networks)
    assert is_reachable("::ffff:10.1.2.3", networks)
    assert is_reachable("fd00:1::5", networks)
    assert not any(is_reachable(address, networks) for address in ("10.1.3.3", "fd00:2::5", "127.0.0.1"))


# --- what is fetched


def test_an_image_of_a_listed_host_is_fetched_from_the_address_that_was_checked(site: Site) -> None:
    url = f"http://images.example:{site.port}/a.png"
    assert fetch(url, (f"images.example:{site.port}",)) == {url: PICTURE}
    assert site.asked == [(f"images.example:{site.port}", "/a.png")]


def test_a_conversation_may_show_images_by_url(tmp_path: Path, site: Site) -> None:
    remote = {"hosts": [f"{OUTSIDE}:{site.port}"], "networks": [f"{OUTSIDE}/32"]}
    url = f"http://{OUTSIDE}:{site.port}"
    site.paths["/text"] = body(b"<html>no picture</html>", **{"Content-Type": "image/png"})
    with serving(tmp_path, remote_images=remote) as served:
        part = image_part(f"{url}/a.png")
        record = served.store.responses.get(served.respond([part, {"type": "text", "text": "What?"}, part]))
        (digest,) = served.engine.prepared[-1][1]
        assert [one.get("sha256") for one in record.conversation[0]["content"]] == [digest, None, digest]
        assert served.replica.blobs.get_image(digest) == PICTURE
        assert len(site.asked) == 1, "the same image is fetched once"
        assert "cannot be read as PNG" in error(served.chat([image_part(f"{url}/text")]), 400)["message"]
        off = error(served.chat([image_part("http://10.0.0.1/a.png")]), 400)
        assert off["message"] == "this server fetches no images from '10.0.0.1'; send them as data: URLs"


def test_the_next_address_is_tried_where_one_does_not_answer(site: Site) -> None:
    settings = RemoteImages.model_validate(
        {"hosts": [f"images.example:{site.port}"], "networks": ["127.0.0.0/29"]}
    )
    resolve = names(images=["127.0.0.3", OUTSIDE])  # nobody listens at the first
    fetcher = RemoteImageFetcher(settings, LIMITS, 10**6, resolve)
    url = f"http://images.example:{site.port}/a.png"
    assert asyncio.run(fetcher.fetch([url])) == {url: PICTURE}


def test_a_redirect_to_a_listed_host_is_followed(site: Site) -> None:
    site.paths["/old"] = redirect("/a.png")
    site.paths["/older"] = redirect(f"http://images.example:{site.port}/old")
    url = f"http://images.example:{site.port}/older"
    assert fetch(url, (f"images.example:{site.port}",)) == {url: PICTURE}


# --- ways in


@pytest.mark.parametrize(
    "url",
    [
        "http://images.example/a.png",  # another port than the listed one
        "http://images.example.evil.example:{port}/a.png",
        "http://evilimages.example:{port}/a.png",
        "http://a.images.example:{port}/a.png",
        "http://127.0.0.1:{port}/a.png",
        "http://2130706433:{port}/a.png",
        "http://017700000001:{port}/a.png",
        "http://0x7f000001:{port}/a.png",
        "http://0x7f.1:{port}/a.png",
        "http://127.1:{port}/a.png",
        "http://[::1]:{port}/a.png",
        "http://[::ffff:127.0.0.1]:{port}/a.png",
        "http://localhost:{port}/a.png",
        "http://127.0.0.1\\@images.example:{port}/a.png",
        "http://127.0.0.1#@images.example:{port}/a.png",
        "http://127.0.0.1?@images.example:{port}/a.png",
        "http://images.example:{port}.evil.example/a.png",
        "http://①②⑦.0.0.1:{port}/a.png",
    ],
)
def test_a_host_that_is_not_listed_is_never_asked(site: Site, url: str) -> None:
    with inside(site.port) as private:
        message = refused(url.format(port=site.port), (f"images.example:{site.port}",))
        assert re.search("fetches no images from|cannot be fetched|no user name", message)
        assert (site.asked, private.asked) == ([], [])


@pytest.mark.parametrize("form", ["2130706433", "017700000001", "0x7f000001", "127.1", "localhost"])
def test_a_listed_name_for_the_inside_is_refused_by_its_address(form: str, site: Site) -> None:
    """The system's own resolver reads these as 127.0.0.1."""
    from serve.api.remote_images import resolve

    with inside(site.port) as private:
        message = refused(f"http://{form}:{site.port}/a.png", (f"{form}:{site.port}",), resolve)
        assert "has an address that is not public" in message
        assert private.asked == []


@pytest.mark.parametrize(
    "addresses",
    [[INSIDE], [OUTSIDE, INSIDE], ["::1"], ["::ffff:127.0.0.1"], ["169.254.169.254"], ["10.0.0.1", OUTSIDE]],
)
def test_a_name_that_leads_inside_is_refused(site: Site, addresses: list[str]) -> None:
    with inside(site.port) as private:
        url = f"http://images.example:{site.port}/a.png"
        message = refused(url, (f"images.example:{site.port}",), names(images=addresses))
        assert "'images.example' has an address that is not public" in message
        assert (site.asked, private.asked) == ([], [])


def test_a_name_that_leads_inside_a_moment_after_it_was_checked_changes_nothing(site: Site) -> None:
    answers = [[OUTSIDE], [INSIDE], [INSIDE]]

    async def rebinding(_host: str, _port: int) -> list[str]:
        return answers.pop(0)

    with inside(site.port) as private:
        url = f"http://images.example:{site.port}/a.png"
        assert fetch(url, (f"images.example:{site.port}",), rebinding) == {url: PICTURE}
        assert (len(site.asked), private.asked) == (1, [])
        assert len(answers) == 2, "the name is looked up once"


def test_a_redirect_is_checked_like_the_first_request(site: Site) -> None:
    lookups = iter([[OUTSIDE], [INSIDE]])

    async def rebinding(_host: str, _port: int) -> list[str]:
        return next(lookups)

    site.paths["/again"] = redirect("/a.png")
    with inside(site.port) as private:
        url = f"http://images.example:{site.port}/again"
        assert "not public" in refused(url, (f"images.example:{site.port}",), rebinding)
        assert private.asked == []


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("http://127.0.0.1:{port}/a.png", "fetches no images from '127.0.0.1:"),
        ("//127.0.0.1:{port}/a.png", "fetches no images from '127.0.0.1:"),
        ("http://other.example:{port}/a.png", "fetches no images from 'other.example:"),
        ("http://inner.example:{port}/a.png", "'inner.example' has an address that is not public"),
        ("file:///etc/passwd", "must be a data:, http: or https: URL"),
        ("ftp://images.example:{port}/a.png", "must be a data:, http: or https: URL"),
        ("http://ada:secret@images.example:{port}/a.png", "must hold no user name or password"),
        ("http://[", "fetches no images from '%5B'"),
        ("http://images.example:port/", "cannot be fetched"),
    ],
)
def test_no_redirect_leads_elsewhere(site: Site, location: str, message: str) -> None:
    with inside(site.port) as private:
        site.paths["/out"] = redirect(location.format(port=site.port))
        hosts = (f"images.example:{site.port}", f"inner.example:{site.port}")
        resolve = names(images=[OUTSIDE], inner=[INSIDE], other=[OUTSIDE])
        assert message in refused(f"http://images.example:{site.port}/out", hosts, resolve)
        assert ([path for _, path in site.asked], private.asked) == (["/out"], [])


def test_redirects_end(site: Site) -> None:
    site.paths["/round"] = redirect("/round")
    message = refused(f"http://images.example:{site.port}/round", (f"images.example:{site.port}",))
    assert f"redirected more than {MAX_REDIRECTS} times" in message
    assert len(site.asked) == MAX_REDIRECTS + 1


@pytest.mark.parametrize(
    "url", ["http://ada@images.example:{port}/a.png", "http://ada:x@images.example:{port}/a.png"]
)
def test_names_and_passwords_are_not_sent_along(site: Site, url: str) -> None:
    message = refused(url.format(port=site.port), (f"images.example:{site.port}",))
    assert message == "an image_url must hold no user name or password"
    assert site.asked == []


# --- bodies


@pytest.mark.parametrize("status", [200, 302])
def test_a_body_without_an_end_is_cut_off(site: Site, status: int) -> None:
    """The limit in bytes ends the first, and the body of a redirect is not read."""
    more = {"Location": "/a.png"} if status == 302 else {}
    site.paths["/endless"] = endless(status, **more)
    url, hosts = f"http://images.example:{site.port}/endless", (f"images.example:{site.port}",)
    if status == 302:
        assert fetch(url, hosts) == {url: PICTURE}
    else:
        assert refused(url, hosts) == "an image is larger than 5000 bytes"


@pytest.mark.parametrize("pause_s", [0.02, 60.0])
def test_a_slow_body_is_given_up(site: Site, pause_s: float) -> None:
    stopped = threading.Event()

    def slow(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not stopped.wait(pause_s):
            handler.wfile.write(b".")

    site.paths["/slow"] = slow
    url = f"http://images.example:{site.port}/slow"
    message = refused(url, (f"images.example:{site.port}",), timeout_s=0.3)
    stopped.set()
    assert message == "the images took longer than 0.3 s; send them as data: URLs"


def test_a_resolver_that_never_answers_is_given_up() -> None:
    async def never(_host: str, _port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    assert "took longer than 0.1 s" in refused("http://images.example/a.png", ("images.example",), never, 0.1)


def test_images_of_one_request_have_a_limit_together(site: Site) -> None:
    base = f"http://images.example:{site.port}/a.png?"
    for name in ("1", "2", "3"):
        site.paths[f"/a.png?{name}"] = body(PICTURE)
    urls, hosts = [f"{base}{name}" for name in ("1", "2", "3")], (f"images.example:{site.port}",)
    allowed = 3 * len(PICTURE)
    assert len(fetch(urls[0], hosts, more=tuple(urls[1:]), max_total_bytes=allowed)) == 3
    with pytest.raises(InvalidPrompt, match=f"may have {allowed - 1} bytes in all"):
        fetch(urls[0], hosts, more=tuple(urls[1:]), max_total_bytes=allowed - 1)


def test_a_compressed_body_stays_compressed(site: Site) -> None:
    bomb = gzip.compress(bytes(10**6))
    site.paths["/bomb"] = body(bomb, **{"Content-Encoding": "gzip"})
    url = f"http://images.example:{site.port}/bomb"
    assert fetch(url, (f"images.example:{site.port}",)) == {url: bomb}


@pytest.mark.parametrize("status", [204, 404, 500])
def test_an_answer_that_is_no_success_is_refused(site: Site, status: int) -> None:
    site.paths["/none"] = body(b"", status)
    url = f"http://images.example:{site.port}/none"
    assert (
        refused(url, (f"images.example:{site.port}",))
        == f"images.example answered {status} instead of an image"
    )


def test_a_host_without_an_address_is_refused() -> None:
    assert "its host has no address" in refused("http://images.example/a.png", ("images.example",), names())


def test_a_certificate_is_asked_for_by_name_though_the_connection_is_by_address() -> None:
    asked: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # it has no certificate to show
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    site = Site(OUTSIDE, context=context)
    try:
        message = refused(f"https://images.example:{site.port}/a.png", (f"images.example:{site.port}",))
    finally:
        site.close()
    assert "cannot be fetched" in message
    assert asked == ["images.example"]


def test_a_server_that_speaks_no_http_is_refused(site: Site) -> None:
    def mail(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"220 mail ready\r\n")

    site.paths["/smtp"] = mail
    message = refused(f"http://images.example:{site.port}/smtp", (f"images.example:{site.port}",))
    assert "cannot be fetched" in message


# --- settings


@pytest.mark.parametrize(
    "host", ["", "Images.example", "https://images.example", "a b", "*.example", "a:", "[::1]"]
)
def test_a_host_that_can_never_match_is_refused_at_the_start(host: str) -> None:
    with pytest.raises(ValueError, match="String should match pattern"):
        RemoteImages.model_validate({"hosts": [host]})
