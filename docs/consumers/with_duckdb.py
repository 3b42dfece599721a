"""DuckDB: the delta extension (here from the package duckdb-extension-delta), and plain Parquet.

python with_duckdb.py STORE/TABLE [VERSION]

The extension reads the newest version; an older one is read by the list of its files.
"""

import importlib.resources
import sys

import duckdb
from deltalake import DeltaTable

path, version = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None
question = """
    SELECT count(*), count(*) FILTER (split = 'test'), round(sum(embedding[1]::DOUBLE) FILTER (split = 'test'), 4)
    FROM {}
"""

connection = duckdb.connect()
files = DeltaTable(path, version=version).file_uris()
parquet = connection.execute(question.format("read_parquet($files)"), {"files": files}).fetchone()
if version is None:
    extensions = importlib.resources.files("duckdb_extension_delta") / "extensions"
    connection.execute(f"LOAD '{extensions / ('v' + duckdb.__version__) / 'delta.duckdb_extension'}'")
    delta = connection.execute(question.format(f"delta_scan('{path}')")).fetchone()
    assert delta == parquet, (delta, parquet)
print(*parquet)
