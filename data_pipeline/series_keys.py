"""Keys of series and studies: stable for one secret, and nothing can be read off them without it."""

from __future__ import annotations

import hashlib
import secrets
from functools import lru_cache
from pathlib import Path

from domain.whole_files import write_whole

KEY_DIGITS = 16  # 64 bits: no two of a million studies meet by chance
SECRET_BYTES = 32


@lru_cache(maxsize=1)
def process_secret() -> bytes:
    """A secret of this process, for callers who name none: keys then differ from run to run."""
    return secrets.token_bytes(SECRET_BYTES)


def keyed_hash(secret: bytes | None, *parts: object) -> str:
    """Hash of identifying values that only holders of the secret can repeat."""
    text = "\x1f".join(str(part) for part in parts)
    key = hashlib.sha256(process_secret() if secret is None else secret).digest()
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), key=key, digest_size=KEY_DIGITS // 2).hexdigest()


def secret_of_folder(folder: Path) -> bytes:
    """The secret kept in a private folder, made on first use.

    Raises:
        OSError: The folder cannot be written.
    """
    path = folder / "secret.hex"
    if not path.is_file():
        write_whole(path, secrets.token_hex(SECRET_BYTES) + "\n")
        path.chmod(0o600)
    return path.read_text(encoding="ascii").strip().encode()
