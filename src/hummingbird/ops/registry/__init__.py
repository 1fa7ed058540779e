"""The model registry: versions with their evidence, and aliases that move only through gates."""
