"""The ``supir`` command."""
