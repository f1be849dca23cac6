"""The failure of a bundling."""


class BundlingError(RuntimeError):
    """The bundle could not be made; the message names the command that failed and what to do."""
