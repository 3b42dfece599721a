import collections
import hashlib
import io
import pickle
import struct

import numpy as np
import pytest

from transforms.encoders.legacy_checkpoint import read_checkpoint
from transforms.errors import EncoderError


class _Tensor:
    """Pickles as torch does: a call of torch._utils._rebuild_tensor_v2 on a storage by persistent id."""

    def __init__(self, key: str, values: np.ndarray, strides: tuple[int, ...] | None = None) -> None:
        self.key, self.values = key, values
        self.strides = strides or tuple(stride // values.itemsize for stride in values.strides)


def _write(tensors: dict[str, _Tensor], tamper=None) -> bytes:
    stream = io.BytesIO()
    for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
        pickle.dump(value, stream, 2)
    stream.write(_state_dict(tensors))
    pickle.dump([tensor.key for tensor in tensors.values()], stream, 2)
    for tensor in tensors.values():
        data = tensor.values.ravel().tobytes()
        stream.write(struct.pack("<q", tensor.values.size) + data)
    data = stream.getvalue()
    return tamper(data) if tamper else data


def _state_dict(tensors: dict[str, _Tensor]) -> bytes:
    """The opcodes of an OrderedDict of rebuilt tensors, written by hand since torch is not here."""
    out = b"\x80\x02ccollections\nOrderedDict\n)R("
    for name, tensor in tensors.items():
        kind = b"FloatStorage" if tensor.values.dtype == np.float32 else b"LongStorage"
        storage = b"(" + pickle.dumps("storage", 2)[2:-1] + b"ctorch\n" + kind + b"\n"
        storage += pickle.dumps(tensor.key, 2)[2:-1] + pickle.dumps("cpu", 2)[2:-1]
        storage += pickle.dumps(tensor.values.size, 2)[2:-1] + b"NtQ"
        shape = pickle.dumps(tensor.values.shape, 2)[2:-1]
        strides = pickle.dumps(tensor.strides, 2)[2:-1]
        hooks = b"ccollections\nOrderedDict\n)R"
        out += pickle.dumps(name, 2)[2:-1]
        out += b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00" + shape + strides + b"\x89" + hooks + b"tR"
    return out + b"u."


def _read(data: bytes) -> dict[str, np.ndarray]:
    return read_checkpoint(data, hashlib.sha256(data).hexdigest())


def test_tensors_come_back_exactly():
    tensors = {
        "weight": _Tensor("1", np.arange(6, dtype=np.float32).reshape(2, 3)),
        "transposed": _Tensor("2", np.arange(6, dtype=np.float32).reshape(2, 3), strides=(1, 2)),
        "count": _Tensor("3", np.array(7, dtype=np.int64)),
    }
    found = _read(_write(tensors))
    assert list(found) == ["weight", "transposed", "count"]
    np.testing.assert_array_equal(found["weight"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(found["transposed"], [[0, 2, 4], [1, 3, 5]])
    assert found["count"] == 7
    assert found["count"].dtype == np.int64
    assert found["weight"].flags.c_contiguous


def test_another_digest_is_refused_before_anything_is_parsed():
    with pytest.raises(EncoderError, match="digest"):
        read_checkpoint(b"cos\nsystem\n(S'true'\ntR.", "0" * 64)


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "collections.Counter", "torch.DoubleStorage"])
def test_other_globals_are_refused(name, tmp_path):
    module, function = name.split(".")
    victim = tmp_path / "victim"
    payload = f"c{module}\n{function}\n(S'touch {victim}'\ntR.".encode()
    prefix = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
    with pytest.raises(EncoderError, match=f"names {name}"):
        _read(prefix + payload)
    with pytest.raises(EncoderError, match=f"names {name}"):
        _read(payload)
    assert not victim.exists()


def test_a_reduce_that_pickle_itself_writes_is_refused(tmp_path):
    class Malicious:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    with pytest.raises(EncoderError, match=r"names io\.open"):
        _read(pickle.dumps(Malicious(), 2))
    assert not (tmp_path / "written").exists()


def test_a_file_cut_short_is_refused():
    whole = _write({"weight": _Tensor("1", np.arange(6, dtype=np.float32))})
    for length in (len(whole) - 1, len(whole) - 30, 20, 0):
        with pytest.raises(EncoderError):
            _read(whole[:length])


def test_a_view_beyond_its_storage_is_refused():
    tensor = _Tensor("1", np.arange(6, dtype=np.float32).reshape(2, 3), strides=(100, 1))
    with pytest.raises(EncoderError, match="beyond its storage"):
        _read(_write({"weight": tensor}))


def test_a_file_of_another_format_is_refused():
    with pytest.raises(EncoderError, match="legacy format"):
        _read(pickle.dumps(collections.OrderedDict(), 2))
