"""Secrets at rest: encrypted under a key that follows from the deployment's, so that a copy of the database tells none."""

import base64
import hmac

from cryptography.fernet import Fernet, InvalidToken

from adapters.settings import Settings
from domain.errors import ConnectionInvalid


class Sealer:
    """Seals and opens; each purpose has a key of its own."""

    def __init__(self, secret: bytes, purpose: bytes) -> None:
        self._cipher = Fernet(base64.urlsafe_b64encode(hmac.digest(secret, b"sealed " + purpose, "sha256")))

    def seal(self, text: str) -> bytes:
        """Encrypt."""
        return self._cipher.encrypt(text.encode())

    def open(self, sealed: bytes) -> str:
        """Decrypt. Raises `ConnectionInvalid` where the deployment's key is another one now."""
        try:
            return self._cipher.decrypt(sealed).decode()
        except InvalidToken as error:
            raise ConnectionInvalid(
                "The secret of this connection cannot be opened: the deployment's key was changed. Register it again."
            ) from error


def connection_sealer(settings: Settings) -> Sealer:
    """Give the one for connections."""
    return Sealer(settings.secret_key.get_secret_value().encode(), b"connections")
