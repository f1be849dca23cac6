"""For tests of an app that embeds the construct: the local cloud as a pytest fixture.

This module and `plugin` import only the standard library and pytest, because every pytest run loads them where the
distribution is installed.
"""
