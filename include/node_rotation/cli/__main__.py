"""``python -m node_rotation.cli``."""

from __future__ import annotations

import sys

from node_rotation.cli import main

sys.exit(main())
