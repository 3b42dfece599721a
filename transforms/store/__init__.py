"""The feature store: a Delta table of plain Parquet for each encoder; see docs/feature-store.md.

Other teams read it with ``open_features``, or with their own tools and none of this code.
"""

from transforms.store.reader import FeatureExamples, FeatureSet, open_features

__all__ = ["FeatureExamples", "FeatureSet", "open_features"]
