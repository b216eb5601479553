"""A real S3 server, by default on loopback, moto's, that can be told to fail."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from fsspec import get_filesystem_class
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server


class S3Server:
    """After `fail`, so many of the next requests of a method are answered with 503."""

    def __init__(self, address: str) -> None:
        self.method, self.num_failures, self.num_failed = "", 0, 0
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server(address, 0, self._answer, threaded=True, request_handler=_Silent)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://{address}:{self._server.server_port}"

    def new_bucket(self, name: str) -> str:
        self.fail("", 0)
        self.client().create_bucket(Bucket=name)
        return f"s3://{name}"

    def client(self) -> Any:
        return boto3.client("s3", endpoint_url=self.url, region_name="us-east-1")

    def fail(self, method: str, num_failures: int) -> None:
        self.method, self.num_failures, self.num_failed = method, num_failures, 0

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == self.method and self.num_failed < self.num_failures:
            self.num_failed += 1
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response("503 Slow Down", [("Content-Length", "0")])
            return [b""]
        answer: Iterable[bytes] = self._app(environ, start_response)
        return answer


class _Silent(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        pass


@contextmanager
def s3_server(address: str = "127.0.0.1") -> Iterator[S3Server]:
    server = S3Server(address)
    try:
        yield server
    finally:
        server.close()
        get_filesystem_class(
            "s3"
        ).clear_instance_cache()  # those that fsspec keeps would ask this one for ever
