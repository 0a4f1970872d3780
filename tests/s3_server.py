"""An S3 server on this machine (moto), which can be told to make trouble."""

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

BUCKET = "team"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_MAX_ATTEMPTS": "2",  # of a request; boto's own 5 wait long between two
    "NO_PROXY": "127.0.0.1",
}
"""The environment that a client needs."""
ERROR = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{}</Code><Message>{}</Message></Error>'

Trouble = Callable[[dict[str, Any]], tuple[str, str] | None]
"""Asked at each request: HTTP status and S3 error code to answer with, or None to let it pass."""


class Server:
    """A bucket behind a door; `trouble` stands in it after so many good requests."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.trouble: Trouble | None = None
        self.num_good = 0
        self.method = "PUT"
        self._app = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.Lock()

    def make_trouble(self, trouble: Trouble, num_good: int, method: str = "PUT") -> None:
        """From the request of this method after `num_good` more on; PUT uploads, GET downloads."""
        self.trouble, self.num_good, self.method = trouble, num_good, method

    def end_trouble(self) -> None:
        """Work as it should."""
        self.trouble = None

    def __call__(self, environ: dict[str, Any], start_response: Callable) -> Iterable[bytes]:
        """Answer a request, as WSGI has it."""
        found = self._ask(environ) if environ["REQUEST_METHOD"] == self.method else None
        if found is None:
            return self._app(environ, start_response)
        status, code = found
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response(status, [("Content-Type", "application/xml")])
        return [ERROR.format(code, status).encode()]

    def _ask(self, environ: dict[str, Any]) -> tuple[str, str] | None:
        with self._lock:
            if self.trouble is None:
                return None
            self.num_good -= 1
            if self.num_good >= 0:
                return None
        return self.trouble(environ)


class _Silent(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        """Say nothing of each request."""


def hang_up(environ: dict[str, Any]) -> None:
    """Trouble: the connection ends in the middle of an upload."""
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)


@contextmanager
def serve_s3() -> Iterator[Server]:
    """Run a server with an empty bucket, on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Server(port)
    listener = make_server("127.0.0.1", port, server, threaded=True, request_handler=_Silent)
    thread = threading.Thread(target=listener.serve_forever, daemon=True)
    thread.start()
    try:
        client = boto3.client(
            "s3",
            endpoint_url=server.url,
            region_name=CREDENTIALS["AWS_DEFAULT_REGION"],
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )
        client.create_bucket(Bucket=BUCKET)
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
