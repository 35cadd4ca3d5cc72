"""The settings of the proving ground's Airflow: loopback, SQLite, LocalExecutor, and quick to react."""

from __future__ import annotations

import base64
import configparser
import io
import json
import os
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path

Sections = dict[str, dict[str, object]]

PARALLELISM = 2  # two cores: with more, tasks that begin together starve the scheduler


def free_port() -> int:
    """A port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def secrets_of(home: Path) -> dict[str, str]:
    """The home's own secrets, made once; a restart can still read what the database holds."""
    file = home / "secrets.json"
    if not file.exists():
        made = {
            "jwt": secrets.token_urlsafe(48),
            "api": secrets.token_urlsafe(32),
            "fernet": base64.urlsafe_b64encode(os.urandom(32)).decode(),
        }
        file.touch(mode=0o600)
        file.write_text(json.dumps(made))
    return dict(json.loads(file.read_text()))


def configuration(
    home: Path,
    dags: Path,
    plugins: Path,
    ports: Mapping[str, int],
    keys: Mapping[str, str],
    overrides: Mapping[str, Mapping[str, object]],
) -> str:
    """The text of airflow.cfg.

    :param ports: of ``api-server`` and ``execution-api``.
    :param keys: from :func:`secrets_of`.
    :param overrides: section → option → value, over what stands here.
    """
    sections = _addresses(home, dags, plugins, ports, keys)
    for layer in (_quick(), overrides):
        for section, options in layer.items():
            sections.setdefault(section, {}).update(options)
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_dict({name: {k: str(v) for k, v in options.items()} for name, options in sections.items()})
    text = io.StringIO()
    parser.write(text)
    return text.getvalue()


def _addresses(home: Path, dags: Path, plugins: Path, ports: Mapping[str, int], keys: Mapping[str, str]) -> Sections:
    return {
        "core": {
            "dags_folder": dags,
            "plugins_folder": plugins,
            "executor": "LocalExecutor",
            "parallelism": PARALLELISM,
            "load_examples": False,
            "simple_auth_manager_all_admins": True,
            "simple_auth_manager_passwords_file": home / "passwords.json",
            "execution_api_server_url": f"http://127.0.0.1:{ports['execution-api']}/execution/",
            "fernet_key": keys["fernet"],
            "default_timezone": "utc",
            "max_active_tasks_per_dag": 64,
        },
        "database": {"sql_alchemy_conn": f"sqlite:///{home / 'airflow.db'}"},
        "api": {
            "host": "127.0.0.1",
            "port": ports["api-server"],
            "base_url": f"http://127.0.0.1:{ports['api-server']}",
            "secret_key": keys["api"],
        },
        "api_auth": {"jwt_secret": keys["jwt"]},
        "logging": {"base_log_folder": home / "logs"},
        "usage_data_collection": {"enabled": False},
    }


def _quick() -> Sections:
    """What makes Airflow react in seconds; measured with Airflow 3.3.2 on two cores."""
    return {
        "core": {"lazy_load_plugins": False},
        "scheduler": {
            "scheduler_idle_sleep_time": 0.25,
            "task_instance_heartbeat_timeout": 120,
            "task_instance_heartbeat_timeout_detection_interval": 5,
            "orphaned_tasks_check_interval": 30,
            # A busy machine delays the scheduler's heartbeat by half a minute: at 15 s it takes itself for dead,
            # resets its running tasks, and is busier still.
            "scheduler_health_check_threshold": 90,
            "trigger_timeout_check_interval": 5,
        },
        "workers": {"min_heartbeat_interval": 1, "max_failed_heartbeats": 30},
        "triggerer": {"triggerer_health_check_threshold": 60, "job_heartbeat_sec": 2},
        "dag_processor": {
            "refresh_interval": 30,
            "min_file_process_interval": 300,
            # For each trigger that ends a task Airflow parses the DAG's file again, to call callbacks: there are none.
            "max_callbacks_per_loop": 0,
        },
    }
