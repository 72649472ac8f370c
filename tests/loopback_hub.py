"""A Hub on the loopback interface: the parts of its HTTP interface that the Hugging Face libraries use.

Every file is uploaded inside the commit ("regular"), so neither LFS nor Xet is needed. Repositories whose name ends
with ``-500`` refuse a commit after half of it was read, those with ``-drop`` hang up there.
"""

import base64
import hashlib
import json
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

KINDS = {"models": "model", "datasets": "dataset"}


@dataclass
class Repository:
    """Files of each commit; the last commit is ``main``."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    @property
    def head(self) -> str:
        return list(self.commits)[-1]

    def commit(self, files: dict[str, bytes], deleted: tuple[str, ...] = ()) -> str:
        before = self.commits[self.head] if self.commits else {}
        tree = {**{p: d for p, d in before.items() if p not in deleted}, **files}
        sha = hashlib.sha1(repr((len(self.commits), sorted(tree.items()))).encode()).hexdigest()
        self.commits[sha] = tree
        return sha


class LoopbackHub:
    """``with LoopbackHub() as hub``: ``hub.url`` is an HF_ENDPOINT; ``hub.repositories[kind, id]`` what was pushed.

    ``pages`` are other files by path; of ``broken`` ones only half is sent.
    """

    def __init__(self):
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.requests: list[tuple[str, str]] = []
        self.pages: dict[str, bytes] = {}
        self.broken: dict[str, bytes] = {}
        self.lock = threading.RLock()
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *exception):
        self.server.shutdown()
        self.server.server_close()

    def files(self, repo: str, kind: str = "model") -> dict[str, bytes]:
        """What ``main`` of a repository holds."""
        repository = self.repositories[kind, repo]
        return repository.commits[repository.head]

    def add(self, repo: str, folder, kind: str = "model") -> str:
        """Publish the files of a folder; returns the commit."""
        files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        repository = self.repositories.setdefault((kind, repo), Repository())
        return repository.commit(files)

    def environment(self, home) -> dict[str, str]:
        """Variables of a process that sees this Hub and nothing of the user's own."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HUB_OFFLINE": "0",
            "HF_TOKEN": "hf_loopback",
            "HF_HOME": str(home),
            "HF_VTG_CACHE": str(home / "hf_vtg"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        self.answer()

    do_GET = do_POST = do_HEAD

    def answer(self):
        address = urlsplit(self.path)
        parts = [unquote(part) for part in address.path.strip("/").split("/")]
        self.hub.requests.append((self.command, address.path))
        self.query = parse_qs(address.query)
        with self.hub.lock:
            if address.path in self.hub.pages:
                self.reply(200, self.hub.pages[address.path], "application/octet-stream")
            elif address.path in self.hub.broken:
                data = self.hub.broken[address.path]
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2])
                self.close_connection = True
            elif parts[0] == "api":
                self.api(parts[1:])
            else:
                self.resolve(parts)

    def api(self, parts: list[str]):
        if parts == ["whoami-v2"]:
            self.json({"type": "user", "name": "tester", "orgs": [], "auth": {"type": "access_token"}})
        elif parts == ["validate-yaml"]:
            self.read()
            self.json({"errors": [], "warnings": []})
        elif parts == ["repos", "create"]:
            self.create(json.loads(self.read()))
        elif parts[0] in KINDS:
            self.repository(KINDS[parts[0]], "/".join(parts[1:3]), parts[3:])
        else:
            self.missing("EntryNotFound")

    def create(self, wanted: dict):
        kind, owner = wanted.get("type") or "model", wanted.get("organization") or "tester"
        repo = f"{owner}/{wanted['name']}"
        exists = (kind, repo) in self.hub.repositories
        if not exists:
            self.hub.repositories[kind, repo] = Repository()
            self.hub.repositories[kind, repo].commit({".gitattributes": b""})
        place = repo if kind == "model" else f"{kind}s/{repo}"
        self.json({"url": f"{self.hub.url}/{place}", "name": repo}, status=409 if exists else 200)

    def repository(self, kind: str, repo: str, rest: list[str]):
        body = self.body_of_commit(repo) if rest[:1] == ["commit"] else self.read()
        if body is None:
            return
        repository = self.hub.repositories.get((kind, repo))
        if repository is None:
            self.missing("RepoNotFound")
            return
        action = rest[0] if rest else "revision"
        revision = rest[1] if len(rest) > 1 else "main"
        sha = repository.head if revision == "main" else revision
        if sha not in repository.commits:
            self.missing("RevisionNotFound")
            return
        files = repository.commits[sha]
        if action == "revision":
            siblings = [{"rfilename": name} for name in sorted(files)]
            self.json({"id": repo, "sha": sha, "private": False, "tags": [], "siblings": siblings})
        elif action == "preupload":
            asked = json.loads(body)["files"]
            self.json({"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked]})
        elif action == "tree":
            self.json(_tree(files, "/".join(rest[2:]), self.query.get("recursive", ["false"])[0].lower() == "true"))
        elif action == "paths-info":
            wanted = json.loads(body)["paths"]
            self.json([entry for entry in _tree(files, "", True) if entry["path"] in wanted])
        elif action == "commit":
            lines = [json.loads(line) for line in body.splitlines()]
            added = {e["value"]["path"]: base64.b64decode(e["value"]["content"]) for e in lines if e["key"] == "file"}
            deleted = tuple(e["value"]["path"] for e in lines if e["key"] == "deletedFile")
            sha = repository.commit(added, deleted)
            self.json({"success": True, "commitOid": sha, "commitUrl": f"{self.hub.url}/{repo}/commit/{sha}"})
        else:
            self.missing("EntryNotFound")

    def body_of_commit(self, repo: str) -> bytes | None:
        """The commit, or None where this repository fails half-way."""
        if not repo.endswith(("-500", "-drop")):
            return self.read()
        self.rfile.read(int(self.headers["Content-Length"]) // 2)
        self.close_connection = True
        if repo.endswith("-500"):
            self.reply(500, b'{"error": "Internal Error"}', "application/json")
        else:
            self.connection.shutdown(socket.SHUT_RDWR)
        return None

    def resolve(self, parts: list[str]):
        """``[datasets/]OWNER/NAME/resolve/REVISION/PATH``."""
        kind = "model"
        if parts[0] in KINDS:
            kind, parts = KINDS[parts[0]], parts[1:]
        repository = self.hub.repositories.get((kind, "/".join(parts[:2])))
        if repository is None or parts[2:3] != ["resolve"]:
            self.missing("RepoNotFound")
            return
        sha = repository.head if parts[3] == "main" else parts[3]
        path = "/".join(parts[4:])
        if sha not in repository.commits:
            self.missing("RevisionNotFound")
        elif path not in repository.commits[sha]:
            self.missing("EntryNotFound", sha)
        else:
            data = repository.commits[sha][path]
            tag = {"X-Repo-Commit": sha, "ETag": f'"{hashlib.sha1(data).hexdigest()}"', "Accept-Ranges": "bytes"}
            self.reply(200, data, "application/octet-stream", tag)

    def read(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def json(self, value, status: int = 200):
        self.reply(status, json.dumps(value).encode(), "application/json")

    def missing(self, code: str, sha: str | None = None):
        commit = {"X-Repo-Commit": sha} if sha else {}
        self.reply(404, json.dumps({"error": code}).encode(), "application/json", {"X-Error-Code": code, **commit})

    def reply(self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None):
        start, end = 0, len(body)
        asked = self.headers.get("Range", "")
        if status == 200 and asked.startswith("bytes="):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last) + 1 if last else end, end)
            status, headers = 206, {**(headers or {}), "Content-Range": f"bytes {start}-{end - 1}/{len(body)}"}
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(end - start))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[start:end])


def _tree(files: dict[str, bytes], under: str, recursive: bool) -> list[dict]:
    prefix = f"{under}/" if under else ""
    inside = [name.removeprefix(prefix) for name in sorted(files) if name.startswith(prefix)]
    folders = {"/".join(name.split("/")[:k]) for name in inside for k in range(1, name.count("/") + 1)}
    entries = [{"type": "directory", "path": prefix + name, "oid": "0", "size": 0} for name in sorted(folders)]
    entries += [
        {
            "type": "file",
            "path": prefix + name,
            "size": len(files[prefix + name]),
            "oid": hashlib.sha1(files[prefix + name]).hexdigest(),
        }
        for name in inside
    ]
    return [entry for entry in entries if recursive or "/" not in entry["path"].removeprefix(prefix)]
