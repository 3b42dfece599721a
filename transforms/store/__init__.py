"""The feature store: schema, tables, parts and reading; pyarrow and deltalake only."""
