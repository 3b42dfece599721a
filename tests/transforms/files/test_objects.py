from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pyarrow import fs

from tests.emulators import put
from transforms.errors import AccessError, InputError, OptionError
from transforms.files import objects
from transforms.files.filesystem import check_writable, create, open_filesystem, open_objects, read_bytes
from transforms.sources.folder import fingerprint_of

ENDPOINTS = {"s3": "AWS_ENDPOINT_URL", "gs": "STORAGE_EMULATOR_HOST"}


@pytest.fixture(params=["s3", "gs"])
def scheme(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """One of the schemes, with no credentials in the environment."""
    if request.param == "gs":
        pytest.importorskip("google.cloud.storage", reason="pip install 'heliograph[gcp]'")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    return str(request.param)


def test_another_content_of_the_same_size_has_another_fingerprint(bucket: str) -> None:
    put(f"{bucket}/a/x.jpg", b"123")
    put(f"{bucket}/a/b/y.jpg", b"456")
    first = {entry.path: entry.fingerprint for entry in _walk(f"{bucket}/a")}
    assert list(first) == sorted(first)
    assert [path.rpartition("/a/")[2] for path in first] == ["b/y.jpg", "x.jpg"]
    assert _walk(f"{bucket}/a")[1].fingerprint == fingerprint_of(f"{bucket}/a/x.jpg")
    put(f"{bucket}/a/x.jpg", b"789")
    second = {entry.path: entry.fingerprint for entry in _walk(f"{bucket}/a")}
    assert [first[path] == second[path] for path in first] == [True, False]
    assert fingerprint_of(f"{bucket}/a/none.jpg") == ""


def test_a_name_that_only_begins_like_the_directory_is_not_in_it(bucket: str) -> None:
    put(f"{bucket}/a/x.jpg", b"1")
    put(f"{bucket}/ab/x.jpg", b"1")
    assert len(_walk(f"{bucket}/a")) == 1


def test_one_level_shows_files_and_directories(bucket: str) -> None:
    put(f"{bucket}/x.txt", b"12")
    put(f"{bucket}/train/cat/1.jpg", b"1")
    filesystem, path = open_filesystem(bucket)
    infos = filesystem.get_file_info(fs.FileSelector(path))
    assert sorted((info.base_name, info.type, info.size) for info in infos) == [
        ("train", fs.FileType.Directory, None),
        ("x.txt", fs.FileType.File, 2),
    ]
    assert filesystem.get_file_info(fs.FileSelector(f"{path}/none", allow_not_found=True)) == []
    with pytest.raises(FileNotFoundError):
        filesystem.get_file_info(fs.FileSelector(f"{path}/none"))


def test_of_many_that_create_an_object_one_succeeds(bucket: str) -> None:
    _create_at_once(f"{bucket}/deep/marker")


def test_of_many_that_create_a_file_one_succeeds(tmp_path: Path) -> None:
    _create_at_once(str(tmp_path / "deep" / "marker"))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["marker"]


def _create_at_once(address: str) -> None:
    open_filesystem(address)
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda number: create(address, str(number).encode()), range(6)))
    assert made.count(True) == 1
    assert read_bytes(*open_filesystem(address)) == str(made.index(True)).encode()


def test_a_bucket_that_is_not_there_is_no_place_to_write(bucket: str) -> None:
    scheme = bucket.split(":")[0]
    with pytest.raises(OptionError, match=r"--store \w+://no-such-bucket/x: there is no bucket no-such-bucket"):
        check_writable("--store", f"{scheme}://no-such-bucket/x")
    assert check_writable("--store", f"{bucket}/x/") == f"{bucket}/x"


def test_an_address_without_bucket_is_refused() -> None:
    with pytest.raises(InputError, match="names no bucket"):
        open_filesystem("s3://")


def test_a_store_that_does_not_answer_is_told_within_seconds_and_once(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENDPOINTS[scheme], "http://127.0.0.1:1")
    started = time.monotonic()
    with pytest.raises(
        AccessError, match=f"{scheme}://b cannot be reached .*check the network, and .*{ENDPOINTS[scheme]}"
    ):
        open_filesystem(f"{scheme}://b/x")
    assert time.monotonic() - started < 20
    started = time.monotonic()
    for _ in range(100):
        with pytest.raises(AccessError):
            open_filesystem(f"{scheme}://b/y")
    assert time.monotonic() - started < 1


@pytest.fixture
def forbidding() -> Iterator[str]:
    """A server that answers every request with 403."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(403)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_private_bucket_without_credentials_names_the_remedy(
    scheme: str, forbidding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENDPOINTS[scheme], forbidding)
    remedy = {
        "s3": "AWS_PROFILE",
        "gs": "gcloud auth application-default login.*GOOGLE_APPLICATION_CREDENTIALS",
    }[scheme]
    with pytest.raises(AccessError, match=f"{scheme}://b is not public and there are no credentials: .*{remedy}"):
        open_filesystem(f"{scheme}://b/x")


def test_a_bucket_that_may_not_be_listed_may_still_be_read(forbidding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", forbidding)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    open_filesystem("s3://b/x")


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:2")
    monkeypatch.setitem(sys.modules, "boto3", None)
    monkeypatch.delitem(sys.modules, "transforms.files.s3", raising=False)
    with pytest.raises(AccessError, match=r"s3:// needs boto3: pip install 'heliograph\[aws\]'"):
        open_filesystem("s3://b/x")


def _walk(address: str) -> list[objects.Entry]:
    client, path = open_objects(address)
    return list(client.walk(path))
