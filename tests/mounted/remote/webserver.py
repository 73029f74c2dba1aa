"""A web server for tests: it keeps to HTTP, or breaks it in the way a test asks for.

Concurrency: a thread per connection; what tests change is changed between requests.
"""

from __future__ import annotations

import hashlib
import html
import re
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, unquote_to_bytes

MODIFIED = "Thu, 01 Jan 2026 00:00:00 GMT"


class WebServer:
    """Serves `files` (path without a leading slash to content) at `url`, with pages of links."""

    def __init__(self, files=(), port=0):
        self.files = dict(files)
        self.ranges = True
        self.pages = True
        self.etags = True
        self.lengths = True
        self.announced = {}
        """By path: the size that is told, if not the true one."""
        self.drops = {}
        """By path: after how many bytes of a body the connection is dropped, and how often."""
        self.statuses = {}
        """By path: what is answered in place of the file."""
        self.links = []
        """More links for each page, as they stand in HTML."""
        self.hanging = set()
        self.go_on = threading.Event()
        self.asked = []
        """Method, path and range of each request."""
        self.authorizations = []
        server = self

        class Handler(_Handler):
            web = server

        self._http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._http.daemon_threads = True
        self.port = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.go_on.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def gets(self, path):
        """Return the ranges of the GET requests for `path`."""
        return [span for method, name, span in self.asked if (method, name) == ("GET", path)]

    def page(self, path):
        """Return the page of a directory, None if no file is below it."""
        below = {name[len(path) :] for name in self.files if name.startswith(path)}
        if path and not below:
            return None
        names = {name.partition("/")[0] + ("/" if "/" in name else "") for name in below}
        links = [html.escape(quote(name.encode("utf-8", "surrogateescape"))) for name in names]
        lines = [f'<li><a href="{link}">{link}</a>' for link in sorted(links)]
        return f"<html><body>{' '.join([*lines, *self.links])}</body></html>".encode()


class _Handler(BaseHTTPRequestHandler):
    web: WebServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        web = self.web
        path = unquote_to_bytes(self.path.partition("?")[0][1:]).decode("utf-8", "surrogateescape")
        web.asked.append((self.command, path, self.headers.get("Range")))
        web.authorizations.append(self.headers.get("Authorization"))
        if path in web.hanging:
            web.go_on.wait()
        if path in web.statuses:
            self.plain(web.statuses[path], b"no\n", body, "text/plain")
        elif path in web.files:
            self.file(path, web.files[path], body)
        elif (path == "" or path.endswith("/")) and web.pages and web.page(path) is not None:
            self.plain(200, web.page(path), body, "text/html; charset=utf-8")
        elif web.pages and web.page(path + "/") is not None:
            self.send_response(301)
            self.send_header("Location", "/" + quote(path) + "/")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.plain(404, b"there is no such thing\n", body, "text/plain")

    def plain(self, status, data, body, kind):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def file(self, path, data, body):
        web = self.web
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if span and web.ranges:
            first, last = int(span[1]), min(int(span[2]), len(data) - 1)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
            piece = data[first : last + 1]
            length = len(piece)
        else:
            self.send_response(200)
            piece, length = data, web.announced.get(path, len(data))
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Last-Modified", MODIFIED)
        if web.etags:
            self.send_header("ETag", f'"{hashlib.md5(data).hexdigest()}"')
        if web.lengths:
            self.send_header("Content-Length", str(length))
        else:
            self.close_connection = True
        self.end_headers()
        if not body:
            return
        drop, times = web.drops.get(path, (0, 0))
        if times:
            web.drops[path] = drop, times - 1
            piece = piece[:drop]
            self.close_connection = True
        with suppress(ConnectionError):
            self.wfile.write(piece)
