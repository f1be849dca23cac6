"""The sample app: one product line in a stack of its own. Copy it, and make the choices in code instead of context."""

from aws_cdk import App
from cdk_iot_secretfree import SampleOptions, SecretFreeStack

# The library's tests validate this template. To have the CDK validate your own resources too, remove the argument: a
# synth then takes more than twice as long.
app = App(builtin_cloud_formation_validation=False)
options = SampleOptions.from_context(app.node)
SecretFreeStack(app, options.stack_name, options=options)
app.synth()
