"""Settings of recording and of the vault."""

from __future__ import annotations

from dataclasses import dataclass

from anonymizer.settings import Wrong, setting

RECIPIENT = r"age1[02-9ac-hj-np-z]{58}"


@dataclass(frozen=True, kw_only=True)
class VaultSettings:
    """The camera's own pictures, sealed to public keys. Only who holds the private ones, or enough shares of them, can
    open them; this software cannot."""

    recipients: tuple[str, ...] = setting(
        "Recipients",
        single=True,
        minimum=1,
        maximum=20,
        pattern=RECIPIENT,
        description="Public keys (age1…), each of which opens everything: of `anonymizer keys create vault`, or an "
        "officer's",
        example=["age1" + "q" * 58],
    )
    folder: str = setting(
        "Folder", default="", description="Where the sealed files lie; empty for vault in the recording's folder"
    )
    retention_days: float = setting(
        "Retention",
        default=3.0,
        minimum=0.01,
        maximum=3650,
        unit="days",
        description="Afterwards only the anonymised recording is left",
    )
    retention_gb: float = setting(
        "Size limit", default=0.0, minimum=0, unit="gigabytes", description="The oldest go first; 0 for no limit"
    )


@dataclass(frozen=True, kw_only=True)
class RecordSettings:
    """What is kept of a camera here, beside what the recorder behind it stores."""

    enabled: bool = setting("Enabled", default=False, description="Write the anonymised stream to disk")
    folder: str = setting(
        "Folder", default="", description="Gets a folder for each camera; empty for recordings in the state folder"
    )
    segment: float = setting(
        "Segment length", default=300.0, minimum=2, maximum=3600, unit="seconds", description="Of one file"
    )
    retention_days: float = setting(
        "Retention", default=30.0, minimum=0.01, maximum=3650, unit="days", description="Older segments are deleted"
    )
    retention_gb: float = setting(
        "Size limit", default=0.0, minimum=0, unit="gigabytes", description="The oldest go first; 0 for no limit"
    )
    reserve_mb: int = setting(
        "Reserve",
        default=200,
        minimum=0,
        unit="megabytes",
        description="Recording stops while less is free, so that audit and state can still be written",
    )
    vault: VaultSettings | None = setting("Vault", default=None)

    def __post_init__(self) -> None:
        if self.vault is not None and self.vault.retention_days > self.retention_days:
            raise Wrong("originals may not be kept longer than the anonymised recording", "vault", "retention_days")
