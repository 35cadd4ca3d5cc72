"""The network and the programs of this machine: what a rotation outside Airflow has besides its two clients."""

from __future__ import annotations

from functools import lru_cache

from node_rotation.outside import Outside


@lru_cache(maxsize=1)  # whoever began a command in this process has to find it again
def this_machine() -> Outside:
    """HTTP with addresses and tokens from fleet file and environment, and local commands."""
    from node_rotation.clients.commands import LocalCommands  # urllib3: `--help` does without
    from node_rotation.clients.http import HttpClient, from_environment

    return Outside(HttpClient(from_environment), LocalCommands())
