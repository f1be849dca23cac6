"""The web ACL in front of the API: one rule, which limits the requests of each IP address."""

from aws_cdk import aws_wafv2 as wafv2
from constructs import Construct

from cdk_iot_secretfree.acknowledgments import acknowledge


def make_web_acl(scope: Construct, *, limit: int) -> str:
    """Make a Regional web ACL that blocks an address above `limit` requests in five minutes. Return its ARN."""
    acl = wafv2.CfnWebACL
    web_acl = acl(
        scope,
        "WebAcl",
        scope="REGIONAL",
        default_action=acl.DefaultActionProperty(allow=acl.AllowActionProperty()),
        rules=[
            acl.RuleProperty(
                name=_RULE,
                priority=0,
                action=acl.RuleActionProperty(block=acl.BlockActionProperty()),
                statement=acl.StatementProperty(
                    rate_based_statement=acl.RateBasedStatementProperty(
                        aggregate_key_type="IP", evaluation_window_sec=300, limit=limit
                    )
                ),
                visibility_config=_visible_as(acl, _RULE),
            )
        ],
        visibility_config=_visible_as(acl, "SecretFreeApi"),
    )
    unlogged = "A logged request has its headers, and so the device's CSR. The rule has a metric."
    acknowledge(web_acl, {"WAFv2LoggingEnabled": unlogged})
    return web_acl.attr_arn


def attach_web_acl(scope: Construct, *, stage_arn: str, web_acl_arn: str) -> None:
    """Put a web ACL in front of a stage."""
    wafv2.CfnWebACLAssociation(scope, "WebAclAssociation", resource_arn=stage_arn, web_acl_arn=web_acl_arn)


def _visible_as(acl: type[wafv2.CfnWebACL], name: str) -> wafv2.CfnWebACL.VisibilityConfigProperty:
    # A sampled request contains its headers, and with them the CSR.
    return acl.VisibilityConfigProperty(
        cloud_watch_metrics_enabled=True, metric_name=name, sampled_requests_enabled=False
    )


_RULE = "RequestsOfOneAddress"
