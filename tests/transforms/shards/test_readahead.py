from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tests.photographs import write_folder
from transforms.errors import ErrorClass, ImageError
from transforms.shards import readahead
from transforms.shards.readahead import Readahead
from transforms.sources.folder import list_folder
from transforms.sources.reference import ImageReference


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A store of files that hold their address 1,000 times; returns what was read, as it is read."""
    begun: list[str] = []

    def read(uri: str, *_: object) -> bytes:
        begun.append(uri)
        if uri.startswith("missing"):
            raise ImageError(ErrorClass.NOT_FOUND, uri)
        return uri.encode() * 1000

    monkeypatch.setattr(readahead, "read_image", read)
    return begun


def references(count: int) -> list[ImageReference]:
    return [ImageReference(uri=f"{number:04}") for number in range(count)]


def settle(begun: list[str]) -> int:
    """Waits until no further file is begun."""
    count = -1
    while count != len(begun):
        count = len(begun)
        time.sleep(0.05)
    return count


def test_files_come_in_order_whatever_becomes_of_them(store: list[str]) -> None:
    files = Readahead(["/"], 10**6)
    wanted = [
        *references(3),
        ImageReference(uri="missing"),
        ImageReference(uri="bad", problem="BAD_ROW: no"),
        *references(2),
    ]
    found = list(files.read(wanted))
    assert [file.reference for file in found] == wanted
    assert found[0].wait()[0] == b"0000" * 1000
    with pytest.raises(ImageError, match="missing"):
        found[3].wait()
    assert "bad" not in store
    for file in found:
        file.close()
    assert files._held.now == 0
    files.close()


def test_many_files_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as there are places meet at a barrier; were they read one after the other, none would pass it."""
    monkeypatch.setattr(readahead, "usable_cores", lambda: 1)
    barrier = threading.Barrier(readahead.READS_PER_CORE)

    def read(*_: object) -> bytes:
        barrier.wait(timeout=10)
        return b"x"

    monkeypatch.setattr(readahead, "read_image", read)
    files = Readahead(["/"], 10)
    for file in files.read(references(2 * readahead.READS_PER_CORE)):
        assert file.wait()[0] == b"x"
        file.close()
    files.close()


def test_what_is_held_is_bounded_by_its_bytes(store: list[str]) -> None:
    files = Readahead(["/"], 10**6, bytes_ahead=40_000)
    found = files.read(references(100))
    taken = [next(found) for _ in range(3)]
    for file in taken:
        file.wait()
    taken.append(next(found))
    assert 4 <= settle(store) <= 11, "ten files of 4,000 bytes each, and the one that is asked for"
    begun = len(store)
    for _ in range(3):
        taken.append(next(found))
    assert settle(store) <= 11, "nothing was let go"
    for file in taken:
        file.wait()
        file.close()
    next(found)
    assert begun < settle(store) <= 11 + len(taken)
    files.close()


def test_what_was_begun_is_let_go_when_nobody_takes_it(store: list[str]) -> None:
    files = Readahead(["/"], 10**6)
    begun = files.read([*references(20), ImageReference(uri="bad", problem="BAD_ROW: no")])
    next(begun).close()
    assert files._held.now > 0
    begun.close()
    settle(store)
    assert files._held.now == 0
    files.close()


def test_a_container_is_read_forward_by_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tarfile

    from transforms.sources.dialects import recognise

    write_folder(tmp_path / "photos", per_label=10)
    with tarfile.open(tmp_path / "all.tar", "w") as tar:
        tar.add(tmp_path / "photos", "photos")
    (source,) = recognise(str(tmp_path / "all.tar"))
    members = list(source.list_images())
    read_member, seen, threads = readahead.MemberReader.read, [], set()

    def read(reader: readahead.MemberReader, reference: ImageReference) -> bytes:
        seen.append(reference)
        threads.add(threading.get_ident())
        return read_member(reader, reference)

    monkeypatch.setattr(readahead.MemberReader, "read", read)
    files = Readahead([str(tmp_path)], 10**6)
    found = [file.wait()[0] for file in files.read(members)]
    files.close()
    originals = [Path(original.uri).read_bytes() for original in list_folder(str(tmp_path / "photos"))]
    assert len(members) == len(originals) == 20
    assert sorted(found) == sorted(originals)
    assert (seen, len(threads)) == (members, 1)
