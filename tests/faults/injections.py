from __future__ import annotations
from dataclasses import dataclass
from typing import Any
class Fault:
    pass
ALL: dict[str, Any] = {}
