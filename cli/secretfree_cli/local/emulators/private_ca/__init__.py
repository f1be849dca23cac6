"""A strict emulator of AWS Private CA: moto's acm-pca with the checks and contents that AWS has and moto lacks."""
