"""The scripts of docs/pipelines.md, cut out of the page, and run as a pipeline's system does."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import yaml
from tests.e2e.landing import ROOT

PAGE = (ROOT / "docs" / "pipelines.md").read_text()


def block(title: str, language: str) -> str:
    """The one code block below a heading of the page."""
    found = re.search(rf"^## {re.escape(title)}\n.*?^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert found, f"docs/pipelines.md has no {language} below {title}"
    return found[1]


def run(script: str, environment: dict[str, str], shell: str = "bash") -> subprocess.CompletedProcess[str]:
    """What the pipeline's system does with a job's script."""
    return subprocess.run(
        [shell, "-e", "-c", script], env=environment, capture_output=True, text=True, timeout=600, check=False
    )


def gitlab() -> tuple[str, dict[str, Any]]:
    (job,) = yaml.safe_load(block("GitLab CI", "yaml")).values()
    return "\n".join(job["script"]), job["variables"]


def github() -> tuple[str, dict[str, Any]]:
    (job,) = yaml.safe_load(block("GitHub Actions", "yaml"))["jobs"].values()
    (step,) = job["steps"]
    return step["run"], job["env"]
