"""Where a training keeps what a later one goes on from: pixels, checkpoint, what is about to be published."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator

from pipelines.training.checkpoint import load_checkpoint
from transforms.errors import OptionError, WorkError
from transforms.files import filesystem


@contextlib.contextmanager
def working_directory(model: str, given: str | None, digest: str) -> Iterator[str]:
    """A directory that belongs to one training alone; it goes when the block ends well, and stays after a failure.

    Args:
      model: MODEL; the directory lies in it, unless it is remote.
      given: ``--work-dir``, in which it lies instead.
      digest: of the training: the same call finds it again.

    Raises:
      OptionError: it cannot be written.
      WorkError: another process is at the same training.
      KeyboardInterrupt: on Ctrl-C, with what the same call goes on from.
    """
    parent = given or (filesystem.local_path(model) if filesystem.is_local(model) else tempfile.gettempdir())
    directory = os.path.join(os.path.abspath(parent), f".training-{digest}")
    try:
        os.makedirs(directory, exist_ok=True)
        lock = open(os.path.join(directory, "lock"), "w")  # noqa: SIM115  closed below; the system lets go of the lock
    except OSError as error:
        remedy = "name another place with --work-dir"
        raise OptionError(f"{directory} cannot be written ({error.strerror or error}); {remedy}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise WorkError(f"another process is at this training ({directory}); wait for it, or end it") from error
        try:
            yield directory
        except KeyboardInterrupt:
            raise KeyboardInterrupt(_interrupted(directory)) from None
        shutil.rmtree(directory, ignore_errors=True)


def _interrupted(directory: str) -> str:
    """Returns the line that says where an interrupted training goes on."""
    checkpoint = load_checkpoint(directory)
    if checkpoint is None:
        return f"interrupted before the first checkpoint; the same command begins anew, in {directory}"
    epoch = checkpoint[0]["epoch"]
    return f"interrupted; the same command goes on with epoch {epoch}, from the checkpoint in {directory}"
