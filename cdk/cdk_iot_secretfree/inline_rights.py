"""The rights of a role inside the role itself: a policy of its own would be one more of a stack's 500 resources."""

from typing import Final, cast

import jsii
from aws_cdk import aws_iam as iam
from constructs import Construct


@jsii.implements(iam.IPrincipal)
class InlineRights:
    """A role to which this library's grants are made. What is granted to `role` itself gets a policy apart, as ever.

    Where a customer-managed key is involved, all rights are in the policy apart. The key's own policy may name the
    role; with the rights inside, role, table and key would each wait for the other.
    """

    def __init__(self, scope: Construct, id: str, *, assumed_by: iam.IPrincipal) -> None:  # noqa: A002
        self.role: Final = iam.Role(scope, id, assumed_by=assumed_by)
        self._resource = cast("iam.CfnRole", self.role.node.default_child)
        self._document = iam.PolicyDocument()
        self._inside: list[iam.PolicyStatement] = []
        self._is_apart = False

    @property
    def assume_role_action(self) -> str:
        """The action by which others become the role."""
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
        """Have all rights, those granted before too, in the policy apart."""
        self._is_apart = True
        self._resource.policies = None
        for statement in self._inside:
            self.role.add_to_policy(statement)
        self._inside.clear()

    def add_to_policy(self, statement: iam.PolicyStatement) -> bool:
        """Add a statement."""
        return self.add_to_principal_policy(statement).statement_added

    def add_to_principal_policy(self, statement: iam.PolicyStatement) -> iam.AddToPrincipalPolicyResult:
        """Add a statement. Who needs it waits for the role."""
        if self._is_apart:
            return self.role.add_to_principal_policy(statement)
        if not self._inside:
            policy = iam.CfnRole.PolicyProperty(policy_name=_NAME, policy_document=self._document)
            self._resource.policies = [policy]
        self._inside.append(statement)
        self._document.add_statements(statement)
        return iam.AddToPrincipalPolicyResult(statement_added=True, policy_dependable=self.role)


_NAME: Final = "Rights"
