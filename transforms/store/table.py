"""The feature table: one encoder's vectors, as Parquet with a Delta log beside it."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema
from deltalake.exceptions import DeltaError

from transforms.encoders.specification import EncoderSpecification
from transforms.errors import CommitError, StoreError
from transforms.store import commit, delta
from transforms.store.commit import Committed
from transforms.store.delta import DataFile
from transforms.store.log import AtVersion, has_log, resolve_version
from transforms.store.schema import (
    VIEWS_KEY,
    feature_schema,
    file_metadata,
    read_configuration,
    schema_difference,
    table_configuration,
)
from transforms.store.supersede import Superseded
from transforms.store.write import Part

if TYPE_CHECKING:
    from transforms.images.augment import Views

__all__ = ["Committed", "DataFile", "FeatureTable", "Part"]

_CREATION_ATTEMPTS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureTable:
    """A table at one version; it stays at that version, whatever is committed later.

    Attributes:
      path: absolute path or address of the directory with ``data/`` and ``_delta_log/``.
      version: of the log.
      specification: of the encoder that made the vectors.
      golden: ``float32[G, dimension]``, its vectors of the golden images.
    """

    path: str
    version: int
    specification: EncoderSpecification
    golden: np.ndarray
    _log: DeltaTable = dataclasses.field(repr=False, compare=False)

    @classmethod
    def create(cls, path: str, specification: EncoderSpecification, golden: np.ndarray) -> FeatureTable:
        """Makes the table of an encoder, or opens it when it is there; two at once make one.

        Args:
          path: of the table, ``STORE/<specification.table_name>``.
          golden: ``float32[G, dimension]``; those of the first creator stay.

        Raises:
          StoreError: when the table there is of another encoder, or nothing can be written.
        """
        place = delta.normal_path(path)
        configuration = table_configuration(specification, golden)
        for attempt in range(_CREATION_ATTEMPTS):
            if not cls.exists(place):
                try:
                    with delta.errors_as(StoreError, f"{place} cannot be made"):
                        _create(place, specification, configuration)
                except StoreError:
                    if not cls.exists(place) and attempt == _CREATION_ATTEMPTS - 1:
                        raise
                    continue  # another was faster, or will be
            break
        table = cls.open(place)
        if table.specification.fingerprint != specification.fingerprint:
            raise StoreError(
                f"{place} holds vectors of {table.specification.name} {table.specification.fingerprint}, "
                f"not of {specification.name} {specification.fingerprint}; name another store"
            )
        return table

    @classmethod
    def open(cls, path: str, version: AtVersion = None) -> FeatureTable:
        """Opens a table at its newest version, at ``version``, or at the one that was the newest at a time.

        Raises:
          StoreError: for no table, a version that is not there, a time before the first one, a table whose columns
            were changed or with features of Delta that hide rows from a plain Parquet reader.
        """
        place = delta.normal_path(path)
        log = _open_log(place, resolve_version(place, version))
        specification, golden = read_configuration(log.metadata().configuration, place)
        _check_protocol(log, place)
        found = pa.schema(log.schema().to_arrow())
        difference = schema_difference(found, feature_schema(specification.dimension), extra_allowed=True)
        if difference:
            raise StoreError(f"the schema of {place} was changed by another: {difference}; open an earlier version")
        return cls(path=place, version=log.version(), specification=specification, golden=golden, _log=log)

    @staticmethod
    def exists(path: str) -> bool:
        """Returns whether a Delta table lies at ``path``."""
        place = delta.normal_path(path)
        if os.path.isfile(place):
            return False
        return has_log(place)

    @property
    def schema(self) -> pa.Schema:
        """Of a feature row, for PartWriter and readers."""
        return feature_schema(self.specification.dimension)

    @property
    def file_metadata(self) -> dict[str, str]:
        """What each data file carries, for PartWriter."""
        return file_metadata(self.specification)

    @property
    def views(self) -> Views:
        """Which views an embed run makes of the training split when it is not told; at first none."""
        from transforms.images.augment import Views  # whoever only reads vectors needs no Pillow

        kept = json.loads(self._log.metadata().configuration.get(VIEWS_KEY, "{}"))
        return Views(**{name: kept[name] for name in ("count", "policy") if name in kept})

    def keep_views(self, views: Views) -> None:
        """Writes down which views are made from now on, in a version of its own unless they are the same.

        Raises:
          CommitError: nothing was written; the call may be repeated.
        """
        if self.views == views:
            return
        kept = {**dataclasses.asdict(views), "key": views.key, "seed": views.SEED_RULE}
        words = {"heliograph.by": commit.author(), "heliograph.operation": "keep views"}
        try:
            with delta.errors_as(CommitError, f"{self.path} cannot be changed"):
                delta.open_delta(self.path).alter.set_table_properties(
                    {VIEWS_KEY: json.dumps(kept)}, False, commit_properties=CommitProperties(custom_metadata=words)
                )
        except CommitError:
            if FeatureTable.open(self.path).views != views:  # else another run has written the same
                raise

    def data_files(self) -> list[DataFile]:
        """Returns the files that are live at this version, sorted by path."""
        return delta.data_files(self._log, self.path)

    def append(
        self,
        run_id: str,
        parts: Sequence[Part],
        replaced_ids: Collection[str] = (),
        metadata: Mapping[str, str] | None = None,
        base_version: int | None = None,
        replaced_in: Sequence[str] = (),
    ) -> Committed:
        """Publishes the parts of a run in one version, once, however often it is called.

        Older rows of images that are replaced go in the same version. Every version has each image once: an image
        of the parts that another run has added since ``base_version`` is replaced as well, and a part that another
        run has published is not added again. All views of an image must come in the same run. This object stays at
        its version: open the table again to see the rows.

        Args:
          run_id: names the run in the log for ever.
          parts: written under this table's path.
          replaced_ids: images whose content changed; with no parts, images to take out.
          metadata: words for the commit's entry in the log.
          base_version: at which the run found out what is new; None when there was no table, or to compare
            with all of it.
          replaced_in: paths of files below the table with a column ``image_id``, such as some of the parts: more
            such images, any number of them.

        Raises:
          CommitError: for a part or table that is not as it should be, or a log that cannot be written.
            Nothing is published then, and the call may be repeated.
        """
        superseded = Superseded(self.path, [part.path for part in parts if part.rows], replaced_ids, replaced_in)
        return commit.append(run_id, parts, superseded, metadata or {}, base_version)


def _create(path: str, specification: EncoderSpecification, configuration: dict[str, str]) -> None:
    DeltaTable.create(
        path,
        Schema.from_arrow(feature_schema(specification.dimension).remove_metadata()),
        mode="error",
        name=specification.table_name,
        description=f"Vectors of {specification.name} ({specification.source})",
        configuration=configuration,
        storage_options=delta.storage_options(path),
        commit_properties=CommitProperties(
            custom_metadata={"heliograph.by": commit.author(), "heliograph.operation": "create"},
            max_commit_retries=0,  # else the loser of a race writes version 1
        ),
        raise_if_key_not_exists=False,
    )


def _open_log(path: str, version: int | None) -> DeltaTable:
    if not FeatureTable.exists(path):
        raise StoreError(f"{path} is no table; make one with `heliograph embed`")
    if version is None:
        with delta.errors_as(StoreError, f"{path} cannot be opened"):
            return delta.open_delta(path)
    try:
        return delta.open_delta(path, version)
    except (DeltaError, OverflowError) as error:
        newest = _open_log(path, None).version()
        if 0 <= version <= newest:
            raise StoreError(f"version {version} of {path} cannot be read any more: {error}") from error
        raise StoreError(f"{path} has no version {version}; the newest is {newest}") from error


def _check_protocol(log: DeltaTable, path: str) -> None:
    protocol = log.protocol()
    unknown = {"deletionVectors", "columnMapping"}.intersection(protocol.reader_features or ())
    if unknown or protocol.min_reader_version == 2:
        feature = min(unknown, default="columnMapping")
        raise StoreError(f"{path} uses Delta's {feature}, set by another, which is not read; rewrite it without")
