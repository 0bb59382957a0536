"""A process that outlives ours by half a second: it keeps the server's processes and clears them away after us.

Standard library only, started as a file (`python -I -S guard.py FOLDER SHM_PREFIX`) in a session of its own, so that it
is up in a few hundredths of a second and neither Ctrl-C nor a closed terminal reaches it. One JSON object a line:

  stdin   {"do": "start", "name", "argv", "env", "log"}     {"do": "kill", "name"}     {"do": "stop"}
  stdout  {"event": "ready"}     {"event": "started", "name", "pid"}     {"event": "failed", "name", "error"}
          {"event": "exited", "name", "pid", "code"}     {"event": "gone"}

`code` is the exit status, or minus the signal that ended it. The end of stdin (our process quit, crashed or was
killed), SIGTERM and "stop" all mean the same: kill everything at once, remove the server's shared memory and FOLDER.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
from contextlib import suppress

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LINE_BYTES = 1 << 20
SHARED_MEMORY = "/dev/shm"


def sweep(folder: str, shm_prefix: str) -> None:
    """Remove the shared memory whose names begin with `shm_prefix`, and `folder` with all in it."""
    # A server that is killed leaves its Python backend's regions behind (seen on tritonserver 2.51.0).
    if shm_prefix and os.path.isdir(SHARED_MEMORY):
        for name in os.listdir(SHARED_MEMORY):
            if name.startswith(shm_prefix):
                forget(os.path.join(SHARED_MEMORY, name))
    for root, folders, files in os.walk(folder, topdown=False):
        for name in files:
            forget(os.path.join(root, name))
        for name in folders:
            path = os.path.join(root, name)
            if os.path.islink(path):
                forget(path)
            else:
                forget_folder(path)
    forget_folder(folder)


def forget(path: str) -> None:
    with suppress(OSError):  # gone already, or no longer ours to remove: nothing to do about it here
        os.unlink(path)


def forget_folder(path: str) -> None:
    with suppress(OSError):
        os.rmdir(path)


def descendants(root: int) -> list[int]:
    """All processes under `root`, from the parents that /proc names."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", "rb") as file:
                    # The name in brackets may hold spaces and brackets; the parent is the second field behind it.
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue
            children.setdefault(parent, []).append(int(entry))
    found, queue = [], [root]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


class Guard:
    """Keeps the children by name, tells of their ends, and ends them all."""

    def __init__(self, folder: str, shm_prefix: str) -> None:
        self.folder = folder
        self.shm_prefix = shm_prefix
        self.names: dict[int, str] = {}
        self.libc = ctypes.CDLL(None, use_errno=True)

    def say(self, event: str, **values: object) -> None:
        line = json.dumps({"event": event, **values}) + "\n"
        with suppress(OSError):  # nobody listens any more: the end of stdin is on its way
            os.write(1, line.encode())

    def start(self, name: str, argv: list[str], env: dict[str, str], log: str) -> None:
        try:
            target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            self.say("failed", name=name, error=f"{log}: {error.strerror}")
            return
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                # Should the guard itself be killed, its children go with it.
                self.libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGTERM):
                    signal.signal(number, signal.SIG_DFL)
                empty = os.open(os.devnull, os.O_RDONLY)
                os.dup2(empty, 0)
                os.dup2(target, 1)
                os.dup2(target, 2)
                os.chdir(self.folder)
                os.execve(argv[0], argv, env)
            except BaseException as error:
                os.write(2, f"cannot run {argv[0]}: {error}\n".encode())
            os._exit(127)
        os.close(target)
        self.names[pid] = name
        self.say("started", name=name, pid=pid)

    def reap(self) -> bool:
        """Collect what has ended; whether any child is left. As subreaper we inherit the Python stubs too."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid in self.names:
                self.say("exited", name=self.names.pop(pid), pid=pid, code=os.waitstatus_to_exitcode(status))

    def obey(self, line: bytes) -> bool:
        """Do what one line says; False for the end."""
        try:
            order = json.loads(line)
            if order["do"] == "stop":
                return False
            if order["do"] == "kill":
                for pid in [pid for pid, name in self.names.items() if name == order["name"]]:
                    self.kill(*descendants(pid), pid)
            else:
                self.start(order["name"], order["argv"], order["env"], order["log"])
        except (ValueError, KeyError, TypeError) as error:
            self.say("failed", name="", error=f"not an order: {error!r}")
        return True

    def watch(self, wakeup: int) -> None:
        """Returns when everything is to end."""
        poll = select.poll()
        poll.register(0, select.POLLIN | select.POLLHUP)
        poll.register(wakeup, select.POLLIN)
        pending = b""
        while True:
            ready = dict(poll.poll())
            if wakeup in ready:
                signals = os.read(wakeup, 512)
                self.reap()
                if signal.SIGTERM in signals:
                    return
            if 0 in ready:
                data = os.read(0, 1 << 16)
                if not data or len(pending) > LINE_BYTES:
                    return
                *lines, pending = (pending + data).split(b"\n")
                if not all(self.obey(line) for line in lines):
                    return

    def kill(self, *pids: int) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill every process below us until none is left, then sweep."""
        wait = select.poll()
        for _ in range(400):
            self.kill(*descendants(os.getpid()))
            if not self.reap():
                break
            wait.poll(5)
        sweep(self.folder, self.shm_prefix)
        self.say("gone")


def main() -> None:
    folder, shm_prefix = sys.argv[1:]
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    wakeup, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    guard = Guard(folder, shm_prefix)
    guard.libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.makedirs(folder, mode=0o700)
    os.chdir("/")
    guard.say("ready")
    try:
        guard.watch(wakeup)
    finally:
        guard.end()


if __name__ == "__main__":
    main()
