"""Puts this folder on the path: worker processes must be able to import the small workers of the tests by name."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
