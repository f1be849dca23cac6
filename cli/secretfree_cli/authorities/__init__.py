"""The CAs of a product line: which signs, which came before it, and which devices remain on each."""
