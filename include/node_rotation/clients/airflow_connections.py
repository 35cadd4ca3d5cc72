"""Whether an Airflow that is installed here knows a connection: asked as a program, for nothing here imports it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from node_rotation.checkup.rights import Answer

PATIENCE_S = 60.0


def knows(connection: str) -> Answer:
    """Ask beside our own interpreter first, then on the path; what it prints holds the password and is thrown away.

    :returns: unknown if there is no Airflow here, or it can't tell, as without its database.
    """
    beside = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    program = shutil.which("airflow", path=beside)
    if program is None:
        return Answer.UNKNOWN
    argv = [program, "connections", "get", "--", connection]
    try:
        done = subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=PATIENCE_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return Answer.UNKNOWN
    if done.returncode == 0:
        return Answer.ALLOWED
    return Answer.DENIED if b"Connection not found" in done.stderr else Answer.UNKNOWN
