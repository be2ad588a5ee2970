"""Ray's workers."""
