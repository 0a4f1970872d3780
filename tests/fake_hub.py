"""A hub of one's own: its cache on disk in the true layout, and a server that answers like it."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest
from huggingface_hub import constants

from stages.files.hub import Model

NAME = "somebody/model"
UNET = "unet/diffusion_pytorch_model.safetensors"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
REVISION = re.compile("/(?:revision|resolve|tree)/([^/]+)")
LARGE = "/large/"
"""Before the hash of a large file, at its own host."""
NOWHERE = "http://127.0.0.1:9"
"""Nobody listens there."""


def build_model(**changes: object) -> Model:
    """A model on the hub of which two files are wanted."""
    values = {
        "what": "base model",
        "key": "bases.*.model",
        "revision_key": "bases.*.revision",
        "name": NAME,
        "revision": COMMIT,
        "wanted": (("unet/config.json",), (UNET,)),
        "patterns": ["*.json", UNET],
        "setting": "bases.*.model: FOLDER",
    }
    return Model(**(values | changes))


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
        files: The repository's.
        name: The only repository, at one commit; "" has every name.
        refusal: Status and X-Error-Code of every answer, if it refuses.
        is_gated: It lists its files, but gives none.
        dies_after: It sends so many bytes of a large file, and from then on answers with 500.
        requests: Method and path of each request so far.
        starts: For each large file that was asked for, the first byte that was wanted.
        tokens: The tokens that were sent.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    name: str = ""
    refusal: tuple[int, str] | None = None
    is_gated: bool = False
    dies_after: int | None = None
    endpoint: str = ""
    requests: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)


class Server(ThreadingHTTPServer):
    """The server of a hub."""

    hub: FakeHub


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server

    def do_GET(self) -> None:
        hub, path = self.server.hub, urlsplit(self.path).path
        hub.requests.append(f"{self.command} {path}")
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        hub.tokens |= {token} - {""}
        if refusal := hub.refusal or self.find_refusal(hub, path, token):
            self.refuse(*refusal)
        elif path.startswith(LARGE):
            self.send_large(hub, path.removeprefix(LARGE))
        elif path.endswith(f"/tree/{COMMIT}"):
            self.list_tree(hub)
        elif path.startswith("/api/models/"):
            self.list_files(hub)
        else:
            self.send_file(hub, path.partition("/resolve/")[2].partition("/")[2])

    do_HEAD = do_GET  # noqa: N815 (http.server's name)

    def find_refusal(self, hub: FakeHub, path: str, token: str) -> tuple[int, str] | None:
        revision, is_known = REVISION.search(path), f"/{hub.name}/" in f"{path}/"
        if path.startswith(LARGE):  # of another host, which refuses what is signed twice
            return (400, "") if token else None
        if hub.name and not is_known:
            return (404 if token else 401), "RepoNotFound"
        if revision and revision[1] not in (COMMIT, "main"):
            return 404, "RevisionNotFound"
        if "/tree/" in path and not path.endswith(f"/tree/{COMMIT}"):
            return 404, "EntryNotFound"  # transformers looks for a folder of chat templates
        if hub.is_gated and "/resolve/" in path:
            return (403 if token else 401), "GatedRepo"
        return None

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
        """A small file; of a large one where it lies, and the hash and the size that it has."""
        if name not in hub.files:
            self.refuse(404, "EntryNotFound")
            return
        content, commit = hub.files[name], {"X-Repo-Commit": COMMIT}
        if name.endswith((".json", ".txt")):
            etag = hashlib.sha1(content, usedforsecurity=False).hexdigest()
            self.reply(200, {"ETag": f'"{etag}"', **commit}, content)
            return
        digest = hashlib.sha256(content).hexdigest()
        elsewhere = hub.endpoint.replace("127.0.0.1", "localhost")
        linked = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content)), **commit}
        self.reply(302, {"Location": f"{elsewhere}{LARGE}{digest}", **linked})

    def send_large(self, hub: FakeHub, digest: str) -> None:
        content = next(c for c in hub.files.values() if hashlib.sha256(c).hexdigest() == digest)
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        hub.starts.append(start)
        span = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        length = {"Content-Length": str(len(content) - start)}
        part = content[start:]
        if hub.dies_after is not None:
            part, hub.refusal = part[: hub.dies_after], (500, "")
        self.reply(206 if wanted else 200, length | (span if wanted else {}), part)

    def refuse(self, status: int, code: str) -> None:
        self.reply(status, {"X-Error-Code": code})

    def reply_json(self, value: object) -> None:
        self.reply(200, {"Content-Type": "application/json"}, json.dumps(value).encode())

    def reply(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for key, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def point_at(endpoint: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take this for the hub, with an empty cache and without a token."""
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)


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
