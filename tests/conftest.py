"""What all tests share: the real servers, and the check of TRITONCTL_REQUIRE before anything runs."""

from __future__ import annotations

import signal

import pytest

from tests.components import required
from tests.servers import own_triton, triton, triton_factory

__all__ = ["own_triton", "triton", "triton_factory"]


def pytest_configure(config: pytest.Config) -> None:
    required()
    # A shell starts what it puts into the background with SIGINT ignored, and so would be every process of ours that
    # a test interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
