"""The way to the terminal, which may be gone from one moment to the next: then writing to it must block nothing."""

from __future__ import annotations

import os
import sys
import termios

from textual.drivers.linux_driver import LinuxDriver


class TerminalDriver(LinuxDriver):
    """Textual 8.2.8 writes in a thread that dies with the first write to a terminal that is gone; then the thirty
    writes its queue holds fill it, and the next one waits for ever: the process outlived its terminal."""

    def write(self, data: str) -> None:
        thread = self._writer_thread
        if thread is not None and thread.is_alive():
            thread.write(data)


def let_go_of_a_lost_terminal() -> None:
    """What is still written goes nowhere, where the terminal that Textual draws on is gone."""
    if sys.__stderr__ is None:
        return
    try:
        termios.tcgetattr(sys.__stderr__.fileno())
    except termios.error:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.__stderr__.fileno())
        os.close(nowhere)
