"""AWS CDK constructs for secret-free device provisioning."""
