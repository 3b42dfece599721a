"""Which columns, features or keys of an input mean what; given by flags."""

from __future__ import annotations

import dataclasses

LABEL_SEPARATOR = "|"
"""Between the labels of one image in the ``labels`` column of a CSV or TSV file."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Columns:
    """The names by which an input calls what a reference holds; plain data.

    Attributes:
      uri: of the address; None for the form's own name.
      image: of the image's bytes, in TFRecord and Parquet; None for the form's own name.
      label: of the label or labels; None for ``labels``, else ``label``, or the form's own name.
      split: of the split.
      group: of the group.
      label_separator: between several labels in one text; None to divide only ``labels``, at ``|``.
    """

    uri: str | None = None
    image: str | None = None
    label: str | None = None
    split: str = "split"
    group: str = "group"
    label_separator: str | None = None

    @property
    def label_names(self) -> tuple[str, ...]:
        """The columns of labels; the first that has a value counts."""
        return (self.label,) if self.label else ("labels", "label")

    @property
    def named(self) -> tuple[str, ...]:
        """The columns that were asked for by name, which therefore must be there."""
        given = [self.uri, self.image, self.label]
        given += [self.split] if self.split != "split" else []
        given += [self.group] if self.group != "group" else []
        return tuple(name for name in given if name)

    def separator_of(self, name: str) -> str | None:
        """Returns what divides several labels in a text of the column ``name``."""
        return self.label_separator or (LABEL_SEPARATOR if name == "labels" else None)
