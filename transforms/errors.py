"""The tree of exceptions.

HeliographError                   the root; a command ends with its ``exit_status`` and its message as one line
├── UsageError            (2)     a mistake in the call: the message names the value and the remedy
│   ├── OptionError               a flag's value, or a combination of flags
│   ├── InputError                what ``--input`` names
│   │   └── AccessError           an object store that does not answer, or not without credentials
│   ├── StoreError                what ``--store`` names
│   ├── EncoderError              what ``--encoder`` names
│   └── ModelError                what ``--model`` names
├── WorkError             (1)     the work itself failed
│   ├── TooManyFailuresError      more dead letters than ``--max-failures`` allows
│   ├── SelfTestError             the encoder no longer gives the vectors that a table was made with
│   ├── CommitError               a part that cannot be published
│   │   ├── PartError             parts that their shards must make again
│   │   └── PlaceError            a full disk, a lost permission
│   └── QualityGateError          a model that is not as good as was demanded
└── ImageError                    one image; becomes one dead letter and never leaves the worker
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from enum import StrEnum

_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "give permission"),
}
"""What a person does about a place that cannot be written."""


class ErrorClass(StrEnum):
    """The reason of a dead letter."""

    NOT_FOUND = "NOT_FOUND"
    FORBIDDEN_URI = "FORBIDDEN_URI"
    READ_ERROR = "READ_ERROR"
    EMPTY = "EMPTY"
    TOO_LARGE_BYTES = "TOO_LARGE_BYTES"
    UNSUPPORTED_FORMAT = "UNSUPPORTED_FORMAT"
    CORRUPT = "CORRUPT"
    TRUNCATED = "TRUNCATED"
    TOO_MANY_PIXELS = "TOO_MANY_PIXELS"
    BAD_DIMENSIONS = "BAD_DIMENSIONS"
    METADATA_BOMB = "METADATA_BOMB"
    TIMEOUT = "TIMEOUT"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    BAD_ROW = "BAD_ROW"
    DUPLICATE_ID = "DUPLICATE_ID"
    MODEL_ERROR = "MODEL_ERROR"
    NON_FINITE = "NON_FINITE"


class HeliographError(Exception):
    """The root of every exception that this project raises on purpose."""

    exit_status = 1


class UsageError(HeliographError):
    """A mistake in the call."""

    exit_status = 2


class OptionError(UsageError):
    """A flag has a value, or stands in a combination, that cannot work."""


class InputError(UsageError):
    """The input does not exist, is empty or cannot be understood."""


class AccessError(InputError):
    """An object store does not answer, or asks for credentials that are not there."""


class StoreError(UsageError):
    """The store does not exist, is no store, or lacks what is asked of it."""


class EncoderError(UsageError):
    """The encoder cannot be found, loaded, trusted or described."""


class ModelError(UsageError):
    """The model directory is missing, half there, or does not belong to the encoder."""


class WorkError(HeliographError):
    """The call was right, the work failed."""


class TooManyFailuresError(WorkError):
    """More images failed than ``--max-failures`` allows."""


class SelfTestError(WorkError):
    """The encoder does not reproduce the golden vectors of the table or model."""


class CommitError(WorkError):
    """A part is missing, cut short or of another schema, so nothing is published."""


class PartError(CommitError):
    """Parts are not as they should be; their shards must be worked on again.

    Args:
      message: what is wrong with the first.
      paths: of the parts, relative to the table.
    """

    def __init__(self, message: str, paths: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.paths = paths


class PlaceError(CommitError):
    """The disk is full, or a place may not be written any more."""

    @classmethod
    def of(cls, text: str) -> PlaceError | None:
        """Returns the error for the words of Python, Arrow, deltalake or TensorFlow; None for any other fault."""
        remedy = next((_REMEDIES[number] for number in _REMEDIES if os.strerror(number) in text), None)
        return cls(f"{text} ({remedy} and run the same command again: what is finished is kept)") if remedy else None


class QualityGateError(WorkError):
    """A model is not as good as was demanded; it is not exported, or not promoted."""


class ImageError(HeliographError):
    """One image cannot be used.

    Args:
      error_class: the reason, one of ErrorClass.
      message: what was found, for a person; cut to 500 characters where it is recorded.
      error_type: name of the exception that was caught, by default this class's own name.
    """

    def __init__(self, error_class: ErrorClass, message: str, error_type: str = "ImageError") -> None:
        super().__init__(message)
        self.error_class = error_class
        self.error_type = error_type

    def __reduce__(self) -> tuple[type[ImageError], tuple[ErrorClass, str, str]]:
        return ImageError, (self.error_class, str(self), self.error_type)


def did_you_mean(word: str, choices: Iterable[str], otherwise: str = "") -> str:
    """Returns what a message ends with when a word is nearly one of the choices, ``otherwise`` when it is none."""
    import difflib

    close = difflib.get_close_matches(word, list(choices), n=1)
    return f"; did you mean {close[0]}?" if close else otherwise
