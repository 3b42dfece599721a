"""Polars: scan_delta for a version, scan_parquet for its files; both read only what is asked for.

python with_polars.py STORE/TABLE [VERSION]
"""

import sys

import polars as pl
from deltalake import DeltaTable

path, version = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None


def describe(frame: pl.LazyFrame) -> str:
    """Returns rows, test rows and the sum of the test vectors' first values."""
    rows = frame.select(pl.len()).collect().item()
    tests = frame.filter(pl.col("split") == "test").select(pl.col("embedding").list.get(0).cast(pl.Float64)).collect()
    return f"{rows} {tests.height} {round(tests['embedding'].sum(), 4)}"


delta = describe(pl.scan_delta(path, version=version))
parquet = describe(pl.scan_parquet(DeltaTable(path, version=version).file_uris()))
assert delta == parquet, (delta, parquet)
print(delta)
