"""What other clusters showed, found out once for all runs of a process that wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from node_rotation.world.clients import Clock

Answer = TypeVar("Answer")
FORGET_S = 3600.0


class Answers:
    """Answers by question: fifty runs that wait for the same thirty clusters look at each once, not fifty times."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, Any]] = {}
        self._asking: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, question: str, clock: Clock, believed_s: float, ask: Callable[[], Answer]) -> Answer:
        """The answer to a question, asked anew if the last one is too old; who asks meanwhile waits for it.

        :param believed_s: how long it is believed once it is there, in seconds.
        """
        with self._lock:
            asking = self._asking.setdefault(question, threading.Lock())
        with asking:
            known = self._known.get(question)
            if known is None or clock.now() - known[0] >= believed_s:
                answered = ask()
                known = (clock.now(), answered)
                self._remember(question, known)
            answer: Answer = known[1]
            return answer

    def _remember(self, question: str, known: tuple[float, Any]) -> None:
        with self._lock:
            self._known[question] = known
            old = [q for q, (at, _) in self._known.items() if known[0] - at > FORGET_S and not self._asking[q].locked()]
            for q in old:
                del self._known[q], self._asking[q]
