"""Runs one program and ends it when whoever asked for it dies: the first argument is a pipe that then breaks.

A process of its own, started by its path: nobody can be told of its own death by SIGKILL, but the kernel closes what
it held open. (Linux' PR_SET_PDEATHSIG is about the thread that forked, and about no grandchild.) Nothing of
node-rotation is imported here, so that it starts in a moment.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

GRACE_S = 10.0
"""Between asking and killing: terraform gives its lock back meanwhile."""
CANNOT_START = 126


def main(argv: list[str]) -> int:
    """Run a program in this process' group until it ends, or until the pipe breaks.

    :param argv: the pipe's file descriptor, then program and arguments.
    :returns: its exit code; 128 and the signal's number if one ended it, as shells have it.
    """
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda number, frame: None)  # asked are all of the group; this one sees how it ends
    try:
        program = subprocess.Popen(argv[1:])
    except OSError as error:
        print(f"{argv[1]} can't be started: {error.strerror}", flush=True)
        return CANNOT_START
    broken = threading.Event()
    watching = threading.Thread(target=_watch, args=(int(argv[0]), program, broken), daemon=True)
    watching.start()
    code = program.wait()
    if broken.is_set():
        watching.join()  # it still has to end what the program started
    return code if code >= 0 else 128 - code


def _watch(pipe: int, program: subprocess.Popen[bytes], broken: threading.Event) -> None:
    os.read(pipe, 1)  # nobody ever writes: it returns when the other end is closed
    broken.set()
    os.killpg(os.getpgrp(), signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        program.wait(GRACE_S)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
