"""Triggers: what waits, waits here and holds no worker slot."""
