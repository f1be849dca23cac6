"""`secretfree report`: the state of a product line as one self-contained HTML page."""
