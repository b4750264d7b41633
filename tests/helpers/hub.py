"""A hub on this machine: as much of the Hugging Face Hub's protocol as is used, and commands on it.

Files that are no text are uploaded as Git LFS says, as on the hub; Xet, its own storage, is off.
"""

import base64
import contextlib
import hashlib
import io
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
from contextlib import redirect_stderr, redirect_stdout
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from huggingface_hub import constants

from mjx_sac.cli import app

TOKEN = "hf_secret"
"""Who sends it is logged in as `ann`."""


class Hub(ThreadingHTTPServer):
    """Models by name, each a list of commits, a commit being files by path.

    Attributes:
      private: those that their owners alone may see.
      messages: of all commits.
      stalls: paths that end so are answered half (`stalled` is set), and no more until `released`.
      requests: methods and paths, as they came.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Answer)
        self.models: dict[str, list[dict[str, bytes]]] = {}
        self.blobs: dict[str, bytes] = {}
        self.private: set[str] = set()
        self.messages: list[str] = []
        self.requests: list[str] = []
        self.stalls, self.stalled, self.released = None, threading.Event(), threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def files(self, name: str) -> dict[str, bytes]:
        return self.models[name][-1]


@contextlib.contextmanager
def serve():
    """Run a hub without models."""
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()


def sha(name: str, commits: int) -> str:
    return hashlib.sha1(f"{name}@{commits}".encode()).hexdigest()


def is_text(data: bytes) -> bool:
    try:
        return "\0" not in data.decode()
    except UnicodeDecodeError:
        return False


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_):
        pass

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def _answer(self):
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {path}")
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            self.body = b"".join(iter(self._chunk, b""))
        for pattern, method in _ROUTES.items():
            if found := re.fullmatch(pattern, f"{self.command} {path}"):
                return method(self, *found.groups())
        self._json({"error": "no such route"}, 404)

    def _chunk(self) -> bytes:
        data = self.rfile.read(int(self.rfile.readline(), 16))
        self.rfile.readline()
        return data

    def _send(self, data: bytes, status=200, **headers):
        self.send_response(status)
        headers = {"Content-Length": str(len(data)), **headers}
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.server.stalls and self.path.endswith(self.server.stalls):
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self.server.stalled.set()
            self.server.released.wait(60)
            data = data[len(data) // 2 :]
        with contextlib.suppress(ConnectionError):  # it has been killed
            self.wfile.write(data)

    def _json(self, value, status=200, **headers):
        self._send(json.dumps(value).encode(), status, Content_Type="application/json", **headers)

    def _logged_in(self, name: str) -> bool:
        token = self.headers.get("Authorization")
        if token != f"Bearer {TOKEN}":
            error = "Invalid credentials in Authorization header"
            self._json({"error": error}, 401, **{"X-Error-Message": error} if token else {})
        elif not name.startswith("ann/"):
            error = f"You don't have the rights to create a model under {name.partition('/')[0]}"
            self._json({"error": error}, 403, X_Error_Message=error)
        else:
            return True
        return False

    def _commits(self, name: str) -> list[dict[str, bytes]] | None:
        commits = self.server.models.get(name)
        if commits is None:
            status = 404 if self.headers.get("Authorization") else 401
            self._json({"error": "Repository not found"}, status, X_Error_Code="RepoNotFound")
        return commits

    def _info(self, name, _revision=None):
        if commits := self._commits(name):
            files = [{"rfilename": path} for path in commits[-1]]
            self._json({"id": name, "sha": sha(name, len(commits)), "siblings": files})

    def _tree(self, name, revision):
        if (commits := self._commits(name)) is None:
            return
        found = []
        for path, data in self._at(name, commits, revision).items():
            blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            one = {"type": "file", "path": path, "size": len(data), "oid": blob}
            if not is_text(data):
                lfs = hashlib.sha256(data).hexdigest()
                one["lfs"] = {"oid": lfs, "size": len(data), "pointerSize": 134}
            found.append(one)
        self._json(found)

    def _at(self, name, commits, revision):
        shas = {sha(name, i + 1): files for i, files in enumerate(commits)}
        return shas.get(revision, commits[-1])

    def _file(self, name, revision, path):
        if (commits := self._commits(name)) is None:
            return
        data = self._at(name, commits, revision).get(path)
        commit = {"X-Repo-Commit": revision}
        if data is None:
            return self._json({}, 404, **commit, X_Error_Code="EntryNotFound")
        start = int((self.headers.get("Range") or "bytes=0-")[6:].partition("-")[0])
        etag = hashlib.sha256(data).hexdigest()
        self._send(data[start:], 206 if start else 200, ETag=f'"{etag}"', **commit)

    def _create(self):
        asked = json.loads(self.body)
        name = f"{asked['organization']}/{asked['name']}"
        if self._logged_in(name):
            self.server.private |= {name} if asked.get("visibility") == "private" else set()
            self.server.models[name] = [{".gitattributes": b"* text\n"}]
            self._json({"url": f"{self.server.url}/{name}", "name": name})

    def _validate(self):
        text = json.loads(self.body)["content"]
        assert yaml.safe_load(text.split("---\n")[1])["library_name"] == "mjx-sac"
        self._json({"errors": [], "warnings": []})

    def _preupload(self, name):
        if self._logged_in(name) and self._commits(name):
            found = []
            for file in json.loads(self.body)["files"]:
                lfs = not is_text(base64.b64decode(file["sample"]))
                mode = "lfs" if lfs or file["size"] > 10_000_000 else "regular"
                found.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False})
            self._json({"files": found})

    def _batch(self, name):
        objects = json.loads(self.body)["objects"]
        if self._logged_in(name):
            for one in objects:
                if one["oid"] not in self.server.blobs:
                    one["actions"] = {"upload": {"href": f"{self.server.url}/lfs/{one['oid']}"}}
            self._json({"transfer": "basic", "objects": objects})

    def _store(self, oid):
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.server.blobs[oid] = self.body
        self._send(b"")

    def _commit(self, name):
        if not (self._logged_in(name) and (commits := self._commits(name))):
            return
        files = dict(commits[-1])
        for line in self.body.splitlines():
            change = json.loads(line)
            value = change["value"]
            if change["key"] == "header":
                self.server.messages.append(value["summary"])
            if change["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif change["key"] == "lfsFile":
                files[value["path"]] = self.server.blobs[value["oid"]]
            elif change["key"] == "deletedFile":
                del files[value["path"]]
        commits.append(files)
        commit = sha(name, len(commits))
        self._json({"commitUrl": f"{self.server.url}/{name}/commit/{commit}", "commitOid": commit})


_NAME = r"([\w.-]+/[\w.-]+)"
_ROUTES = {
    rf"GET /api/models/{_NAME}(?:/revision/(\w+))?": _Answer._info,
    rf"GET /api/models/{_NAME}/tree/(\w+)": _Answer._tree,
    rf"(?:GET|HEAD) /{_NAME}/resolve/(\w+)/(.+)": _Answer._file,
    "POST /api/repos/create": _Answer._create,
    "POST /api/validate-yaml": _Answer._validate,
    rf"POST /api/models/{_NAME}/preupload/main": _Answer._preupload,
    rf"POST /{_NAME}\.git/info/lfs/objects/batch": _Answer._batch,
    r"PUT /lfs/(\w+)": _Answer._store,
    rf"POST /api/models/{_NAME}/commit/main": _Answer._commit,
}


class Machine:
    """Somebody's machine: an empty home, with the hub at `url`; logged in with a `token`."""

    def __init__(self, home: pathlib.Path, url: str, token: str | None = TOKEN):
        home.mkdir(parents=True, exist_ok=True)
        self.home, self.url, self.token = home, url, token

    def run(self, *arguments) -> tuple[int, str, str]:
        """Return exit code, standard output and standard error of a command, in this process.

        The library reads its variables when it is imported.
        """
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.chdir(self.home)
            patch.setenv("HF_TOKEN", self.token or "")
            patch.setattr(constants, "ENDPOINT", self.url)
            template = f"{self.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
            patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
            patch.setattr(constants, "HF_HUB_CACHE", str(self.home / "cache"))
            patch.setattr(constants, "HF_TOKEN_PATH", str(self.home / "token"))
            patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
            with pytest.raises(SystemExit) as stop:
                app.main([str(argument) for argument in arguments])
        return stop.value.code, out.getvalue(), err.getvalue()

    def process(self, *arguments, program="-m mjx_sac") -> subprocess.Popen[str]:
        """Start a command in a process of its own."""
        plain = {k: x for k, x in os.environ.items() if not k.startswith("HF_")}
        own = {"HOME": str(self.home), "HF_HUB_CACHE": str(self.home / "cache")}
        own |= {"HF_ENDPOINT": self.url, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": self.token or ""}
        own["HF_HOME"] = str(self.home / "hf")
        command = [sys.executable, *program.split(maxsplit=1), *map(str, arguments)]
        how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        # Tests that run in the background have SIGINT ignored, and what they start inherits it.
        heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
        how["preexec_fn"] = heed
        return subprocess.Popen(command, cwd=self.home, env={**plain, **own}, **how)
