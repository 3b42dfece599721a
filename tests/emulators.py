"""S3 and Cloud Storage on this machine: moto, and gcp-storage-emulator with what it lacks of the XML interface.

The Delta log is written through Cloud Storage's XML interface with preconditions. The emulator reads and writes
single objects there; listings, HEAD, DELETE and ``if-generation-match: 0`` are added here as Google documents them.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from email.utils import format_datetime
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from typing import Any
from unittest import mock
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET = "bucket"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@contextlib.contextmanager
def emulator(scheme: str) -> Iterator[dict[str, str]]:
    """Runs ``s3`` or ``gs`` on a free port of loopback.

    It has a process of its own: pyarrow and deltalake keep all threads of this one waiting for some answers.

    Yields:
      The environment that points at it, and as ``ADDRESS`` that of a bucket.
    """
    command = [sys.executable, "-m", "tests.emulators", scheme]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            name = "AWS_ENDPOINT_URL" if scheme == "s3" else "STORAGE_EMULATOR_HOST"
            yield {**CREDENTIALS, name: address, "ADDRESS": f"{scheme}://{BUCKET}"}
        finally:
            process.kill()


def serve_s3() -> str:
    """Starts S3 in this process; returns its address."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with mock.patch.dict(os.environ, CREDENTIALS):
        boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket=BUCKET)
    return f"http://{host}:{port}"


def serve_gs() -> str:
    """Starts Cloud Storage in this process; returns its address."""
    from gcp_storage_emulator import server as emulator

    with (
        mock.patch.object(emulator.server, "HTTPServer", _Server),
        mock.patch.object(emulator, "RequestHandler", _handler()),
    ):
        server = emulator.create_server("127.0.0.1", 0, in_memory=True, default_bucket=BUCKET)
        server.start()
    return f"http://127.0.0.1:{server._api._httpd.server_address[1]}"


def put(uri: str, data: bytes) -> None:
    """Writes an object, by the providers' own means."""
    scheme, _, path = uri.partition("://")
    bucket, _, name = path.partition("/")
    if scheme == "s3":
        import boto3

        boto3.client("s3").put_object(Bucket=bucket, Key=name, Body=data)
        return
    from google.cloud import storage

    storage.Client.create_anonymous_client().bucket(bucket).blob(name).upload_from_string(data)


class _Server(ThreadingHTTPServer):
    """One thread would wait for a client that asks again before it has read the last answer."""

    daemon_threads = True
    request_queue_size = 128


def _handler() -> type:
    from gcp_storage_emulator.exceptions import Conflict
    from gcp_storage_emulator.server import RequestHandler

    writing = threading.RLock()

    class Handler(RequestHandler):  # type: ignore[misc]
        """Holds a lock while it writes, so that what was looked up still holds then."""

        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement
        _refused = False

        def do_GET(self) -> None:
            bucket, name = self._place()
            if name is None:
                super().do_GET()
            elif not name:
                self._list(bucket)
            else:
                self._object(bucket, name, body=True)

        def do_HEAD(self) -> None:
            bucket, name = self._place()
            self._object(bucket, name or "", body=False)

        def do_PUT(self) -> None:
            bucket, name = self._place()
            if not name:
                super().do_PUT()
                return
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            only_new = self.headers.get("x-goog-if-generation-match") == "0"
            if re.search(r"/_delta_log/\d+\.json$", name) and not only_new:
                self._answer(HTTPStatus.BAD_REQUEST)  # a commit without the condition could be lost
                return
            with writing:
                if only_new and self._found(bucket, name):
                    self._answer(HTTPStatus.PRECONDITION_FAILED)
                    return
                self._create(bucket, name, data)
                headers = _headers(self._found(bucket, name))
            self._answer(HTTPStatus.OK, headers=headers)

        def do_DELETE(self) -> None:
            bucket, name = self._place()
            if not name:
                super().do_DELETE()
            elif self._found(bucket, name):
                self.storage.delete_file(bucket, name)
                self._answer(HTTPStatus.NO_CONTENT)
            else:
                self._answer(HTTPStatus.NOT_FOUND)

        def do_POST(self) -> None:
            """Uploads with ``ifGenerationMatch=0`` fail with 412 where there is an object."""
            only_new = parse_qs(urlsplit(self.path).query).get("ifGenerationMatch") == ["0"]

            def create_new(bucket: str, name: str, *rest: Any) -> None:
                self._refused = only_new and self._found(bucket, name) is not None
                if self._refused:
                    raise Conflict("conditionNotMet")
                create(bucket, name, *rest)

            with writing:
                create = self.storage.create_file
                with mock.patch.object(self.storage, "create_file", create_new):
                    super().do_POST()
            self._refused = False  # the connection is used again

        def send_response(self, code: int, message: str | None = None) -> None:
            super().send_response(HTTPStatus.PRECONDITION_FAILED if self._refused else code, message)

        def _place(self) -> tuple[str, str | None]:
            """Returns bucket and object of the XML interface; None for the JSON interface."""
            path = unquote(urlsplit(self.path).path).lstrip("/")
            if path.split("/")[0] in ("storage", "upload", "download", "batch", "b", "wipe", ""):
                return "", None
            bucket, _, name = path.partition("/")
            return bucket, name

        def _found(self, bucket: str, name: str) -> dict[str, Any] | None:
            from gcp_storage_emulator.exceptions import NotFound

            try:
                found: dict[str, Any] = self.storage.get_file_obj(bucket, name)
            except NotFound:
                return None
            return found

        def _create(self, bucket: str, name: str, data: bytes) -> None:
            from gcp_storage_emulator.handlers import objects

            made = objects._make_object_resource("", bucket, name, "application/octet-stream", str(len(data)))
            self.storage.create_file(bucket, name, data, objects._checksums(data, made))

        def _object(self, bucket: str, name: str, body: bool) -> None:
            found = self._found(bucket, name)
            if found is None:
                self._answer(HTTPStatus.NOT_FOUND)
                return
            data: bytes = self.storage.get_file(bucket, name)
            status, headers = HTTPStatus.OK, _headers(found)
            if self.headers.get("Range"):
                first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
                start = int(first) if first else max(0, len(data) - int(last))
                end = min(int(last) + 1 if first and last else len(data), len(data))
                headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
                status, data = HTTPStatus.PARTIAL_CONTENT, data[start:end]
            self._answer(status, data, headers, body)

        def _list(self, bucket: str) -> None:
            query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            found, prefixes = self.storage.get_file_list(bucket, query.get("prefix"), query.get("delimiter"))[:2]
            contents = "".join(
                f"<Contents><Key>{escape(one['name'])}</Key><LastModified>{one['updated']}</LastModified>"
                f"<ETag>{_headers(one)['ETag']}</ETag><Size>{one['size']}</Size></Contents>"
                for one in found
                if one["name"] > query.get("start-after", "")
            )
            common = "".join(f"<CommonPrefixes><Prefix>{escape(p)}</Prefix></CommonPrefixes>" for p in prefixes)
            self._answer(HTTPStatus.OK, f"<ListBucketResult>{contents}{common}</ListBucketResult>".encode())

        def _answer(
            self, status: HTTPStatus, data: bytes = b"", headers: dict[str, str] | None = None, body: bool = True
        ) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if body:
                self.wfile.write(data)

    return Handler


def _headers(found: dict[str, Any] | None) -> dict[str, str]:
    import datetime

    assert found is not None
    updated = datetime.datetime.fromisoformat(found["updated"])
    return {
        "ETag": f'"{found["generation"]}"',
        "x-goog-generation": found["generation"],
        "Last-Modified": format_datetime(updated, usegmt=True),
    }


if __name__ == "__main__":
    print({"s3": serve_s3, "gs": serve_gs}[sys.argv[1]](), flush=True)
    threading.Event().wait()
