"""The CAs of a product line: which one signs, which ones signed before, and which devices remain on each."""
