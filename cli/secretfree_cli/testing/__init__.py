"""Tests of an app that embeds the construct: the local cloud as a pytest fixture.

This module and `plugin` import nothing outside the standard library but pytest, because every pytest run loads them
where the distribution is installed.
"""
