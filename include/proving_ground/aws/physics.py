"""What every service's responses share: faults, expired keys, the lock and the request log.

Mixed in before moto's response classes. Of moto it uses ``call_action``, ``serialized``, ``_get_action``,
``_get_param``, ``params`` and the three names imported below.
"""

from __future__ import annotations

import logging
import re
import secrets
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import botocore.session
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult, EmptyResult

from node_rotation.testing.scaling_values import AwsFault
from proving_ground.aws import faults, identities
from proving_ground.aws.request_log import OK, Request, mutates

if TYPE_CHECKING:
    from proving_ground.aws.world import AwsWorld

__all__ = ["ANSWER_LOST", "LOGGED", "OWNER_KEY", "WORLDS", "ActionResult", "EmptyResult", "Physics", "refuse"]

log = logging.getLogger(__name__)
WORLDS: dict[str, AwsWorld] = {}
# The key by which the world calls itself; such calls are not logged and no fault strikes them. Nobody else
# can come to use it by accident.
OWNER_KEY = f"owner-{secrets.token_hex(8)}"
LOGGED = "proving_ground.logged"
ANSWER_LOST = "proving_ground.answer_lost"
_GLOBAL = ("sts", "iam")
_KEY = re.compile(r"Credential=([^/]+)/")
_CODE = re.compile(r"<Code>([^<]+)</Code>")
_MODELS = botocore.session.get_session()
Answer = tuple[int, dict[str, Any], Any]


class AwsError(ServiceException):
    """An error that moto serialises; defined here, as moto takes those of ``moto.*`` for a service's own."""


def refuse(fault: AwsFault) -> AwsError:
    """The same error in the form that moto serialises."""
    return AwsError(fault.code, fault.message)


@dataclass(frozen=True)
class _Call:
    at: float
    service: str
    action: str
    parameters: dict[str, Any]
    access_key: str
    user_agent: str


class Physics:
    """Stands before a moto response class."""

    service_name: str
    region: str
    current_account: str
    params: Any
    headers: Any
    normalized_request: Any
    automated_parameter_parsing: bool

    @property
    def world(self) -> AwsWorld:
        """The world that the request is for."""
        return WORLDS[self.current_account]

    def call_action(self) -> Answer:
        """One AWS call, from the fault book to the log."""
        call = self._call()
        if call.access_key == OWNER_KEY:
            self.normalized_request.environ[LOGGED] = True
            return self._act(call)
        struck = self.world.faults.of_call(call.service, call.action)
        for fault in struck:
            if fault.delay:
                threading.Event().wait(fault.delay)
        answer = self._refusal(call, struck) or self._act(call)
        lost = any(fault.kind == "lost_answer" for fault in struck)
        self.normalized_request.environ[ANSWER_LOST] = lost
        self._log(call, "LostAnswer" if lost else _outcome(answer))
        return answer

    def asked(self) -> dict[str, Any]:
        """The request's parameters by their botocore names, also where moto leaves them unparsed."""
        if self.automated_parameter_parsing:
            return dict(_plain(self.params))
        model = _MODELS.get_service_model(self.service_name)
        action = self._get_action()
        shape = model.operation_model(action).input_shape if action in model.operation_names else None
        members = shape.members if shape else {}
        found = {name: self._get_param(member.serialization.get("name", name)) for name, member in members.items()}
        return {name: value for name, value in found.items() if value is not None}

    def failed(self, fault: AwsFault) -> Answer:
        """An error in the service's own wire format."""
        status, headers, body = self.serialized(ActionResult(refuse(fault)))
        status = fault.status if fault.status != 400 else status
        headers["status"] = str(status)
        return status, headers, body

    def _call(self) -> _Call:
        key = _KEY.search(self.headers.get("Authorization", ""))
        return _Call(
            self.world.clock.now(),
            self.service_name,
            self._get_action(),
            self.asked(),
            key[1] if key else "",
            self.headers.get("User-Agent", ""),
        )

    def _refusal(self, call: _Call, struck: list[Any]) -> Answer | None:
        refused = faults.refused_key(call.service, call.access_key)
        if refused is None and call.service not in _GLOBAL and self.region != self.world.region:
            refused = AwsFault("OptInRequired", f"This account uses the region {self.world.region} only.", 403)
        for fault in struck:
            refused = refused or faults.as_answer(fault)
        return self.failed(refused) if refused else None

    def _allowed(self, call: _Call) -> None:
        """:raises AwsFault: if whoever calls is held to a policy that does not allow this call."""
        denied = identities.refusal(self.world, call.access_key, call.service, call.action, call.parameters)
        if denied:
            raise denied

    def _perform(self, call: _Call) -> Answer:
        """What is allowed, done."""
        return super().call_action()  # type: ignore[misc, no-any-return]

    def _act(self, call: _Call) -> Answer:
        with self.world.lock:
            try:
                self._allowed(call)
                return self._perform(call)
            except AwsFault as fault:
                return self.failed(fault)
            except NotImplementedError:
                said = f"The action {call.action} is not valid for this web service."
                return self.failed(AwsFault("InvalidAction", said))
            except Exception as error:
                # What breaks in here must reach the caller as AWS' own failures do, and us by name.
                log.exception("the proving ground failed on %s:%s", call.service, call.action)
                said = f"The proving ground itself failed: {type(error).__name__}: {error}"
                return self.failed(AwsFault("InternalFailure", said, 500))

    def _log(self, call: _Call, outcome: str) -> None:
        self.normalized_request.environ[LOGGED] = True
        self.world.requests.append(
            Request(
                call.at,
                call.service,
                call.action,
                call.parameters,
                outcome,
                mutates(call.action, call.parameters),
                call.user_agent,
                call.access_key,
            )
        )

    if TYPE_CHECKING:

        def serialized(self, action_result: ActionResult) -> Answer: ...  # noqa: D102
        def _get_action(self) -> str: ...
        def _get_param(self, param_name: str, if_none: Any = None) -> Any: ...


def _outcome(answer: Answer) -> str:
    status, headers, body = answer
    if int(status) < 400:
        return OK
    text = body.decode() if isinstance(body, bytes) else str(body)
    if found := _CODE.search(text):
        return found[1]
    named = {name.lower(): value for name, value in headers.items()}.get("x-amzn-errortype")
    code = re.search(r'"__type"\s*:\s*"(?:[^"#]*#)?([^"]+)"', text)
    return str(named or (code[1] if code else status))


def _plain(value: Any) -> Any:
    if hasattr(value, "original_dict"):
        value = value.original_dict()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
