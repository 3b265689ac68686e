"""A hub on this machine: as much of its interface as an upload needs."""

import base64
import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub(ThreadingHTTPServer):
    """Keeps what it was sent.

    Attributes:
        refuses: a part of an address that is answered with 403.
        files: {path in the repository: bytes}.
        cards: what it was asked to check.
        tokens: the headers it was shown.
        exists: a repository of the asked name is there already, so nobody can choose who sees it.
        is_private: of the repository.
    """

    def __init__(self, refuses=None, *, exists=False):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.refuses, self.repository = refuses, ""
        self.exists, self.is_private = exists, False
        self.files, self.cards, self.tokens = {}, [], set()
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        hub = self.server
        if hub.refuses and hub.refuses in self.path:
            return self._answer(403, {"error": "You may not write here"})
        hub.tokens.add(self.headers["Authorization"])
        if "/commit/" in self.path:
            return self._answer(200, self._commit(body))
        asked = json.loads(body)
        if self.path == "/api/repos/create":
            space, name = asked.get("organization") or "somebody", asked["name"]
            hub.repository = f"{space}/{name}"
            url = f"{hub.url}/{hub.repository}"
            if hub.exists:
                return self._answer(409, {"error": "You already created this repo", "url": url})
            hub.is_private = asked.get("private") or asked.get("visibility") == "private"
            return self._answer(200, {"url": url})
        if self.path == "/api/validate-yaml":
            hub.cards.append(asked["content"])
            return self._answer(200, {"errors": [], "warnings": []})
        assert self.path.endswith("/preupload/main"), self.path
        plain = {"uploadMode": "regular", "shouldIgnore": False}
        self._answer(200, {"files": [{"path": f["path"], **plain} for f in asked["files"]]})

    def do_GET(self):
        hub = self.server
        if hub.repository and self.path.startswith(f"/api/models/{hub.repository}"):
            return self._answer(200, {"id": hub.repository, "private": hub.is_private})
        self._answer(404, {"error": "nothing to see"})

    def _commit(self, body):
        for line in body.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                content = base64.b64decode(entry["value"]["content"])
                self.server.files[entry["value"]["path"]] = content
        url = f"{self.server.url}/{self.server.repository}/commit/main"
        return {"commitUrl": url, "commitOid": "a" * 40, "success": True}

    def _answer(self, code, values):
        data = json.dumps(values).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(refuses=None, *, exists=False):
    """A hub that answers until the block ends."""
    hub = Hub(refuses, exists=exists)
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
