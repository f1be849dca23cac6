"""symilar for the Makefile: the command's own check, on the parsed files alone.

symilar needs the syntax tree alone. astroid also infers types while it builds a tree, and reads the modules that a file
imports, the CDK library among them. That takes most of the time of a run.
"""

import functools

import astroid
from astroid.builder import AstroidBuilder
from pylint.checkers.symilar import Run

if __name__ == "__main__":
    astroid.parse = functools.partial(astroid.parse, apply_transforms=False)
    AstroidBuilder.delayed_assattr = lambda _self, _node: None
    Run()
