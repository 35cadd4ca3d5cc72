"""Where frozen images are recorded: SSM parameters, read as a union over every account and region of the fleet."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain

from node_rotation.clearance import freeze
from node_rotation.clearance.freeze import Frozen
from node_rotation.errors import BlockedError, happening_at
from node_rotation.fleet import Account, AwsAccess, Settings
from node_rotation.model import Image
from node_rotation.outcome import REASON_LENGTH, Blocked
from node_rotation.world.clients import Clock, Cloud

ConnectAccount = Callable[[AwsAccess], Cloud]
"""Makes the client of one account and region."""
BELIEVED_S = 30.0


def union(records: Iterable[Frozen]) -> tuple[Frozen, ...]:
    """Every record once, however many accounts have it."""
    return tuple({(r.image.id, r.at): r for r in records}.values())


class Freezes:
    """The frozen images as one run sees them.

    :param own: the client of the cluster's own account: what this run freezes is written there.
    :param connect: for the fleet's other accounts; None: this run knows no way to them.
    """

    def __init__(self, settings: Settings, own: Cloud, clock: Clock, connect: ConnectAccount | None = None) -> None:
        self._settings, self._own, self._clock, self._connect = settings, own, clock, connect
        self._clouds: dict[str, Cloud] = {str(settings.cluster.aws): own}
        self._lock = threading.Lock()
        self._known: tuple[float, tuple[Frozen, ...]] | None = None

    def __call__(self) -> tuple[Frozen, ...]:
        """Every frozen image, believed for half a minute.

        :raises TransientError: if an account does not answer now.
        :raises BlockedError: if one can't be asked at all: what is recorded there may freeze anything.
        """
        with self._lock:
            now = self._clock.now()
            if self._known is None or now - self._known[0] >= BELIEVED_S:
                self._known = (now, self._read())
            return self._known[1]

    def of(self, image: Image) -> Frozen | None:
        """The record that freezes an image, or None; raises as calling it does."""
        return freeze.of(image, self())

    def freeze(self, image: Image, reason: str, by: str) -> Frozen:
        """Freeze an image, in the cluster's own account: that is enough, for all accounts are read."""
        at = datetime.fromtimestamp(self._clock.now(), UTC)
        record = Frozen(image=image, reason=reason[:REASON_LENGTH], by=by, at=at)
        self._own.put_parameter(freeze.key(image), record.model_dump_json())
        self._forget()
        return record

    def unfreeze(self, image: Image, reason: str) -> tuple[Frozen, ...]:
        """Lift the freezes of an image wherever they are recorded.

        :returns: what was lifted.
        """
        lifted: list[Frozen] = []
        for account in self._accounts:
            with happening_at(str(account)):
                lifted += self._lift(self._reach(account.aws), image, reason)
        self._forget()
        return tuple(lifted)

    def _lift(self, cloud: Cloud, image: Image, reason: str) -> Iterator[Frozen]:
        for record in freeze.read(cloud.parameters(freeze.PATH)):
            if freeze.of(image, (record,)):
                kept = record.model_copy(update={"lifted": reason[:REASON_LENGTH]})
                cloud.put_parameter(freeze.key(record.image), kept.model_dump_json())
                yield record

    def _forget(self) -> None:
        with self._lock:
            self._known = None

    def _read(self) -> tuple[Frozen, ...]:
        return union(chain.from_iterable(map(self.recorded, self._accounts)))

    def recorded(self, account: Account) -> tuple[Frozen, ...]:
        """What one account has on record as frozen.

        :raises RotationError: names the account and its clusters.
        """
        with happening_at(str(account)):
            return freeze.read(self._reach(account.aws).parameters(freeze.PATH))

    @property
    def _accounts(self) -> Sequence[Account]:
        """The cluster's own first."""
        mine = self._settings.cluster.aws
        own = [account for account in self._settings.accounts if account.aws == mine]
        others = [account for account in self._settings.accounts if account.aws != mine]
        return [*(own or [Account(aws=mine, clusters=(self._settings.name,))]), *others]

    def _reach(self, access: AwsAccess) -> Cloud:
        place = str(access)
        if place not in self._clouds:
            if self._connect is None:
                remedy = "Give make_run a way to connect to accounts."
                raise BlockedError(Blocked("frozen images can't be read there", (), remedy))
            self._clouds[place] = self._connect(access)
        return self._clouds[place]
