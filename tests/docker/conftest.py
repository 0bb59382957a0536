"""The fixtures of the tests on a real Docker Engine."""

from __future__ import annotations

from tests.docker.place import engine, place

__all__ = ["engine", "place"]
