"""Systems Manager's public parameters: readable, not writable, without history.

Source: https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-public-parameters.html
"""

# Each method is one AWS operation; its documentation is AWS' own.
# ruff: noqa: D102
from __future__ import annotations

from typing import Any

from moto.ssm.responses import SimpleSystemManagerResponse

from proving_ground.aws.physics import ActionResult, Physics
from proving_ground.aws.scaling_shapes import moment


class ParameterPhysics(Physics, SimpleSystemManagerResponse):  # type: ignore[misc]
    """Instead of moto's own, which keeps ``/aws/...`` for itself."""

    def get_parameter(self) -> ActionResult:
        found = self._public(self.asked()["Name"])
        return ActionResult({"Parameter": found}) if found else super().get_parameter()

    def get_parameters(self) -> ActionResult:
        result = super().get_parameters()
        answer: Any = result.result
        for name in list(answer["InvalidParameters"]):
            if found := self._public(name):
                answer["InvalidParameters"].remove(name)
                answer["Parameters"].append(found)
        return result

    def get_parameters_by_path(self) -> ActionResult:
        asked = self.asked()
        path = asked["Path"].rstrip("/") + "/"
        found = [
            self._public(name)
            for name in self.world.images.public
            if name.startswith(path) and (asked.get("Recursive") or "/" not in name.removeprefix(path))
        ]
        return ActionResult({"Parameters": found}) if found else super().get_parameters_by_path()

    def _public(self, name: str) -> dict[str, Any] | None:
        kept = self.world.images.public.get(name)
        if kept is None:
            return None
        value, modified = kept.values[-1]
        return {
            "Name": name,
            "Type": "String",
            "Value": value,
            "Version": len(kept.values),
            "LastModifiedDate": moment(modified),
            "ARN": f"arn:aws:ssm:{self.region}::parameter{name}",
            "DataType": "text",
        }
