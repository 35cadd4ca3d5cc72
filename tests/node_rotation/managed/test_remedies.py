"""What to do about each way in which EKS can fail: complete by AWS' own model."""

from __future__ import annotations

import botocore.session
import pytest

from node_rotation.managed.nodegroup import OF_ADDONS, REMEDIES


@pytest.mark.parametrize("shape", ["NodegroupIssueCode", "ErrorCode"])
def test_every_code_of_eks_has_a_remedy(shape: str) -> None:
    known = set(botocore.session.get_session().get_service_model("eks").shape_for(shape).enum)
    assert known - {*REMEDIES, *OF_ADDONS} == set()


def test_no_remedy_is_for_a_code_that_eks_does_not_have() -> None:
    model = botocore.session.get_session().get_service_model("eks")
    known = {code for shape in ("NodegroupIssueCode", "ErrorCode") for code in model.shape_for(shape).enum}
    assert {*REMEDIES, *OF_ADDONS} <= known
