"""A small Hub on the loopback address: enough of the API for huggingface_hub, transformers and datasets.

Spaces can be made and committed to with the token, file by file as the API of commits has it.

Small files are served in place with git's SHA-1 as their ETag. Large ones (weights, parquet) are named by their
SHA-256 and reached by a redirect to another host, as on the real Hub: `huggingface_hub` follows redirects within one
host when it asks for a file's headers, and would then miss the commit.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_of_a_test"
CARD = b"---\ntitle: A new Space\nsdk: static\n---\n"  # what the Hub puts into one
LARGE_SUFFIXES = (".pt", ".pth", ".parquet", ".safetensors")


@dataclass
class LoopbackHub:
    """Repositories by kind and name, their files, and what was asked for."""

    repositories: dict[tuple[str, str], dict[str, bytes]] = field(default_factory=dict)
    corrupted: set[str] = field(default_factory=set)  # file names sent with one byte changed
    requests: list[str] = field(default_factory=list)
    n_commits: int = 0
    endpoint: str = ""
    storage: str = ""

    def add(self, kind: str, name: str, files: dict[str, bytes]) -> None:
        """Adds a repository; kind is `models` or `datasets`."""
        self.repositories[kind, name] = files

    @contextmanager
    def serving(self) -> Iterator[LoopbackHub]:
        """Serves until the block ends: the API on 127.0.0.1, large files on 127.0.0.2."""
        servers = [
            ThreadingHTTPServer((host, 0), self._handler()) for host in ("127.0.0.1", "127.0.0.2")
        ]
        self.endpoint, self.storage = (
            f"http://{server.server_address[0]}:{server.server_address[1]}" for server in servers
        )
        threads = [threading.Thread(target=server.serve_forever, daemon=True) for server in servers]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            for server, thread in zip(servers, threads, strict=True):
                server.shutdown()
                thread.join()
                server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(_HubHandler):
            pass

        Handler.hub = hub
        return Handler


class _HubHandler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        self.hub.requests.append(f"{self.command} {self.path}")

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer(self._body().decode())

    def _body(self) -> bytes:
        """What was sent, whole or in chunks."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, body: str = "") -> None:
        path = unquote(urlsplit(self.path).path)
        if self.command == "POST" and re.search(r"/(create|preupload/main|commit/main)$", path):
            self._change(path.removeprefix("/api/"), body)
        elif path == "/api/validate-yaml":
            self._send_json({"errors": [], "warnings": []})
        elif path.startswith("/api/"):
            self._answer_api(path.removeprefix("/api/"), body)
        elif path.startswith("/storage/"):
            self._send_storage(path.removeprefix("/storage/"))
        else:
            self._send_file(path)

    def _answer_api(self, path: str, body: str) -> None:
        match = re.fullmatch(
            r"(models|datasets|spaces)/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/([^/]+)(?:/(.*))?)?",
            path,
        )
        files = self.hub.repositories.get((match[1], match[2])) if match else None
        if match is None or files is None:
            self._send_error(404, "RepoNotFound", "Repository not found")
        elif match[4] not in (None, "main", COMMIT):
            self._send_error(404, "RevisionNotFound", "Revision not found")
        elif match[3] == "tree":
            query = parse_qs(urlsplit(self.path).query)
            recursive = query.get("recursive", ["false"])[0].lower() == "true"
            entries = _tree(files, match[5] or "", recursive)
            if entries:
                self._send_json(entries)
            else:
                self._send_error(404, "EntryNotFound", "Entry not found")
        elif match[3] == "paths-info":
            wanted = (
                json.loads(body)["paths"]
                if body.startswith("{")
                else parse_qs(body).get("paths", [])
            )
            held = [_entry(name, files[name]) for name in wanted if name in files]
            folders = [
                name for name in wanted if any(file.startswith(f"{name}/") for file in files)
            ]
            self._send_json([*map(_folder, folders), *held])
        else:
            siblings = [{"rfilename": name} for name in files]
            identity = {
                "id": match[2],
                "modelId": match[2],
                "sha": COMMIT,
                "private": False,
                "tags": [],
            }
            self._send_json({**identity, "downloads": 0, "likes": 0, "siblings": siblings})

    def _change(self, path: str, body: str) -> None:
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._send(401, b'{"error": "Invalid username or password."}', {})
        elif path == "repos/create":
            wanted = json.loads(body)
            assert (wanted["type"], wanted["sdk"]) == ("space", "static")
            name = f"{wanted['organization']}/{wanted['name']}"
            self.hub.add("spaces", name, {".gitattributes": b"", "README.md": CARD})
            self._send_json({"url": f"{self.hub.endpoint}/spaces/{name}", "name": name})
        else:
            kind, owner, name, what, _ = path.split("/")
            files = self.hub.repositories[kind, f"{owner}/{name}"]
            self._send_json(
                self._preupload(files, body) if what == "preupload" else self._commit(files, body)
            )

    def _preupload(self, files: dict[str, bytes], body: str) -> dict[str, object]:
        common = {"uploadMode": "regular", "shouldIgnore": False}
        return {
            "files": [
                {
                    **common,
                    "path": one["path"],
                    "oid": git_sha1(files[one["path"]]) if one["path"] in files else None,
                }
                for one in json.loads(body)["files"]
            ]
        }

    def _commit(self, files: dict[str, bytes], body: str) -> dict[str, object]:
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "deletedFile":
                del files[line["value"]["path"]]
        self.hub.n_commits += 1
        return {"commitUrl": f"{self.hub.endpoint}/spaces/a/b/commit/{COMMIT}", "commitOid": COMMIT}

    def _send_file(self, path: str) -> None:
        match = re.fullmatch(r"/(?:(datasets)/)?([^/]+/[^/]+)/resolve/([^/]+)/(.*)", path)
        files = self.hub.repositories.get((match[1] or "models", match[2])) if match else None
        if match is None or files is None:
            self._send_error(404, "RepoNotFound", "Repository not found")
        elif match[3] not in ("main", COMMIT):
            self._send_error(404, "RevisionNotFound", "Revision not found")
        elif match[4] not in files:
            self._send_error(404, "EntryNotFound", "Entry not found")
        elif match[4].endswith(LARGE_SUFFIXES):
            content = files[match[4]]
            headers = {
                "Location": f"{self.hub.storage}/storage/{match[1] or 'models'}/{match[2]}/{match[4]}",
                "X-Linked-Size": str(len(content)),
                "X-Linked-ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            }
            self._send(302, b"", headers)
        else:
            content = files[match[4]]
            sent = _corrupt(content) if match[4] in self.hub.corrupted else content
            self._send(200, sent, {"ETag": f'"{git_sha1(content)}"'})

    def _send_storage(self, path: str) -> None:
        kind, owner, name, file = path.split("/", 3)
        content = self.hub.repositories[kind, f"{owner}/{name}"][file]
        if file in self.hub.corrupted:
            content = _corrupt(content)
        self._send(200, content, {"ETag": f'"{hashlib.sha256(content).hexdigest()}"'})

    def _send_json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send_error(self, status: int, code: str, message: str) -> None:
        body = json.dumps({"error": message}).encode()
        self._send(status, body, {"X-Error-Code": code, "X-Error-Message": message})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {
            "X-Repo-Commit": COMMIT,
            **headers,
            "Content-Length": str(len(content)),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _corrupt(content: bytes) -> bytes:
    """The same number of bytes, one of them changed."""
    return content[:-1] + bytes([content[-1] ^ 1])


def git_sha1(content: bytes) -> str:
    """The name git gives to a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _tree(files: dict[str, bytes], folder: str, recursive: bool) -> list[dict[str, object]]:
    """What stands in a folder of a repository: files, and folders with or without what is in them."""
    prefix = f"{folder}/" if folder else ""
    entries: list[dict[str, object]] = []
    folders: set[str] = set()
    for name, content in files.items():
        if name.startswith(prefix):
            below = name.removeprefix(prefix).split("/")
            folders |= {prefix + below[0]} if len(below) > 1 else set()
            if recursive or len(below) == 1:
                entries.append(_entry(name, content))
    return [*map(_folder, sorted(folders)), *entries]


def _folder(name: str) -> dict[str, object]:
    return {"type": "directory", "path": name, "size": 0, "oid": git_sha1(name.encode())}


def _entry(name: str, content: bytes) -> dict[str, object]:
    entry: dict[str, object] = {
        "type": "file",
        "path": name,
        "size": len(content),
        "oid": git_sha1(content),
    }
    if name.endswith(LARGE_SUFFIXES):
        digest = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 134}
    return entry
