"""Reads and shows the product line's logs, on AWS and in the local cloud."""
