"""How long is waited for an API server that refuses a run which it, or another of its cluster, let in before.

One that has just started may refuse everybody for a moment: its authorizer has not read the roles yet, its
authenticator is not up (https://github.com/kubernetes/kubernetes/issues/121635). That is what replacing masters brings.
"""

from __future__ import annotations

from dataclasses import dataclass

from node_rotation.errors import RefusedError, TransientError
from node_rotation.outcome import Blocked, Waiting

REFUSED_S = 300.0
AGAIN_S = 5.0


def waiting(error: TransientError | RefusedError) -> Waiting:
    """What an error that may pass is for whoever was let in before; a refusal as long as :class:`Patience` lasts."""
    if isinstance(error, RefusedError):
        return Waiting((str(error),), AGAIN_S, refused=error.blocked)
    return Waiting((str(error),), error.retry_after_s)


@dataclass(slots=True)
class Patience:
    """The patience of one who asks again and again.

    :param since: when it was first refused, and has been ever since; None if it was answered last.
    """

    since: float | None = None

    def spent(self, answer: object, now: float) -> Blocked | None:
        """What it is blocked by once it was refused for too long.

        :param answer: what it was told this time.
        :param now: epoch seconds.
        """
        blocked = answer.refused if isinstance(answer, Waiting) else None
        if blocked is None:
            self.since = None
            return None
        self.since = now if self.since is None else self.since
        return blocked if now - self.since > REFUSED_S else None
