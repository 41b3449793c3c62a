"""What is raised for files of weights."""


class UnsupportedCheckpointError(ValueError):
    """A file that is not what was asked for; the message says what it is and what was expected."""
