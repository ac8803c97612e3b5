"""A small Hub on the loopback address: enough of the API for huggingface_hub, transformers and datasets.

With the token, Spaces can be created and committed to, file by file as in the commit API.

Small files are served directly, with git's SHA-1 as their ETag. Large ones (weights, parquet) are named by their
SHA-256 and reached by a redirect to another host, as on the real Hub: `huggingface_hub` follows redirects within one
host when it asks for a file's headers, and would then miss the commit.

A file may have a `Fault`: a way in which a Hub, a proxy or a connection misbehaves when the file is requested.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_of_a_test"
CARD = b"---\ntitle: A new Space\nsdk: static\n---\n"  # as the Hub writes it for a new Space
STALL_S, MOMENT_S = 20.0, 0.02
LARGE_SUFFIXES = (".pt", ".pth", ".parquet", ".safetensors")


@dataclass
class Fault:
    """A fault when a file is requested: in the answer (`unheard` to `without`) or its body (the others).

    n_left   how often it still occurs; None: every time
    on_body  only the request for the body gets a wrong answer
    """

    n_left: int | None = None
    on_body: bool = False
    unheard: bool = False  # the connection is closed instead of an answer
    silent: bool = False  # the connection stays open without an answer
    status: int = 0
    code: str = ""  # X-Error-Code, by which the Hub explains a status
    headers: dict[str, str] = field(default_factory=dict)  # headers sent with the status
    location: str | None = None  # target of a redirect; HERE: the same address again
    without: str = ""  # name of a header that is missing
    corrupted: bool = False  # one byte is changed
    short_by: int = 0  # bytes missing from a body that claims to be complete
    ends_after: float | None = None  # fraction of the body after which it ends
    ending: str = "close"  # how it ends: close, reset, stall
    parts: int = 1  # number of pieces that it is sent in, a moment apart
    ignores_range: bool = False


HERE = "here"
API = "/api/"  # instead of a file's name: a fault of any request that is not for a file


@dataclass
class LoopbackHub:
    """Repositories by kind and name, their files, and the requests that were made."""

    repositories: dict[tuple[str, str], dict[str, bytes]] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=dict)  # by file name
    requests: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)  # the Range of each request that had one
    closing: threading.Event = field(default_factory=threading.Event)
    n_commits: int = 0
    commit: str = COMMIT  # of every repository's main branch
    endpoint: str = ""
    storage: str = ""

    def add(self, kind: str, name: str, files: dict[str, bytes]) -> None:
        """Add a repository; kind is `models` or `datasets`."""
        self.repositories[kind, name] = files

    def strike(self, name: str, of_content: bool = False) -> Fault:
        """The fault of this request for a file: the first of its faults that is of this kind and not used up."""
        for fault in self.faults.get(name, []):
            if fault.n_left != 0 and _is_of_content(fault) == of_content:
                fault.n_left = None if fault.n_left is None else fault.n_left - 1
                return fault
        return Fault()

    @contextmanager
    def serving(self) -> Iterator[LoopbackHub]:
        """Serves until the block ends: the API on 127.0.0.1, large files on 127.0.0.2."""
        hosts = ("127.0.0.1", "127.0.0.2")
        servers = [ThreadingHTTPServer((host, 0), self._handler()) for host in hosts]
        self.endpoint, self.storage = (
            f"http://{host}:{server.server_port}"
            for host, server in zip(hosts, servers, strict=True)
        )
        threads = [
            threading.Thread(target=server.serve_forever, args=(MOMENT_S,), daemon=True)
            for server in servers
        ]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self.closing.set()
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
    left_out = ""  # a header that answers do not have
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass  # asked and unanswered counts too: see _answer

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer(self._body().decode())

    def _body(self) -> bytes:
        """The body of a request, sent whole or in chunks."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, body: str = "") -> None:
        self.left_out = ""
        self.hub.requests.append(f"{self.command} {self.path}")
        path = unquote(urlsplit(self.path).path)
        if self.command == "POST" and re.search(r"/(create|preupload/main|commit/main)$", path):
            self._change(path.removeprefix("/api/"), body)
        elif path == "/api/validate-yaml":
            self._send_json({"errors": [], "warnings": []})
        elif path.startswith(API):
            if not self._went_wrong(self.hub.strike(API)):
                self._answer_api(path.removeprefix(API), body)
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
        elif match[4] not in (None, "main", self.hub.commit):
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
            identity: dict[str, object] = {
                "id": match[2],
                "modelId": match[2],
                "sha": self.hub.commit,
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
        elif match[3] not in ("main", self.hub.commit):
            self._send_error(404, "RevisionNotFound", "Revision not found")
        elif match[4] not in files:
            self._send_error(404, "EntryNotFound", "Entry not found")
        elif not self._went_wrong(self.hub.strike(match[4])):
            self._send_known_file(match[1] or "models", match[2], match[4], files[match[4]])

    def _went_wrong(self, fault: Fault) -> bool:
        """Whether a fault was sent instead of an answer; a header that it lacks is left out from now on."""
        self.left_out = fault.without
        if fault.unheard or fault.silent:
            if fault.silent:
                self.hub.closing.wait(STALL_S)
            self.close_connection = True
        elif fault.status:
            self._send_error(fault.status, fault.code, "It went wrong", fault.headers)
        elif fault.location is not None:
            location = self.path if fault.location == HERE else fault.location
            self._send(302, b"", {"Location": location})
        else:
            return False
        return True

    def _send_known_file(self, kind: str, repository: str, name: str, content: bytes) -> None:
        if name.endswith(LARGE_SUFFIXES):
            headers = {
                "Location": f"{self.hub.storage}/storage/{kind}/{repository}/{name}",
                "X-Linked-Size": str(len(content)),
                "X-Linked-ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            }
            self._send(302, b"", headers)
        else:
            self._send_content(name, content, git_sha1(content))

    def _send_storage(self, path: str) -> None:
        kind, owner, name, file = path.split("/", 3)
        content = self.hub.repositories[kind, f"{owner}/{name}"][file]
        self._send_content(file, content, hashlib.sha256(content).hexdigest())

    def _send_content(self, name: str, content: bytes, etag: str) -> None:
        """Send a file's body, or the requested range of it, with its faults."""
        headers = {"ETag": f'"{etag}"'}
        if self.command == "HEAD":
            self._send(200, content, headers)
            return
        fault = self.hub.strike(name, of_content=True)
        if self._went_wrong(fault):
            return
        sent = _corrupt(content) if fault.corrupted else content
        sent = sent[: len(sent) - fault.short_by]
        status, first, end = 200, 0, len(sent)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted is not None:
            self.hub.ranges.append(wanted[0])
        if wanted is not None and not fault.ignores_range:
            status, first = 206, int(wanted[1])
            end = min(int(wanted[2]) + 1, end) if wanted[2] else end
            headers["Content-Range"] = f"bytes {first}-{end - 1}/{len(sent)}"
        self._send(status, sent[first:end], headers, fault)

    def _send_json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send_error(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        body = json.dumps({"error": message}).encode()
        known = {"X-Error-Code": code, "X-Error-Message": message} if code else {}
        self._send(status, body, {**known, **(headers or {})})

    def _send(
        self, status: int, content: bytes, headers: dict[str, str], fault: Fault | None = None
    ) -> None:
        self.send_response(status)
        length = {"Content-Length": str(len(content))}
        for name, value in {"X-Repo-Commit": self.hub.commit, **headers, **length}.items():
            if name != self.left_out:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self._send_body(content, fault or Fault())

    def _send_body(self, content: bytes, fault: Fault) -> None:
        share = 1.0 if fault.ends_after is None else fault.ends_after
        sent = content[: int(len(content) * share)]
        size = max(1, -(-len(sent) // fault.parts))
        for start in range(0, len(sent), size):
            self.wfile.write(sent[start : start + size])
            self.wfile.flush()
            if fault.parts > 1:
                self.hub.closing.wait(MOMENT_S)
        if fault.ends_after is not None:
            self._end(fault.ending)

    def _end(self, ending: str) -> None:
        """End a connection within a body: by stalling, an orderly close or a reset."""
        if ending == "stall":
            self.hub.closing.wait(STALL_S)
        if ending == "reset":
            self.hub.closing.wait(MOMENT_S)  # lets the bytes sent so far arrive before the reset
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        self.close_connection = True


def _is_of_content(fault: Fault) -> bool:
    """Whether a fault concerns a file's content rather than its headers."""
    return bool(
        fault.on_body
        or fault.corrupted
        or fault.short_by
        or fault.ends_after is not None
        or fault.parts > 1
        or fault.ignores_range
    )


def _corrupt(content: bytes) -> bytes:
    """The bytes with one of them changed."""
    return content[:-1] + bytes([content[-1] ^ 1])


def git_sha1(content: bytes) -> str:
    """The name git gives to a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _tree(files: dict[str, bytes], folder: str, recursive: bool) -> list[dict[str, object]]:
    """Entries of a folder of a repository: files and folders, recursively or not."""
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
