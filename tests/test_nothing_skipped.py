"""What tests/conftest.py is for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SKIPPING = {
    "by a mark": "import pytest\n\n@pytest.mark.skip\ndef test_one(): pass\n\ndef test_two(): pass\n",
    "midway": "import pytest\n\ndef test_one(): pytest.skip('no')\n",
    "as a module": "import pytest\npytest.skip('no', allow_module_level=True)\n",
    "expected to fail": "import pytest\n\n@pytest.mark.xfail\ndef test_one(): assert False\n",
}


def run(directory: Path, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(Path(__file__).with_name("conftest.py"), directory)
    (directory / "pytest.ini").write_text("[pytest]\n")
    (directory / "test_it.py").write_text(text)
    env = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "xdist", *arguments]
    return subprocess.run(argv, cwd=directory, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("how", list(SKIPPING))
def test_a_run_with_a_skipped_test_fails_and_names_it(how: str, tmp_path: Path) -> None:
    done = run(tmp_path, SKIPPING[how], *(("-n", "2") if how == "midway" else ()))
    assert done.returncode == 1, done.stdout
    assert "skipped, which counts as failed here: test_it.py" in done.stdout


def test_a_run_in_which_all_were_run_passes(tmp_path: Path) -> None:
    done = run(tmp_path, "def test_one(): pass\n")
    assert done.returncode == 0, done.stdout
