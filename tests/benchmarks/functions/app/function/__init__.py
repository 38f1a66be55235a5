"""The Starlette app that uvicorn runs too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "peers"))
from starlette_app import app as handle

__all__ = ["handle"]
