"""Sends a site's answers to this machine's own browsers: bound to loopback, reading alone."""

from __future__ import annotations

import errno
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from dropkd.errors import RunError
from dropkd.watching.site import Answer, Site

__all__ = ["DEFAULT_PORT", "WatchServer", "open_server"]

DEFAULT_PORT = 7878
_MOST_TRIED = 20
_LOOPBACK = "127.0.0.1"
# Names by which a browser on this machine, or at the other end of a tunnel, finds it. Any other name was led here by
# whoever owns it, to read the page from a page of theirs. The port is not looked at: a tunnel has one of its own.
_OWN_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
_SECONDS_TO_ASK = 30.0


class WatchServer(ThreadingHTTPServer):
    """Answers from a site until it is shut down.

    Args:
        port: 0 takes any free one.
        site: what is answered.
    """

    daemon_threads = True
    # On Windows this would let two servers listen at one port.
    allow_reuse_address = os.name != "nt"

    def __init__(self, port: int, site: Site) -> None:
        self.site = site
        super().__init__((_LOOPBACK, port), _Handler)

    @property
    def address(self) -> str:
        """What to type into a browser."""
        return f"http://{_LOOPBACK}:{self.server_port}/"

    def handle_error(self, request: object, client_address: object) -> None:
        """Pass over a browser that has gone away."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    """Reads a request, refuses what does not read, and sends the site's answer."""

    server: WatchServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "dropkd", ""
    timeout = _SECONDS_TO_ASK
    error_content_type = "text/plain; charset=utf-8"
    error_message_format = "%(message)s\n"

    def do_GET(self) -> None:
        """Send an answer with its content."""
        self._answer()

    def do_HEAD(self) -> None:
        """Send an answer without its content."""
        self._answer()

    def do_POST(self) -> None:
        """Refuse: nothing can be changed here."""
        self._send(Answer.say(405, "This page is read and nothing else."))

    do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = do_POST  # noqa: N815  (as HTTP names them)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class names it so)
        """Say nothing: the terminal is the user's."""

    def _answer(self) -> None:
        names = self.headers.get_all("Host") or []
        name = names[0].strip().lower() if len(names) == 1 else ""
        host, _, port = name.rpartition(":") if not name.endswith("]") and ":" in name else (name, "", "")
        if host not in _OWN_NAMES or not (port == "" or port.isdecimal()):
            self._send(Answer.say(421, "This page is for this machine alone: open it at 127.0.0.1 or localhost."))
            return
        self._send(self.server.site.answer(self.path))

    def _send(self, answer: Answer) -> None:
        known = bool(answer.tag) and answer.tag in (self.headers.get("If-None-Match") or "")
        self.send_response(304 if known else answer.status)
        if answer.status == 405:
            self.send_header("Allow", "GET, HEAD")
        if answer.tag:
            self.send_header("ETag", answer.tag)
        if not known:
            self.send_header("Content-Type", answer.kind)
            self.send_header("Content-Length", str(len(answer.content)))
        self.send_header("Content-Security-Policy", answer.policy)
        # One connection for each answer: none outlives the server, and nothing can follow what was not read.
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD" and not known:
            self.wfile.write(answer.content)

    def end_headers(self) -> None:
        """Add what every answer says: keep nothing, show it in no frame, tell nobody where one came from."""
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        super().end_headers()


def open_server(site: Site, port: int | None) -> WatchServer:
    """Return a server that listens at a port of this machine.

    Args:
        site: what it answers.
        port: the port; 0 takes any free one, None the usual one or the next that is free.

    Raises:
        RunError: the port is in use, or not to be had.
    """
    tried = range(DEFAULT_PORT, DEFAULT_PORT + _MOST_TRIED) if port is None else (port,)
    for number in tried:
        try:
            return WatchServer(number, site)
        except OSError as error:
            if error.errno == errno.EACCES:
                raise RunError(
                    f"Port {number} is not open to you: choose one above 1023 by --port, or 0 for any free one."
                ) from error
            if error.errno != errno.EADDRINUSE:
                raise RunError(f"Can't listen at port {number}: {error.strerror}.") from error
    shown = f"Port {port} is" if port is not None else f"The ports {tried[0]} to {tried[-1]} are"
    raise RunError(f"{shown} in use. Choose another by --port, or 0 for any free one.")
