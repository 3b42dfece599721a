"""A shard: its content, the lanes that work on it, its markers and parts."""
