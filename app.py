"""The sample app: one product line in a stack of its own. Copy it, and make the choices in code instead of context."""

from aws_cdk import App
from cdk_iot_secretfree import SampleOptions, SecretFreeStack

app = App()
options = SampleOptions.from_context(app.node)
SecretFreeStack(app, options.stack_name, options=options)
app.synth()
