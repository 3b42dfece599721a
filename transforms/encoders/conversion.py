"""A network converted to LiteRT, once a machine: the cache, and the process that fills it.

```
CACHE/<digest>/network.tflite   one image, uint8[1, height, width, 3] to float32[1, D], the same graph as TensorFlow's
CACHE/<digest>/golden.npy       float32[G, D]: TensorFlow's own vectors of the golden images
CACHE/<digest>/refusal.txt      why the converter cannot do it, so that nobody waits for it twice
```
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

from transforms.encoders.encoder import Vectors
from transforms.encoders.golden import golden_images
from transforms.encoders.specification import EncoderSpecification
from transforms.errors import EncoderError

CONVERSION_VERSION = 1
"""Raised whenever networks have to be converted anew."""

CACHE_VARIABLE = "HELIOGRAPH_CACHE"
"""Environment variable that names the cache directory."""

TIMEOUT_SECONDS = 900


class ConvertedNetwork(NamedTuple):
    """A network that LiteRT and OpenVINO read.

    Attributes:
      path: of the .tflite file.
      golden: ``float32[G, D]``, what TensorFlow makes of the golden images.
    """

    path: pathlib.Path
    golden: Vectors


def cache_directory() -> pathlib.Path:
    """Returns where converted networks are kept: $HELIOGRAPH_CACHE, or ``heliograph`` in the user's cache."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return pathlib.Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return pathlib.Path(base) / "heliograph"


def reference(specification: EncoderSpecification) -> EncoderSpecification:
    """Returns the same encoder computed by TensorFlow in float32, to which every other engine is compared."""
    return dataclasses.replace(specification, engine="tensorflow", precision="float32")


def converted_network(specification: EncoderSpecification, trust_model: bool = False) -> ConvertedNetwork:
    """Finds the converted network of an encoder, or converts it.

    Raises:
      EncoderError: it cannot be converted; the message is one line.
    """
    digest = f"{reference(specification).fingerprint}-{CONVERSION_VERSION}"
    directory = cache_directory() / digest
    found = _read(directory)
    if found is not None:
        return found
    with _scratch(directory.parent) as scratch:
        _convert_in_process(specification, trust_model, scratch)
        with contextlib.suppress(OSError):  # another process was faster: its network is as good
            shutil.rmtree(directory, ignore_errors=True)
            os.replace(scratch, directory)
    found = _read(directory)
    if found is None:
        raise EncoderError(f"the converted network cannot be kept in {directory}; set {CACHE_VARIABLE}")
    return found


def _read(directory: pathlib.Path) -> ConvertedNetwork | None:
    path = directory / "network.tflite"
    with contextlib.suppress(OSError):
        raise EncoderError((directory / "refusal.txt").read_text())
    try:
        return ConvertedNetwork(path, np.load(directory / "golden.npy")) if path.stat().st_size else None
    except (OSError, ValueError, EOFError):
        return None


@contextlib.contextmanager
def _scratch(parent: pathlib.Path) -> Iterator[str]:
    try:
        parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        scratch = tempfile.mkdtemp(prefix=".converting-", dir=parent)
    except OSError as error:
        raise EncoderError(f"{parent} cannot be written ({error.strerror}); set {CACHE_VARIABLE}") from error
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _convert_in_process(specification: EncoderSpecification, trust_model: bool, directory: str) -> None:
    root = str(pathlib.Path(__file__).parents[2])
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([root, *filter(None, sys.path)]))
    request = {"specification": specification.to_json(), "trust_model": trust_model, "directory": directory}
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
        raise EncoderError(f"{specification.source} is not converted within {TIMEOUT_SECONDS} s") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1].strip()[:300] if lines else f"the converter ended with status {done.returncode}"
        raise EncoderError(reason)


def convert(specification: EncoderSpecification, trust_model: bool, directory: pathlib.Path) -> None:
    """Converts in this process, with TensorFlow; writes the network and its golden vectors, or the refusal.

    Raises:
      EncoderError: the network cannot be loaded.
    """
    from transforms.encoders.frozen import freeze, load_frozen
    from transforms.encoders.networks import open_again
    from transforms.encoders.tensorflow_runtime import first_line, import_tensorflow

    tensorflow = import_tensorflow()
    original = reference(specification)
    np.save(directory / "golden.npy", load_frozen(original, trust_model).encode(golden_images(original)))
    network = open_again(original, trust_model)
    function = freeze(original, network, batch=1)
    converter = tensorflow.lite.TFLiteConverter.from_concrete_functions([function], trackable_obj=network.trackable)
    try:
        (directory / "network.tflite").write_bytes(converter.convert())
    except Exception as error:  # noqa: BLE001  the converter raises classes of its own, and bare Exception
        reason = f"LiteRT cannot compute {original.source}: {first_line(error)}"
        (directory / "refusal.txt").write_text(reason)


def main() -> int:
    """Converts what standard input describes; the last line on standard error says what is wrong."""
    request = json.load(sys.stdin)
    specification = EncoderSpecification.from_json(request["specification"])
    try:
        convert(specification, request["trust_model"], pathlib.Path(request["directory"]))
    except EncoderError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    # TensorFlow's threads may crash as they are torn down; the files are whole by now.
    status = main()
    sys.stderr.flush()
    os._exit(status)
