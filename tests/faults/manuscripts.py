"""Documents of many chunks, no two alike."""

SENTENCES = 900
"""About one chunk each at 200 characters: nine calls of a hundred, and more than one shard."""


def manuscript(title: str) -> bytes:
    """Plain text; the title makes it another document."""
    return "\n\n".join(
        f"{title}, paragraph {number}: the lock of drawer {number} opens with key {number * 7919 % 100003}, "
        f"which hangs on hook {number * 31 % 997} in room {number % 89}; whoever takes it signs for it."
        for number in range(SENTENCES)
    ).encode()
