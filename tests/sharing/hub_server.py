"""A hub in memory: the few endpoints by which the hub's own client makes a repository, fills it and reads it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_a_test"  # noqa: S105


@dataclass
class Repository:
    """A repository: whether it is private, and its branches' files by name."""

    private: bool = False
    branches: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"main": {}})


@dataclass
class Hub:
    """What the server holds; a test looks at it, and says what goes wrong.

    Args:
        repositories: by name.
        asked: method and path of each request.
        closed_to: owners that the token may not write for.
        broken: status that each upload is answered with, or None.
    """

    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    closed_to: tuple[str, ...] = ()
    broken: int | None = None
    address: str = ""

    def files(self, repository: str, branch: str = "main") -> dict[str, bytes]:
        return self.repositories[repository].branches[branch]


def commit_of(files: dict[str, bytes]) -> str:
    return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()  # noqa: S324


def start_hub() -> tuple[Hub, ThreadingHTTPServer, Thread]:
    """Start a hub on a free port of this machine."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.route("HEAD")

        def do_GET(self) -> None:
            self.route("GET")

        def do_POST(self) -> None:
            self.route("POST")

        def route(self, method: str) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            path = unquote(urlsplit(self.path).path)
            hub.asked.append(f"{method} {path}")
            if method == "POST" and self.headers.get("Authorization") != f"Bearer {TOKEN}":
                return self.answer(401, {"error": "Invalid username or password."})
            if path == "/api/repos/create":
                return self.create(json.loads(body))
            if path == "/api/validate-yaml":
                return self.answer(200, {"errors": [], "warnings": []})
            api = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(branch|preupload|commit|tree|revision)/(.+))?", path)
            if api is not None:
                return self.use(method, api[1], api[2], api[3], body)
            file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/(.+?)/([^/]+)", path)
            if file is not None:
                return self.send_file(method, *file.groups())
            return self.answer(404, {"error": f"no such thing: {path}"})

        def create(self, wish: dict[str, Any]) -> None:
            owner, name = wish.get("organization") or "me", wish["name"]
            if owner in hub.closed_to:
                return self.answer(403, {"error": f'You don\'t have the rights to create a model under "{owner}"'})
            full = f"{owner}/{name}"
            if full in hub.repositories:
                return self.answer(409, {"error": "It is there already", "url": f"{hub.address}/{full}"})
            private = bool(wish.get("private") or wish.get("visibility") == "private")
            hub.repositories[full] = Repository(private)
            return self.answer(200, {"url": f"{hub.address}/{full}", "name": full})

        def use(self, method: str, name: str, what: str | None, revision: str | None, body: bytes) -> None:
            repository = hub.repositories.get(name)
            if repository is None:
                return self.answer(404, {"error": "Repository not found"}, code="RepoNotFound")
            if what == "branch" and revision is not None:
                there = revision in repository.branches
                repository.branches.setdefault(revision, dict(repository.branches["main"]))
                return self.answer(409 if there else 201, {"error": "it is there"} if there else {})
            files = repository.branches.get(revision or "main")
            if files is None:
                return self.answer(404, {"error": f"Invalid rev id: {revision}"}, code="RevisionNotFound")
            if what == "tree":
                listed = [{"type": "file", "path": n, "size": len(c), "oid": "0"} for n, c in files.items()]
                return self.answer(200, listed)
            if what == "preupload":
                wanted = json.loads(body)["files"]
                mode = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
                return self.answer(200, {"files": [{"path": file["path"], **mode} for file in wanted]})
            if what == "commit":
                return self.commit(name, files, body)
            siblings = [{"rfilename": file} for file in files]
            said = {"id": name, "private": repository.private, "sha": commit_of(files), "siblings": siblings}
            return self.answer(200, {**said, "tags": []})

        def commit(self, name: str, files: dict[str, bytes], body: bytes) -> None:
            if hub.broken is not None:
                return self.answer(hub.broken, {"error": "Storage is full."})
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
                elif entry["key"] == "deletedFile":
                    files.pop(entry["value"]["path"], None)
            commit = commit_of(files)
            return self.answer(
                200, {"success": True, "commitOid": commit, "commitUrl": f"{hub.address}/{name}/commit/{commit}"}
            )

        def send_file(self, method: str, name: str, revision: str, file: str) -> None:
            repository = hub.repositories.get(name)
            by_commit = {commit_of(files): files for files in (repository.branches.values() if repository else ())}
            files = None if repository is None else {**by_commit, **repository.branches}.get(revision)
            if repository is None or files is None or file not in files:
                code = "EntryNotFound" if files is not None else "RevisionNotFound"
                code = code if repository is not None else "RepoNotFound"
                return self.answer(404, {"error": code}, code=code, commit=commit_of(files or {}))
            content = files[file]
            self.send_response(200)
            self.send_header("X-Repo-Commit", commit_of(files))
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if method == "GET":
                self.wfile.write(content)
            return None

        def answer(self, status: int, said: Any, *, code: str | None = None, commit: str | None = None) -> None:
            content = json.dumps(said).encode()
            self.send_response(status)
            for name, value in (("X-Error-Code", code), ("X-Repo-Commit", commit)):
                if value is not None:
                    self.send_header(name, value)
            if status >= 400:
                self.send_header("X-Error-Message", str(said.get("error", "")))
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    return hub, server, thread
