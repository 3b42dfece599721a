"""Spark: the table as Delta (with Delta's jars), or its files as plain Parquet (without).

python with_spark.py STORE/TABLE [VERSION]

DELTA_JARS names a directory with delta-spark, delta-storage and antlr4-runtime; without it Parquet is read alone.
"""

import glob
import os
import sys

from deltalake import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

path, version = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None
jars = glob.glob(os.path.join(os.environ.get("DELTA_JARS", "/nowhere"), "*.jar"))
builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
builder = builder.config("spark.sql.session.timeZone", "UTC")
if jars:
    builder = builder.config("spark.jars", ",".join(jars))
    builder = builder.config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
    builder = builder.config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
spark = builder.getOrCreate()
spark.sparkContext.setLogLevel("ERROR")


def describe(frame: DataFrame) -> str:
    """Returns rows, test rows and the sum of the test vectors' first values."""
    tests = frame.filter(f.col("split") == "test")
    total = tests.select(f.sum(f.col("embedding")[0].cast("double"))).first()[0] or 0.0
    return f"{frame.count()} {tests.count()} {round(total, 4)}"


parquet = describe(spark.read.parquet(*DeltaTable(path, version=version).file_uris()))
if jars:
    reader = spark.read.format("delta")
    reader = reader if version is None else reader.option("versionAsOf", version)
    delta = describe(reader.load(path))
    assert delta == parquet, (delta, parquet)
print(parquet)
spark.stop()
