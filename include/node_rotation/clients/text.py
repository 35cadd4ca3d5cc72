"""Foreign texts made fit for an error message: short, one line, without credentials."""

from __future__ import annotations

import re

LONGEST = 300
_SECRETS = (
    # AWS encodes the whole request into refusals: long, unreadable, and not for every log reader.
    (re.compile(r"(Encoded authorization failure message:).*", re.DOTALL), r"\1 (left out)"),
    (re.compile(r"(X-Amz-(?:Signature|Credential|Security-Token)=)[^&\s\"']+"), r"\1(left out)"),
    (re.compile(r"(k8s-aws-v1\.)[A-Za-z0-9_=-]+"), r"\1(left out)"),
    (re.compile(r"(?i)(bearer\s+)[A-Za-z0-9._~+/=-]+"), r"\1(left out)"),
)


def short(text: object, longest: int = LONGEST) -> str:
    """Somebody else's text as part of one line of ours.

    :param text: whatever the service, or its client library, said.
    :param longest: characters to keep.
    """
    line = str(text)
    for pattern, kept in _SECRETS:
        line = pattern.sub(kept, line)
    line = " ".join(line.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
