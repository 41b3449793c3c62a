"""A hub of a few bytes: lists repositories and serves their files as the Hugging Face hub does, and can fail as nets do."""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

REVISION = "0123456789abcdef0123456789abcdef01234567"
LARGE = (".safetensors", ".pt", ".bin")


class Hub(ThreadingHTTPServer):
    """What it has, what it was asked for, and how it fails.

    Attributes:
        files: content of each file, by (repository, path).
        asked: (path, Range) of each request for a file.
        cut: after how many bytes the first transfer of a file breaks off; all requests for files fail from then on.
        serve: what is served in place of a file, by its path.
    """

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.asked, self.cut, self.serve = files, [], None, {}

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.server_port}"

    def listing(self, repository):
        siblings = []
        for (owner, path), content in self.files.items():
            if owner == repository:
                entry = {"rfilename": path, "size": len(content)}
                entry["blobId"] = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
                if path.endswith(LARGE):
                    entry["lfs"] = {
                        "size": len(content),
                        "sha256": hashlib.sha256(content).hexdigest(),
                        "pointerSize": 130,
                    }
                siblings.append(entry)
        return {"id": repository, "sha": REVISION, "siblings": siblings, "tags": [], "private": False, "downloads": 0}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/api/models/"):
            repository = path.removeprefix("/api/models/")
            self._answer(
                200, json.dumps(self.server.listing(repository)).encode(), {"Content-Type": "application/json"}
            )
            return
        repository, _, rest = path[1:].partition("/resolve/")
        if not rest:
            self._answer(404, b"", {})
            return
        name = rest.removeprefix(f"{REVISION}/")
        content = self.server.serve.get(name, self.server.files[repository, name])
        asked = self.headers.get("Range")
        self.server.asked.append((name, asked))
        begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if self.server.cut is not None:
            self._cut(content)
            return
        ranges = {"Content-Range": f"bytes {begin}-{len(content) - 1}/{len(content)}"} if asked else {}
        self._answer(206 if asked else 200, content[begin:], ranges)

    def _cut(self, content):
        if len(self.server.asked) > 1:
            self._answer(503, b"", {})
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: self.server.cut])
        self.close_connection = True

    def _answer(self, code, content, headers):
        self.send_response(code)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def hub_of(files):
    """The hub, as long as the block lasts."""
    hub = Hub(files)
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
