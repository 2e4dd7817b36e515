"""A hub of models and data sets on this machine: as much of the API as huggingface_hub and datasets ask."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHA = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Serves the folders ``models/ORG/NAME`` and ``datasets/ORG/NAME`` below a root, each with one revision."""

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.asked: list[tuple[str, str, str | None]] = []
        """Method, path and authorization of every request."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextlib.contextmanager
def serving(root: Path) -> Iterator[Hub]:
    """Run a hub in a thread."""
    hub = Hub(root)
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        hub = self.server
        assert isinstance(hub, Hub)
        path = unquote(urlsplit(self.path).path).strip("/")
        hub.asked.append((self.command, path, self.headers.get("Authorization")))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = path.split("/")
        if parts[0] == "api":
            self._api(hub.root / "/".join(parts[1:4]), parts[4:], body)
            return
        kind, rest = ("datasets", parts[1:]) if parts[0] == "datasets" else ("models", parts)
        file = hub.root / kind / "/".join(rest[:2]) / "/".join(rest[4:])
        self._file(file) if rest[2:3] == ["resolve"] and file.is_file() else self._missing("EntryNotFound")

    def _api(self, repo: Path, rest: list[str], body: bytes) -> None:
        if not repo.is_dir():
            self._missing("RepoNotFound")
            return
        files = [_entry(repo, path) for path in sorted(repo.rglob("*")) if path.is_file()]
        if rest[:1] == ["tree"]:
            below = "/".join(rest[2:])
            found = [entry for entry in files if not below or entry["path"].startswith(f"{below}/")]
            self._json(found) if found else self._missing("EntryNotFound")
        elif rest[:1] == ["paths-info"]:
            wanted = _wanted(body)
            self._json([entry for entry in files if entry["path"] in wanted])
        else:
            name = "/".join(repo.parts[-2:])
            siblings = [{"rfilename": entry["path"], "size": entry["size"]} for entry in files]
            self._json({"id": name, "sha": SHA, "private": False, "siblings": siblings, "tags": [], "downloads": 0})

    def _json(self, content: Any) -> None:
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _file(self, path: Path) -> None:
        content = path.read_bytes()
        self._send(200, content, {"ETag": f'"{_digest(content)}"', "X-Repo-Commit": SHA, "Accept-Ranges": "bytes"})

    def _missing(self, code: str) -> None:
        self._send(404, b'{"error": "not here"}', {"X-Error-Code": code, "Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _entry(repo: Path, path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"type": "file", "path": path.relative_to(repo).as_posix(), "size": len(content), "oid": _digest(content)}


def _wanted(body: bytes) -> list[str]:
    from urllib.parse import parse_qs

    with contextlib.suppress(ValueError):
        return list(json.loads(body)["paths"])
    return parse_qs(body.decode()).get("paths", [])


def _digest(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()
