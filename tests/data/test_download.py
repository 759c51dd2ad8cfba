"""Downloads from a server on this machine that drops connections."""

from __future__ import annotations

import errno
import hashlib
import http.server
import os
import re
import threading
from pathlib import Path

import numpy as np
import pytest

from fastconv.data import download as module
from fastconv.data.download import DownloadError, download
from fastconv.errors import FormatError

pytest.importorskip("pooch")

CONTENTS = np.random.default_rng(0).integers(0, 256, 300_000, dtype=np.uint8).tobytes()
DIGEST = hashlib.sha256(CONTENTS).hexdigest()


def check(path: Path) -> None:
    if hashlib.sha256(path.read_bytes()).hexdigest() != DIGEST:
        raise FormatError(f"{path.name} is damaged")


class Server:
    """What it does with each request in turn: how many bytes it sends before it hangs up (None:
    all), or a status; whether it knows ranges; what it sends."""

    def __init__(self) -> None:
        self.plan: list[int | str | None] = []
        self.ranges, self.contents = True, CONTENTS
        self.asked: list[str | None] = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                wanted = self.headers.get("Range")
                server.asked.append(wanted)
                step = server.plan.pop(0) if server.plan else None
                if isinstance(step, str):
                    self.send_error(int(step))
                    return
                whole, start = server.contents, 0
                if wanted and server.ranges:
                    start = int(re.fullmatch(r"bytes=(\d+)-", wanted).group(1))
                    if start >= len(whole):
                        self.send_response(416)
                        self.send_header("Content-Range", f"bytes */{len(whole)}")
                        self.end_headers()
                        return
                    self.send_response(206)
                    self.send_header(
                        "Content-Range", f"bytes {start}-{len(whole) - 1}/{len(whole)}"
                    )
                else:
                    self.send_response(200)
                self.send_header("Content-Length", str(len(whole) - start))
                self.end_headers()
                self.wfile.write(whole[start : None if step is None else start + step])

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/file.bin"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(module, "_FIRST_WAIT_S", 0.001)
    made = Server()
    thread = threading.Thread(target=made.http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    made.http.shutdown()
    made.http.server_close()
    thread.join()


def files(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_in_one_piece(server, tmp_path: Path) -> None:
    target = tmp_path / "new" / "file.bin"
    download(server.url, target, check)
    assert target.read_bytes() == CONTENTS and files(target.parent) == ["file.bin"]
    assert server.asked == [None]


def test_goes_on_after_dropped_connections(server, tmp_path: Path) -> None:
    server.plan = [150_000, "503", 50_000, 0, 70_000]
    download(server.url, tmp_path / "file.bin", check)
    assert (tmp_path / "file.bin").read_bytes() == CONTENTS and files(tmp_path) == ["file.bin"]
    assert server.asked[0] is None
    starts = [int(asked[6:-1]) for asked in server.asked[1:]]
    assert starts == sorted(starts) and starts[0] == starts[1] and starts[2] == starts[3]
    for start, sent in zip(starts[::2], (150_000, 200_000, 270_000), strict=True):
        assert sent - 3 * 8192 < start <= sent  # unfinished chunks are lost


def test_a_later_run_goes_on(server, tmp_path: Path) -> None:
    server.plan = [100_000, "500", "500", "500", "500"]
    with pytest.raises(DownloadError, match="500"):
        download(server.url, tmp_path / "file.bin", check)
    assert files(tmp_path) == ["file.bin.part"]
    arrived = (tmp_path / "file.bin.part").read_bytes()
    assert 90_000 < len(arrived) <= 100_000 and CONTENTS.startswith(arrived)
    server.plan, server.asked = [], []
    download(server.url, tmp_path / "file.bin", check)
    assert server.asked == [f"bytes={len(arrived)}-"] and files(tmp_path) == ["file.bin"]
    assert (tmp_path / "file.bin").read_bytes() == CONTENTS


def test_a_whole_part_is_only_checked(server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENTS)
    download(server.url, tmp_path / "file.bin", check)
    assert (tmp_path / "file.bin").read_bytes() == CONTENTS


@pytest.mark.parametrize("extra", [0, 1000])
def test_what_had_arrived_was_something_else(server, tmp_path: Path, extra: int) -> None:
    """Resumed onto another file: the check fails, and all is fetched anew."""
    (tmp_path / "file.bin.part").write_bytes(
        bytes(len(CONTENTS) * (extra > 0) or 1000) + bytes(extra)
    )
    download(server.url, tmp_path / "file.bin", check)
    assert (tmp_path / "file.bin").read_bytes() == CONTENTS
    assert server.asked[0] is not None and server.asked[-1] is None


def test_a_server_that_knows_no_ranges(server, tmp_path: Path) -> None:
    server.ranges = False
    server.plan = [100_000, 200_000]
    download(server.url, tmp_path / "file.bin", check)
    assert (tmp_path / "file.bin").read_bytes() == CONTENTS and len(server.asked) == 3
    server.plan, server.asked = [100_000] * 50, []
    with pytest.raises(DownloadError):
        download(server.url, tmp_path / "other.bin", check)
    assert len(server.asked) <= 5


def test_a_wrong_file_is_refused_and_not_kept(server, tmp_path: Path) -> None:
    server.contents = b"<html>no such file</html>"
    with pytest.raises(FormatError, match="is damaged"):
        download(server.url, tmp_path / "file.bin", check)
    assert files(tmp_path) == [] and len(server.asked) == 1


@pytest.mark.parametrize("status", ["404", "403"])
def test_refusals_are_not_repeated(server, tmp_path: Path, status: str) -> None:
    server.plan = [status]
    with pytest.raises(DownloadError, match=status):
        download(server.url, tmp_path / "file.bin", check)
    assert files(tmp_path) == [] and len(server.asked) == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/file", "no://thing", "nothing"])
def test_no_server(server, tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadError):
        download(url, tmp_path / "file.bin", check)
    assert files(tmp_path) == []


def test_a_full_disk_is_said_before_the_download(server, tmp_path: Path, monkeypatch) -> None:
    usage = type("Usage", (), {"free": 2000})
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)
    with pytest.raises(OSError, match="300,000 bytes are missing, 2,000 are free") as caught:
        download(server.url, tmp_path / "file.bin", check)
    assert caught.value.errno == errno.ENOSPC and files(tmp_path) == []


def test_two_at_a_time_make_one_file(server, tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def fetch() -> None:
        try:
            download(server.url, tmp_path / "file.bin", check)
        except BaseException as error:
            errors.append(error)

    server.plan = [1000, 1000, 1000]
    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and files(tmp_path) == ["file.bin"]
    assert (tmp_path / "file.bin").read_bytes() == CONTENTS
    assert len(server.asked) == 4
