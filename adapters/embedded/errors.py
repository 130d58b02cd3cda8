"""What can go wrong with the embedded stack; every message is a sentence for the person at the keyboard."""


class StackError(RuntimeError):
    """The stack cannot go on."""
