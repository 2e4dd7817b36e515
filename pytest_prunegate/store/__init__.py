"""The store: every response under (model fingerprint, request), in one SQLite file.

A response is committed as soon as it exists, and carries a checksum. There is nothing to invalidate: another model,
prompt, dtype or version has another key.
"""

from pytest_prunegate.store.database import Store
from pytest_prunegate.store.schema import KeptModel, KeptRow, Response

__all__ = ["KeptModel", "KeptRow", "Response", "Store", "database_file", "maintenance", "row_copy"]
