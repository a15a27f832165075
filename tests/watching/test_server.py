"""What is sent to whom: to this machine alone, pages and a few files, whatever is asked for in whatever spelling."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dropkd.errors import RunError
from dropkd.watching import open_watch
from dropkd.watching.server import WatchServer, open_server
from dropkd.watching.site import Site

from .logs import config, epoch, events, held, start, step, write_run

HIDDEN = "this must stay where it is"


@contextmanager
def serving(folder: Path, port: int | None = 0) -> Iterator[WatchServer]:
    with open_server(Site(open_watch(folder)), port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ask(server: WatchServer, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()
    finally:
        connection.close()


def ask_bytes(server: WatchServer, request: bytes) -> bytes:
    """Send exactly these bytes; http.client would mend some of them."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run with its report and a checkpoint, links out of it, and a secret beside it."""
    (tmp_path / "secret.txt").write_text(HIDDEN)
    run = write_run(tmp_path / "run", *events(done=2))
    (run / "report.html").write_text("<!doctype html><title>report</title>")
    (run / "last.ckpt").write_text(HIDDEN)
    (run / "link.txt").symlink_to(tmp_path / "secret.txt")
    (run / "cka.html").symlink_to(tmp_path / "secret.txt")
    (run / "up").symlink_to(tmp_path)
    return run


def test_the_page_and_what_is_new_are_sent(folder: Path) -> None:
    with serving(folder) as server, held(folder) as journal:
        status, headers, page = ask(server, "/")
        assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert "Epoch 2 of 4, 50\u00a0% done, about" in page
        told = json.loads(ask(server, "/parts")[2])
        assert told["news"] == "Epoch 2: validation accuracy 90.0\u00a0%."
        journal.write("epoch", 30, **{k: v for k, v in epoch(2, 0.95).items() if k not in ("event", "step")})
        server.site._looked = 0.0
        told = json.loads(ask(server, "/parts")[2])
    assert told["news"] == "Epoch 3: validation accuracy 95.0\u00a0%."
    assert told["title"] == "75\u00a0% run"


def test_what_has_not_changed_is_not_sent_again(folder: Path) -> None:
    with serving(folder) as server:
        _, headers, first = ask(server, "/parts")
        status, _, content = ask(server, "/parts", **{"If-None-Match": headers["ETag"]})
        assert (status, content) == (304, "")
        assert ask(server, "/parts", **{"If-None-Match": '"other"'})[2] == first


def test_files_of_the_run_are_sent_by_their_names_and_no_others(folder: Path) -> None:
    with serving(folder) as server:
        status, headers, content = ask(server, "/files/metrics.jsonl")
        assert (status, headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
        assert content == (folder / "metrics.jsonl").read_text()
        status, headers, _ = ask(server, "/files/report.html")
        assert status == 200
        # A page that somebody has put there runs in a place of its own.
        assert headers["Content-Security-Policy"].startswith("sandbox")
        for name in ("last.ckpt", "link.txt", "cka.html", "up", "student.safetensors", "metrics.json"):
            assert ask(server, f"/files/{name}")[0] == 404


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt", "/files/../secret.txt", "/files/../../secret.txt", "/files/..%2fsecret.txt",
        "/files/%2e%2e/secret.txt", "/files/%2e%2e%2fsecret.txt", "/files/..%252fsecret.txt", "/files/..\\secret.txt",
        "/files/..%5csecret.txt", "/files//etc/passwd", "//etc/passwd", "/etc/passwd", "/files/%00", "/files/link.txt",
        "/files/up/secret.txt", "/files/./metrics.jsonl", "/files/metrics.jsonl/", "/files/metrics.jsonl%00.txt",
        "/files/baseline/metrics.jsonl", "/run/0/", "/run/../files/metrics.jsonl", "/run/-1/", "/run/\u0663/",
        "/files/", "/parts/", "/run/0/parts", "file:///etc/passwd", "http://127.0.0.1/files/metrics.jsonl", "*", "/ /",
        "/files/metrics.jsonl#", "/" + "a" * 5000,
    ],
)  # fmt: skip
def test_no_other_address_leads_anywhere(folder: Path, path: str) -> None:
    with serving(folder) as server:
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        answer = ask_bytes(server, request)
    assert re.match(rb"HTTP/1.1 4\d\d ", answer)
    assert HIDDEN.encode() not in answer
    assert b"root:" not in answer
    assert b'"event"' not in answer


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"])
def test_nothing_but_reading_is_answered(folder: Path, method: str) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with serving(folder) as server:
        sent = f"{method} /files/config.yaml HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nevil".encode()
        answer = ask_bytes(server, sent + b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 405 " if method != "PROPFIND" else b"HTTP/1.1 501 ")
    # What followed was taken for a part of what was refused.
    assert answer.count(b"HTTP/1.1 ") == 1
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_head_tells_the_length_and_sends_nothing(folder: Path) -> None:
    with serving(folder) as server:
        status, headers, content = ask(server, "/files/metrics.jsonl", "HEAD")
    assert (status, content) == (200, "")
    assert int(headers["Content-Length"]) == (folder / "metrics.jsonl").stat().st_size


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("localhost:9000", 200), ("127.0.0.1:7878", 200), ("[::1]:80", 200), ("LocalHost", 200),
        ("evil.example", 421), ("evil.example:7878", 421), ("localhost.evil.example", 421), ("127.0.0.1.nip.io", 421),
        ("", 421), ("0.0.0.1", 421), ("evil.example@localhost", 421), ("localhost:80:80", 421), ("[::1", 421),
        ("localhost:x", 421), ("169.254.169.254", 421),
    ],
)  # fmt: skip
def test_a_page_under_another_name_is_not_answered(folder: Path, host: str, status: int) -> None:
    with serving(folder) as server:
        answer = ask_bytes(server, f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert (b"dropkd run" in answer) == (status == 200)


def test_a_request_without_a_name_or_with_two_is_not_answered(folder: Path) -> None:
    with serving(folder) as server:
        assert ask_bytes(server, b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 421 ")
        assert ask_bytes(server, b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 421 ")
        twice = b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
        assert ask_bytes(server, twice).startswith(b"HTTP/1.1 421 ")


def test_every_answer_says_how_it_may_be_used(folder: Path) -> None:
    with serving(folder) as server:
        for path, method in (
            ("/", "GET"),
            ("/parts", "GET"),
            ("/files/report.html", "GET"),
            ("/x", "GET"),
            ("/", "POST"),
        ):
            _, headers, _ = ask(server, path, method)
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["X-Frame-Options"] == "DENY"
            assert headers["Referrer-Policy"] == "no-referrer"
            assert headers["Cache-Control"] == "no-store"
            assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert "default-src 'none'" in headers["Content-Security-Policy"]
            assert "Access-Control-Allow-Origin" not in headers
            assert "Python" not in headers["Server"]
        policy = ask(server, "/")[1]["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "connect-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy


def test_only_this_machine_is_listened_to(folder: Path) -> None:
    with serving(folder) as server:
        assert server.server_address[0] == "127.0.0.1"
        assert server.address == f"http://127.0.0.1:{server.server_port}/"


def test_a_port_in_use_is_a_mistake_in_words_and_the_usual_one_gives_way(folder: Path) -> None:
    site = Site(open_watch(folder))
    words = r"Port \d+ is in use. Choose another by --port, or 0 for any free one."
    with serving(folder) as server, pytest.raises(RunError, match=words):
        open_server(site, server.server_port)
    with open_server(site, None) as first, open_server(site, None) as second:
        assert first.server_port < second.server_port


def test_names_and_texts_with_markup_are_shown_as_text(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>\"'&</script>"
    settings = config(method={"name": evil}, student={"name": evil}, teacher={"source": evil})
    terms = {evil: {"raw": 1.0, "weighted": 1.0, "share": 1.0}}
    told = [start(settings), step(1, terms=terms), epoch(0, train={"loss": 1.0, "accuracy": 0.5, "terms": terms})]
    run = write_run(tmp_path / "runs" / "<u>run", *told, {"event": "warning", "text": evil}, settings=settings)
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"event": "failure", "reason": f"`{evil}`"}) + "\n")
    for place, path in ((run, "/"), (run, "/parts"), (tmp_path / "runs", "/"), (tmp_path / "runs", "/run/0/")):
        with serving(place) as server:
            status, _, content = ask(server, path)
        text: Any = json.loads(content)["parts"] if path == "/parts" else {"page": content}
        assert status == 200
        assert all("<img" not in part and "<u>" not in part for part in text.values())
        assert any("&lt;img src=x" in part or "&lt;u&gt;run" in part for part in text.values())


def test_a_group_has_a_page_of_its_own_for_each_run(tmp_path: Path) -> None:
    write_run(tmp_path / "b", *events())
    write_run(tmp_path / "d", *events(done=1))
    with serving(tmp_path) as server:
        _, _, page = ask(server, "/")
        assert 'href="run/0/">b<' in page
        assert 'href="run/1/">d<' in page
        assert "2 runs: 1 finished, 1 failed or stopped." in page
        assert "dropkd run <code>d</code>" in ask(server, "/run/1/")[2]
        assert ask(server, "/run/1/files/metrics.jsonl")[2] == (tmp_path / "d" / "metrics.jsonl").read_text()
        assert ask(server, "/run/2/")[0] == 404
        # A run keeps its number when another comes before it.
        write_run(tmp_path / "a", *events())
        server.site._looked = 0.0
        assert 'href="run/2/">a<' in ask(server, "/")[2]
        assert "dropkd run <code>d</code>" in ask(server, "/run/1/")[2]


def test_a_run_whose_folder_goes_away_is_waited_for(folder: Path, tmp_path: Path) -> None:
    with serving(folder) as server:
        assert ask(server, "/")[0] == 200
        folder.rename(tmp_path / "moved")
        server.site._looked = 0.0
        status, _, page = ask(server, "/")
        assert status == 200
        assert '<span class="status waiting">waiting</span>' in page
