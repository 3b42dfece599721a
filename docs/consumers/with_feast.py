"""Feast: a feature view over the table, a point-in-time historical retrieval and an online one.

python with_feast.py STORE/TABLE [VERSION]

Feast's file source reads every Parquet file of a directory, so the version's live rows are put into one first, the
images themselves (view 0) with the columns that are features. A nightly job does that after its embed.
"""

import datetime
import pathlib
import sys
import tempfile

import pandas as pd
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake import DeltaTable
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Array, Float32, Int32, String

table = DeltaTable(sys.argv[1], version=int(sys.argv[2]) if len(sys.argv) > 2 else None)
work = pathlib.Path(tempfile.mkdtemp())
columns = ["image_id", "event_timestamp", "created", "split", "width", "embedding"]
images = ds.dataset(table.file_uris(), format="parquet").to_table(columns=columns, filter=ds.field("view_id") == 0)
pq.write_table(images, work / "images.parquet")

image = Entity(name="image", join_keys=["image_id"], value_type=ValueType.STRING)
view = FeatureView(
    name="image_features",
    entities=[image],
    ttl=datetime.timedelta(0),
    schema=[
        Field(name="image_id", dtype=String),
        Field(name="split", dtype=String),
        Field(name="width", dtype=Int32),
        Field(name="embedding", dtype=Array(Float32)),
    ],
    source=FileSource(
        path=str(work / "images.parquet"), timestamp_field="event_timestamp", created_timestamp_column="created"
    ),
)
store = FeatureStore(
    config=RepoConfig(
        project="images",
        provider="local",
        registry=str(work / "registry.db"),
        online_store={"type": "sqlite", "path": str(work / "online.db")},
        offline_store={"type": "file"},
        entity_key_serialization_version=3,
    )
)
store.apply([image, view])
names = ["image_features:split", "image_features:embedding"]

ids = images["image_id"].to_pylist()
newest = max(images["event_timestamp"].to_pylist())
asked = pd.DataFrame({"image_id": ids, "event_timestamp": [newest + datetime.timedelta(seconds=1)] * len(ids)})
found = store.get_historical_features(entity_df=asked, features=names).to_df()
tests = found[found["split"] == "test"]
oldest = min(images["event_timestamp"].to_pylist())
before = asked.assign(event_timestamp=oldest - datetime.timedelta(days=1))
assert store.get_historical_features(entity_df=before, features=names).to_df()["split"].isna().all(), "the future leaks"

store.materialize(oldest - datetime.timedelta(days=1), newest + datetime.timedelta(days=1))
online = store.get_online_features(features=names, entity_rows=[{"image_id": each} for each in ids]).to_dict()
stored = dict(zip(ids, images["embedding"].to_pylist(), strict=True))
assert all(stored[key] == value for key, value in zip(online["image_id"], online["embedding"], strict=True))
print(len(found), len(tests), round(sum(float(vector[0]) for vector in tests["embedding"]), 4))
