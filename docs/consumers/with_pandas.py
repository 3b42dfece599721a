"""pandas: one version of a table, exactly its files.

python with_pandas.py STORE/TABLE [VERSION]
"""

import sys

import pandas as pd
from deltalake import DeltaTable

table = DeltaTable(sys.argv[1], version=int(sys.argv[2]) if len(sys.argv) > 2 else None)
columns = ["image_id", "split", "view_id", "labels", "embedding"]
frame = pd.concat([pd.read_parquet(uri, columns=columns) for uri in table.file_uris()], ignore_index=True)

tests = frame[frame["split"] == "test"]
print(len(frame), len(tests), round(sum(float(vector[0]) for vector in tests["embedding"]), 4))
