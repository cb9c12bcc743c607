"""Model signatures in the OpenSSF model-signing format: made with a private key, checked with its public one."""
