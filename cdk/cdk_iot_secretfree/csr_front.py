"""The function that accepts a CSR as the body of a request, for `ApiOptions.csr_in_body`."""

from collections.abc import Mapping

from aws_cdk import Duration, Stack
from aws_cdk import aws_lambda as lambda_
from constructs import Construct
from secretfree.contract import Variable

from cdk_iot_secretfree.authorizer import decision_environment, grant_decision
from cdk_iot_secretfree.function_options import FunctionKind
from cdk_iot_secretfree.functions import API_TIMEOUT, RuntimeFunction
from cdk_iot_secretfree.product_line import ProductLine


def make_csr_front(
    scope: Construct, line: ProductLine, *, issuers: Mapping[str, lambda_.IFunction], retry_after: Duration
) -> RuntimeFunction:
    """Make the function with the authorizer's rights and the right to invoke `issuers`, by path; it can issue nothing.

    `retry_after`: see `ApiOptions`.
    """
    function = RuntimeFunction(
        scope,
        "CsrFrontFunction",
        kind=FunctionKind.CSR_FRONT,
        handler="secretfree.handlers.csr_front.handler",
        description=f"Takes requests of {line.product} devices that carry the CSR in the body",
        environment={
            **line.environment,
            **answering_environment(line, issuers=issuers, retry_after=retry_after),
        },
        options=line.functions,
        timeout=API_TIMEOUT,
        removal_policy=line.removal_policy,
    )
    grant_answering(function, line, issuers)
    return function


def answering_environment(
    line: ProductLine, *, issuers: Mapping[str, lambda_.IFunction], retry_after: Duration
) -> Mapping[Variable, str]:
    """The configuration of a function that answers requests with a CSR as the body."""
    stack = Stack.of(next(iter(issuers.values())))
    names = {path: function.function_name for path, function in issuers.items()}
    return {
        **decision_environment(line),
        Variable.ISSUER_FUNCTIONS: stack.to_json_string(names),
        Variable.RETRY_AFTER_SECONDS: str(int(retry_after.to_seconds())),
    }


def grant_answering(function: RuntimeFunction, line: ProductLine, issuers: Mapping[str, lambda_.IFunction]) -> None:
    """Let a function decide about such requests and invoke the issuers."""
    grant_decision(function, line)
    function.allow(["lambda:InvokeFunction"], [issuer.function_arn for issuer in issuers.values()])
