"""The product line's logs, on AWS and in the local cloud: reading them, and showing them."""
