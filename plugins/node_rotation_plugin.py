"""Registers the plugin where the package is not installed but only on the path."""

from __future__ import annotations

from node_rotation_airflow.plugin import NodeRotationPlugin

__all__ = ["NodeRotationPlugin"]
