"""The function that answers EST (RFC 7030), for `ApiOptions.est`."""

from collections.abc import Mapping, Sequence

from aws_cdk import Duration, Stack
from aws_cdk import aws_lambda as lambda_
from constructs import Construct
from secretfree.contract import EstOperation, MatchPolicy, Variable

from cdk_iot_secretfree.csr_front import answering_environment, grant_answering
from cdk_iot_secretfree.est_options import EstOptions
from cdk_iot_secretfree.function_options import FunctionKind
from cdk_iot_secretfree.functions import API_TIMEOUT, RuntimeFunction
from cdk_iot_secretfree.issuers.issuer import Issuer
from cdk_iot_secretfree.product_line import ProductLine
from cdk_iot_secretfree.things import grant_certificate_look_up
from cdk_iot_secretfree.validation import refuse


def make_est(
    scope: Construct,
    line: ProductLine,
    est: EstOptions,
    *,
    issuers: Mapping[str, lambda_.IFunction],
    retry_after: Duration,
) -> RuntimeFunction:
    """Make the function with the authorizer's rights and the right to invoke `issuers`, by path.

    It reads the certificates of the CAs and, for re-enrolment, the records and the states of single certificates. It
    can issue nothing. `retry_after`: see `ApiOptions`.
    """
    authorities = {one.path: [ca.arn for ca in one.authorities] for one in line.issuers if one.authorities}
    by_path = {path: ",".join(arns) for path, arns in authorities.items()}
    own = {
        Variable.EST_ISSUER: _default_path(est, line.issuers),
        Variable.EST_AUTHORITIES: Stack.of(scope).to_json_string(by_path),
    }
    if est.reenroll is not None:
        own |= {Variable.EST_REENROLL_DOMAIN: est.reenroll.name, Variable.LEDGER_TABLE: line.ledger.table_name}
    function = RuntimeFunction(
        scope,
        "EstFunction",
        kind=FunctionKind.EST,
        handler="secretfree.handlers.est.handler",
        description=f"Answers EST for devices of {line.product}",
        environment={
            **line.environment,
            **answering_environment(line, issuers=issuers, retry_after=retry_after),
            **own,
        },
        options=line.functions,
        timeout=API_TIMEOUT,
        removal_policy=line.removal_policy,
    )
    grant_answering(function, line, issuers)
    if arns := [arn for of_issuer in authorities.values() for arn in of_issuer]:
        function.allow(["acm-pca:GetCertificateAuthorityCertificate"], list(dict.fromkeys(arns)))
    if est.reenroll is not None:
        if line.match is not MatchPolicy.UDID:
            line.ledger.grant_read_bindings(function.rights)
        grant_certificate_look_up(function)
    return function


def _default_path(est: EstOptions, issuers: Sequence[Issuer]) -> str:
    if taken := sorted({issuer.path for issuer in issuers} & set(EstOperation)):
        refuse("est", f"an issuer with the path {taken[0]}", "issuers whose paths are no operations of EST")
    if est.default_issuer is None:
        return issuers[0].path
    paths = {issuer.name: issuer.path for issuer in issuers}
    if est.default_issuer not in paths:
        refuse("default_issuer", est.default_issuer, f"the name of an issuer: {', '.join(paths)}")
    return paths[est.default_issuer]
