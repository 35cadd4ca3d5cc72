"""What the demo says, with the seconds since it began."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Teller:
    """Says one line for people at a time."""

    console: Console
    began: float = field(default_factory=time.monotonic)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the demo began."""
        return time.monotonic() - self.began

    def say(self, line: str) -> None:
        """Say it; a long line (an address) is not broken."""
        self.console.print(f"{self.elapsed_s:6.0f} s  {line}", soft_wrap=True, highlight=False)
