"""A recorded page in a real browser: Chromium, without a window.

A script is added to a copy of the page, does what a user would, and sends what it saw to the server
that the copy came from.
"""

import base64
import http.server
import io
import json
import queue
import shutil
import subprocess
import tempfile
import threading

import numpy as np
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
WIDTH, HEIGHT = 640, 480

# `view` hands over what the page's own script keeps to itself, when it has just drawn: later a
# canvas cannot be read.
_PROBE = """
<script>
const probe = {};
function view(parts) {
  Object.assign(probe, parts);
  probe.shoot?.(document.querySelector("canvas").toDataURL());
}
const frame = () => new Promise(requestAnimationFrame);
const element = id => document.getElementById(id);
async function seek(t) { element("slider").value = t; await frame(); await frame(); }
const picture = () => new Promise(resolve => (probe.shoot = resolve));
async function script() { while (!probe.scene) await frame(); %s }
script().catch(error => ({error: String(error)})).then(result =>
  fetch("/result", {method: "POST", body: JSON.stringify(result)}));
</script>
"""
_DRAWN = "renderer.render(scene, camera);"


class _Server(http.server.ThreadingHTTPServer):
    def __init__(self, page: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.page, self.results = page.encode(), queue.Queue()


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(self.server.page)

    def do_POST(self) -> None:
        self.server.results.put(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_) -> None:
        pass


def run(page: str, script: str, seconds: float = 240):
    """Return what the script, the body of an asynchronous JavaScript function, returns."""
    assert page.count(_DRAWN) == 1
    page = page.replace(_DRAWN, f"{_DRAWN} view({{scene, camera, target}});")
    with _Server(page.replace("<script>", _PROBE % script + "<script>", 1)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            result = json.loads(_visit(server, seconds))
        finally:
            server.shutdown()
    assert not isinstance(result, dict) or "error" not in result, result
    return result


def _visit(server: _Server, seconds: float) -> bytes:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        command = [
            *(CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
            *("--remote-debugging-port=0", f"--user-data-dir={directory}"),
            *(f"--window-size={WIDTH},{HEIGHT}", f"http://127.0.0.1:{server.server_port}/"),
        ]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command, **quiet) as browser:
            try:
                return server.results.get(timeout=seconds)
            finally:
                browser.terminate()


def pixels(picture: str) -> np.ndarray:
    """Return a picture as `[height, width, 3]` bytes."""
    data = base64.b64decode(picture.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
