"""Hugging Face datasets: one version as a Dataset with NumPy vectors; nothing is uploaded.

python with_datasets.py STORE/TABLE [VERSION]
"""

import sys
import tempfile

import datasets
from deltalake import DeltaTable

table = DeltaTable(sys.argv[1], version=int(sys.argv[2]) if len(sys.argv) > 2 else None)
features = datasets.Features(  # given, because datasets has no type for the column attributes, a map
    {
        "image_id": datasets.Value("string"),
        "split": datasets.Value("string"),
        "labels": datasets.List(datasets.Value("string")),
        "embedding": datasets.List(datasets.Value("float32")),
    }
)
with tempfile.TemporaryDirectory() as cache:
    stored = datasets.load_dataset(
        "parquet",
        data_files=table.file_uris(),
        columns=list(features),
        features=features,
        split="train",
        cache_dir=cache,
    )
    tests = stored.filter(lambda row: row["split"] == "test").with_format("numpy")
    print(stored.num_rows, tests.num_rows, round(sum(float(row["embedding"][0]) for row in tests), 4))
