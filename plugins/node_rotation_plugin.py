"""Registers the plugin where the package is only on the path; an installed one registers itself (entry point)."""

from __future__ import annotations

from importlib.metadata import entry_points

if not entry_points(group="airflow.plugins", name="node_rotation"):
    from node_rotation_airflow.plugin import NodeRotationPlugin

    __all__ = ["NodeRotationPlugin"]
