"""The way to the terminal, which may be gone from one moment to the next: then writing to it must block nothing."""

from __future__ import annotations

import errno
import os
import select
import sys
import termios

from textual import events
from textual.drivers.linux_driver import LinuxDriver
from textual.message import Message

from tritonctl.courtesy import key_pressed


class TerminalDriver(LinuxDriver):
    """Textual 8.2.8 writes in a thread that dies with the first write to a terminal that is gone; then the thirty
    writes its queue holds fill it, and the next one waits for ever: the process outlived its terminal."""

    def start_application_mode(self) -> None:
        """Textual draws on stderr. Where that goes elsewhere, as with `2> errors`, the screen would go there too."""
        if sys.__stdout__ is not None and not (self._file is not None and self._file.isatty()):
            self._file = sys.__stdout__
        super().start_application_mode()  # type: ignore[no-untyped-call]

    @property
    def is_lost(self) -> bool:
        """Whether the terminal is gone. One that is not the session's own sends no SIGHUP, and Textual would read its
        end for ever."""
        asked = select.poll()
        asked.register(self.fileno, 0)
        return bool(asked.poll(0))

    def process_message(self, message: Message) -> None:
        """In the thread that reads: the event loop may be busy when a key comes."""
        if isinstance(message, events.Key):
            key_pressed()
        super().process_message(message)

    def write(self, data: str) -> None:
        thread = self._writer_thread
        if thread is not None and thread.is_alive():
            thread.write(data)


def let_go_of_a_lost_terminal() -> None:
    """What is still written goes nowhere, where the terminal that Textual draws on is gone."""
    for stream in (sys.__stderr__, sys.__stdout__):
        if stream is None:
            continue
        try:
            termios.tcgetattr(stream.fileno())
        except termios.error as error:
            if error.args[0] != errno.ENOTTY:  # a file, which is what it was from the beginning
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
