"""A strict emulator of AWS Private CA: moto's acm-pca with AWS's checks and contents that moto lacks."""
