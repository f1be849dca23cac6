"""A headless browser that measures pages: how wide each one is laid out in a window of a given width."""

from __future__ import annotations

import functools
import json
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_MEASURE = "measure.html"
_PATIENCE = 240.0
_SCRIPT = """<!doctype html><title>measure</title><body><script>
(async () => {
  const found = {};
  for (const page of PAGES) {
    const frame = document.createElement("iframe");
    frame.width = WIDTHS[0]; frame.height = 900; frame.src = page;
    const loaded = new Promise(resolve => frame.onload = resolve);
    document.body.append(frame);
    await loaded;
    for (const width of WIDTHS) {
      frame.width = width;
      const root = frame.contentDocument.documentElement;
      found[page + " " + width] = [root.scrollWidth, root.clientWidth, frame.contentDocument.body.innerText.length];
    }
    frame.remove();
  }
  await fetch("/", {method: "POST", body: JSON.stringify(found)});
})();
</script>"""


def browser() -> str | None:
    """The browser of this machine; None if there is none."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def overflowing(executable: str, folder: Path, pages: Sequence[str], widths: Sequence[int]) -> Sequence[str]:
    """The pages of a folder that are wider than their window, or empty: `PAGE WIDTH: laid out in N`."""
    script = _SCRIPT.replace("PAGES", json.dumps(list(pages))).replace("WIDTHS", json.dumps(list(widths)))
    with _served(folder, script) as (url, results):
        found: Mapping[str, tuple[int, int, int]] = json.loads(_visited(executable, url, results))
    assert len(found) == len(pages) * len(widths)
    return [
        f"{page}: laid out in {laid_out}"
        for page, (laid_out, window, letters) in found.items()
        if laid_out > window or not letters
    ]


def _visited(executable: str, url: str, results: queue.Queue[bytes]) -> bytes:
    """The final post of the page at `url`."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
        process = subprocess.Popen(
            [executable, *options, url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            return results.get(timeout=_PATIENCE)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=30)


@contextmanager
def _served(folder: Path, script: str) -> Iterator[tuple[str, queue.Queue[bytes]]]:
    results: queue.Queue[bytes] = queue.Queue()

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != f"/{_MEASURE}":
                super().do_GET()
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(script.encode())

        def do_POST(self) -> None:
            results.put(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/{_MEASURE}", results
        server.shutdown()
