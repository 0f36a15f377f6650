"""The store in PostgreSQL, which many replicas share: its connections, its schema, and its writer and readers.

Only what has the driver, the extra ``streamcanary[postgres]``, can import the modules other than ``url`` and
``driver``.
"""
