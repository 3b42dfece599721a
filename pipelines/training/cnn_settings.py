"""The shape of a CNN from scratch: the settings, and the flags that say them."""

from __future__ import annotations

import argparse
import dataclasses
import math

from transforms.errors import OptionError

MAX_FILTERS = 256
_SMALLEST_MAP = 4  # the side that the last pooling leaves, at least, when nothing is said


@dataclasses.dataclass(frozen=True, kw_only=True)
class CnnSettings:
    """The shape of a CNN.

    Attributes:
      depth: modules of convolution, ReLU and pooling; each halves the sides. 0 finds it from the input's size.
      filters: of the first module; each further one has twice as many, up to MAX_FILTERS.
      kernel_size: of the convolutions, in pixels.
      hidden_units: widths of the dense layers between the last module and the softmax.

    Raises:
      OptionError: naming the flag, the value and what it may be.
    """

    depth: int = 0
    filters: int = 32
    kernel_size: int = 3
    hidden_units: tuple[int, ...] = (128,)

    def __post_init__(self) -> None:
        if not 0 <= self.depth <= 10:
            raise OptionError(f"--depth must be from 1 to 10, or auto, got {self.depth}")
        if not 1 <= self.filters <= MAX_FILTERS:
            raise OptionError(f"--filters must be from 1 to {MAX_FILTERS}, got {self.filters}")
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise OptionError(f"--kernel-size must be odd and positive, such as 3, got {self.kernel_size}")
        if not self.hidden_units or min(self.hidden_units) < 1:
            raise OptionError(f"--hidden-units must be one positive number or more, got {list(self.hidden_units)}")

    def modules(self, height: int, width: int) -> tuple[int, ...]:
        """Returns the filters of each module for images of a size.

        Raises:
          OptionError: the images are too small for so many poolings.
        """
        side = min(height, width)
        depth = self.depth or max(1, int(math.log2(side / _SMALLEST_MAP)))
        if side >> depth < 1:
            raise OptionError(
                f"--depth {depth} halves images of {height}x{width} to nothing; give at most "
                f"{int(math.log2(side))}, or a larger --image-size"
            )
        return tuple(min(MAX_FILTERS, self.filters << module) for module in range(depth))


def add_cnn_flags(parser: argparse.ArgumentParser) -> None:
    """Adds a flag for each field of CnnSettings."""
    default = CnnSettings()
    parser.add_argument(
        "--depth",
        default="auto",
        metavar="N|auto",
        help="modules of convolution, ReLU and pooling; auto pools down to 4 to 7 pixels a side",
    )
    parser.add_argument(
        "--filters", type=int, default=default.filters, help=f"of the first module, doubled up to {MAX_FILTERS}"
    )
    parser.add_argument("--kernel-size", type=int, default=default.kernel_size, help="of the convolutions, in pixels")
    parser.add_argument(
        "--hidden-units",
        default=",".join(map(str, default.hidden_units)),
        metavar="N[,N…]",
        help="widths of the dense layers before the softmax; the last one is the length of a vector",
    )


def cnn_settings(flags: argparse.Namespace) -> CnnSettings:
    """Returns the settings that the flags name.

    Raises:
      OptionError: naming the flag, the value and what it may be.
    """
    try:
        depth = 0 if flags.depth == "auto" else int(flags.depth)
        if depth == 0 and flags.depth != "auto":
            raise ValueError
    except ValueError:
        raise OptionError(f"--depth must be from 1 to 10, or auto, got {flags.depth!r}") from None
    try:
        units = tuple(int(part) for part in flags.hidden_units.split(",") if part.strip())
    except ValueError:
        raise OptionError(
            f"--hidden-units must be numbers such as 128 or 256,128, got {flags.hidden_units!r}"
        ) from None
    return CnnSettings(depth=depth, filters=flags.filters, kernel_size=flags.kernel_size, hidden_units=units)
