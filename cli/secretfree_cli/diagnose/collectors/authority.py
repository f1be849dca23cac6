"""The state of the Private CA."""

from __future__ import annotations

from secretfree_cli.diagnose.collectors.reading import Reading, moment
from secretfree_cli.diagnose.evidence import Authority
from secretfree_cli.target import Target


def read(target: Target, reading: Reading) -> Authority | None:
    """Read the stack's Private CA; None if it has none."""
    if target.authority_arn is None:
        return None
    arn = target.authority_arn
    answer = reading.attempt(
        "the Private CA",
        lambda: target.client("acm-pca").describe_certificate_authority(CertificateAuthorityArn=arn),
    )
    if answer is None:
        return None
    described = answer["CertificateAuthority"]
    return Authority(
        arn=arn,
        status=described["Status"],
        not_after=moment(described.get("NotAfter")),
        changed_at=moment(described.get("LastStateChangeAt")),
    )
