"""The folder that outlives restarts: small JSON files, written whole or not at all, readable by the owner only."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from anonymizer.errors import ConfigError


def default_path() -> Path:
    """$STATE_DIRECTORY (systemd), else the user's state folder."""
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "anonymizer"


def keep_owner(path: Path) -> None:
    """Give what root has made to the owner of the folder it lies in: the service could not go on with it else."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


_SIGNS = ("audit.jsonl", "signing.key", "catalogue.sqlite")
"""Every state folder has one of these soon after it is made."""


class StateDir:
    """A folder with mode 0700. made: False for one that must be there already, which is then left as it is.

    ConfigError where there is none, or it cannot be made.
    """

    def __init__(self, path: Path, *, made: bool = True) -> None:
        self.path = path
        try:
            if made:
                path.mkdir(parents=True, exist_ok=True, mode=0o700)
            known = any((path / name).exists() for name in _SIGNS)
            if not (made or known):
                raise ConfigError(f"{path} holds no state of the service; name its folder with --config or --state")
            # A folder with other things in it is others' too, and one that is not ours is its owner's to close.
            if made and (known or not any(path.iterdir())) and path.stat().st_uid == os.geteuid():
                path.chmod(0o700)
        except OSError as error:
            raise ConfigError(
                f"state_dir {path} cannot be used: {error.strerror}; name a folder of your own"
            ) from error

    def read(self, name: str) -> Any:
        """The JSON in a file, or None where there is no such file. ConfigError where it is broken."""
        try:
            return json.loads((self.path / name).read_text("utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self.path / name} cannot be read: {error}") from error

    def write(self, name: str, value: Any) -> None:
        """Put JSON into a file: on disk before it has its name. OSError where that fails."""
        self.write_bytes(name, json.dumps(value, indent=1, sort_keys=True).encode())

    def write_bytes(self, name: str, data: bytes) -> None:
        """As ``write``, for any bytes."""
        part = self.path / f".{name}.{os.getpid()}.part"
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                keep_owner(part)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, self.path / name)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
