"""A hub of one's own: its cache on disk in the true layout, and a server that answers like it."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def write_cache(cache: Path, name: str, files: Mapping[str, bytes], ref: str = "main") -> Path:
    """Lay files of a repository into a cache; returns the snapshot, a folder of links to blobs."""
    folder = cache / f"models--{name.replace('/', '--')}"
    snapshot = folder / "snapshots" / COMMIT
    (folder / "blobs").mkdir(parents=True, exist_ok=True)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / ref).write_text(COMMIT)
    for file, content in files.items():
        blob = folder / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        link = snapshot / file
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(Path(*[".."] * (2 + file.count("/")), "blobs", blob.name))
    return snapshot


@dataclass
class FakeHub:
    """What the server has and does.

    Attributes:
        files: The only repository's, whatever name is asked for.
        refusal: Status and X-Error-Code of every answer, if it refuses.
        is_gated: It lists its files, but gives none.
        requests: Method and path of each request so far.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    refusal: tuple[int, str] | None = None
    is_gated: bool = False
    endpoint: str = ""
    requests: list[str] = field(default_factory=list)


class Server(ThreadingHTTPServer):
    """The server of a hub."""

    hub: FakeHub


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server

    def do_GET(self) -> None:
        hub, path = self.server.hub, urlsplit(self.path).path
        hub.requests.append(f"{self.command} {path}")
        if hub.refusal:
            self.reply(hub.refusal[0], {"X-Error-Code": hub.refusal[1]})
        elif path.endswith(f"/tree/{COMMIT}"):
            self.list_tree(hub)
        elif "/tree/" in path:  # transformers looks for a folder of chat templates
            self.reply(404, {"X-Error-Code": "EntryNotFound"})
        elif path.startswith("/api/models/"):
            self.list_files(hub)
        elif hub.is_gated:
            self.reply(403, {"X-Error-Code": "GatedRepo"})
        else:
            self.send_file(hub, path.partition("/resolve/")[2].partition("/")[2])

    do_HEAD = do_GET  # noqa: N815 (http.server's name)

    def list_files(self, hub: FakeHub) -> None:
        siblings = [{"rfilename": name, "size": len(data)} for name, data in hub.files.items()]
        self.reply_json({"id": "somebody/model", "sha": COMMIT, "siblings": siblings})

    def list_tree(self, hub: FakeHub) -> None:
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in hub.files.items()}
        self.reply_json(
            [
                {"type": "file", "path": name, "size": len(data), "oid": digests[name]}
                for name, data in hub.files.items()
            ]
        )

    def send_file(self, hub: FakeHub, name: str) -> None:
        if name not in hub.files:
            self.reply(404, {"X-Error-Code": "EntryNotFound"})
            return
        content = hub.files[name]
        etag = hashlib.sha256(content).hexdigest()
        self.reply(200, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}, content)

    def reply_json(self, value: object) -> None:
        self.reply(200, {"Content-Type": "application/json"}, json.dumps(value).encode())

    def reply(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serve_hub(hub: FakeHub) -> Iterator[FakeHub]:
    """Answer on a free port of this machine until the block ends."""
    server = Server(("127.0.0.1", 0), Handler)
    server.hub = hub
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
