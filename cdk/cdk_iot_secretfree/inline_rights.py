"""Puts a role's rights into the role itself: a separate policy would count towards a stack's 500 resources."""

from typing import Final, cast

import jsii
from aws_cdk import aws_iam as iam
from constructs import Construct


@jsii.implements(iam.IPrincipal)
class InlineRights:
    """A role with inline rights, for this library's grants. Grants to `role` itself use a separate policy, as usual.

    With a customer-managed key, all rights are in the separate policy. The key's own policy may name the role: with
    inline rights, role, table and key would depend on each other in a circle.
    """

    def __init__(self, scope: Construct, id: str, *, assumed_by: iam.IPrincipal) -> None:  # noqa: A002
        self.role: Final = iam.Role(scope, id, assumed_by=assumed_by)
        self._resource = cast("iam.CfnRole", self.role.node.default_child)
        self._document = iam.PolicyDocument()
        self._inside: list[iam.PolicyStatement] = []
        self._is_apart = False

    @property
    def assume_role_action(self) -> str:
        """The action that assumes the role."""
        return self.role.assume_role_action

    @property
    def grant_principal(self) -> iam.IPrincipal:
        """These rights."""
        return self

    @property
    def policy_fragment(self) -> iam.PrincipalPolicyFragment:
        """The role, as a policy names it."""
        return self.role.policy_fragment

    @property
    def principal_account(self) -> str | None:
        """The role's account."""
        return self.role.principal_account

    def put_apart(self) -> None:
        """Move all rights, earlier ones too, into the separate policy."""
        self._is_apart = True
        self._resource.policies = None
        for statement in self._inside:
            self.role.add_to_policy(statement)
        self._inside.clear()

    def add_to_policy(self, statement: iam.PolicyStatement) -> bool:
        """Add a statement."""
        return self.add_to_principal_policy(statement).statement_added

    def add_to_principal_policy(self, statement: iam.PolicyStatement) -> iam.AddToPrincipalPolicyResult:
        """Add a statement. A resource that needs it depends on the role."""
        if self._is_apart:
            return self.role.add_to_principal_policy(statement)
        if not self._inside:
            policy = iam.CfnRole.PolicyProperty(policy_name=_NAME, policy_document=self._document)
            self._resource.policies = [policy]
        self._inside.append(statement)
        self._document.add_statements(statement)
        return iam.AddToPrincipalPolicyResult(statement_added=True, policy_dependable=self.role)


_NAME: Final = "Rights"
