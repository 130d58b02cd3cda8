"""The rivals themselves. They run on `.venv-rivals` and import nothing of ChatSphere but `protocol`."""
