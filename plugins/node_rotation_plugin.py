"""Registers the plugin where the package is only on the path; an installed one registers itself (entry point)."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution


def _installed() -> bool:
    """Asked by its name: every task asks, and reading all packages' entry points takes each about 15 ms."""
    try:
        return bool(distribution("node-rotation").entry_points.select(group="airflow.plugins"))
    except PackageNotFoundError:
        return False


if not _installed():
    from node_rotation_airflow.plugin import NodeRotationPlugin

    __all__ = ["NodeRotationPlugin"]
