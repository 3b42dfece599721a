"""A network converted to LiteRT, once a machine: the cache, and the process that fills it.

```
CACHE/<digest>/network.tflite   one image, uint8[1, height, width, 3] to float32[1, D], the same graph as TensorFlow's
CACHE/<digest>/golden.npy       float32[G, D]: TensorFlow's own vectors of the golden images
CACHE/<digest>/refusal.txt      why the converter cannot do it, so that nobody waits for it twice
```
An int8 network lies in ``CACHE/<digest>-<calibration>``; see transforms.encoders.calibration.

The converter runs in a process of its own: it may crash, it leaves memory behind, and it imports TensorFlow, which
whoever finds a converted network never does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from transforms.encoders.encoder import Pixels, Vectors
from transforms.encoders.golden import golden_images
from transforms.encoders.specification import EncoderSpecification
from transforms.errors import EncoderError

CONVERSION_VERSION = 1
"""Raised whenever networks have to be converted anew."""

CACHE_VARIABLE = "HELIOGRAPH_CACHE"
"""Environment variable that names the cache directory."""

TIMEOUT_SECONDS = 900

INT8 = "int8"
"""The precision whose network depends on images that it was calibrated on."""

SAMPLE_FILE = "sample.npz"
"""Of these images: ``calibration`` and ``held_back``, each ``uint8[N, height, width, 3]``."""


class ConvertedNetwork(NamedTuple):
    """A network that LiteRT and OpenVINO read.

    Attributes:
      path: of the .tflite file.
      golden: ``float32[G, D]``, what TensorFlow makes of the golden images.
    """

    path: pathlib.Path
    golden: Vectors

    @property
    def bytes_of_interpreter(self) -> int:
        """About what one takes: it packs the weights for itself, and holds activations; 1.3 to 1.9 of the file."""
        return 2 * self.path.stat().st_size


def cache_directory() -> pathlib.Path:
    """Returns where converted networks are kept: $HELIOGRAPH_CACHE, or ``heliograph`` in the user's cache."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return pathlib.Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return pathlib.Path(base) / "heliograph"


def reference(specification: EncoderSpecification) -> EncoderSpecification:
    """Returns the same encoder computed by TensorFlow in float32, to which every other engine is compared."""
    return dataclasses.replace(
        specification, engine="tensorflow", precision="float32", calibration="", bias_correction=False
    )


def network_directory(specification: EncoderSpecification) -> pathlib.Path:
    """Returns where the converted network of an encoder is kept in the cache."""
    name = f"{reference(specification).fingerprint}-{CONVERSION_VERSION}"
    return cache_directory() / "-".join(filter(None, (name, specification.calibration)))


def converted_network(specification: EncoderSpecification, trust_model: bool = False) -> ConvertedNetwork:
    """Finds the converted network of an encoder, or converts it.

    Raises:
      EncoderError: it cannot be converted, or is one in int8 that this machine does not have; the message is one line.
    """
    directory = network_directory(specification)
    found = read_network(directory)
    if found is not None:
        return found
    if specification.calibration:
        raise EncoderError(
            f"the int8 network {specification.calibration} of {specification.name} is not on this machine, and not "
            "beside the table or model; bring its directory _calibrated back, or embed into another store"
        )
    with scratch_directory(directory.parent) as scratch:
        convert_in_process(specification, trust_model, scratch)
        return keep_network(scratch, directory)


def keep_network(scratch: str, directory: pathlib.Path) -> ConvertedNetwork:
    """Puts a finished directory into the cache.

    Raises:
      EncoderError: it cannot be kept, or holds a refusal.
    """
    with contextlib.suppress(OSError):  # another process was faster: its network is as good
        shutil.rmtree(directory, ignore_errors=True)
        os.replace(scratch, directory)
    found = read_network(directory)
    if found is None:
        raise EncoderError(f"the converted network cannot be kept in {directory}; set {CACHE_VARIABLE}")
    return found


def read_network(directory: pathlib.Path) -> ConvertedNetwork | None:
    """Returns the network in a directory of the cache, None when there is none, or a damaged one.

    Raises:
      EncoderError: what the converter had to say against it.
    """
    path = directory / "network.tflite"
    with contextlib.suppress(OSError):
        raise EncoderError((directory / "refusal.txt").read_text())
    try:
        return ConvertedNetwork(path, np.load(directory / "golden.npy")) if path.stat().st_size else None
    except (OSError, ValueError, EOFError):
        return None


@contextlib.contextmanager
def scratch_directory(parent: pathlib.Path) -> Iterator[str]:
    """A directory to fill, gone at the end unless it was moved.

    Raises:
      EncoderError: there can be none.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        scratch = tempfile.mkdtemp(prefix=".converting-", dir=parent)
    except OSError as error:
        raise EncoderError(f"{parent} cannot be written ({error.strerror}); set {CACHE_VARIABLE}") from error
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def convert_in_process(specification: EncoderSpecification, trust_model: bool, directory: str) -> None:
    """Does what ``convert`` does, in a process of its own.

    Raises:
      EncoderError: the network cannot be loaded, or the process ended early; one line.
    """
    _run_apart("convert", specification, trust_model, directory)


def encode_by_tensorflow(specification: EncoderSpecification, pixels: Pixels, trust_model: bool = False) -> Vectors:
    """Computes TensorFlow's own vectors of some images in a process of its own, which takes its memory with it.

    Raises:
      EncoderError: the network cannot be loaded, or the process ended early; one line.
    """
    with tempfile.TemporaryDirectory() as directory:
        np.save(pathlib.Path(directory, "pixels.npy"), pixels)
        _run_apart("encode", specification, trust_model, directory)
        vectors: Vectors = np.load(pathlib.Path(directory, "vectors.npy"))
        return vectors


def _run_apart(task: str, specification: EncoderSpecification, trust_model: bool, directory: str) -> None:
    root = str(pathlib.Path(__file__).parents[2])
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([root, *filter(None, sys.path)]))
    request = {
        "task": task,
        "specification": specification.to_json(),
        "trust_model": trust_model,
        "directory": directory,
    }
    command = [sys.executable, "-m", "transforms.encoders.conversion"]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(request),
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EncoderError(f"{specification.source} is not loaded and converted within {TIMEOUT_SECONDS} s") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1].strip()[:300] if lines else f"the converter ended with status {done.returncode}"
        raise EncoderError(reason)


def convert(specification: EncoderSpecification, trust_model: bool, directory: pathlib.Path) -> None:
    """Converts in this process, with TensorFlow; writes the network and its golden vectors, or the refusal.

    In int8 the directory holds ``sample.npz``, which gives way to ``held_back.npy``, TensorFlow's vectors of a part.

    Raises:
      EncoderError: the network cannot be loaded.
    """
    from transforms.encoders.frozen import freeze, frozen_of
    from transforms.encoders.litert_file import litert_file
    from transforms.encoders.networks import open_again
    from transforms.encoders.quantisation import quantise

    original = reference(specification)
    network = open_again(original, trust_model)
    encoder = frozen_of(original, network)
    np.save(directory / "golden.npy", encoder.encode(golden_images(original)))
    try:
        if specification.precision == INT8:
            with np.load(directory / SAMPLE_FILE) as sample:
                np.save(directory / "held_back.npy", encoder.encode(sample["held_back"]))
                data = quantise(original, network, sample["calibration"])
            (directory / SAMPLE_FILE).unlink()
        else:
            data = litert_file(freeze(original, network, batch=1), network.trackable, original.source)
    except EncoderError as error:
        (directory / "refusal.txt").write_text(str(error))
        return
    (directory / "network.tflite").write_bytes(data)


def _encode(specification: EncoderSpecification, trust_model: bool, directory: pathlib.Path) -> None:
    from transforms.encoders.frozen import load_frozen

    encoder = load_frozen(reference(specification), trust_model)
    np.save(directory / "vectors.npy", encoder.encode(np.load(directory / "pixels.npy")))


TASKS = {"convert": convert, "encode": _encode}
"""What the process of its own is asked for."""


def main() -> int:
    """Does what standard input describes; the last line on standard error says what is wrong."""
    request = json.load(sys.stdin)
    specification = EncoderSpecification.from_json(request["specification"])
    try:
        TASKS[request["task"]](specification, request["trust_model"], pathlib.Path(request["directory"]))
    except EncoderError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    # TensorFlow's threads may crash as they are torn down; the files are whole by now.
    status = main()
    sys.stderr.flush()
    os._exit(status)
