"""Files that are to be deleted."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from embergate.storage.rows import Base, UtcDateTime


class DoomedFolderRow(Base):
    """A folder of objects that nothing refers to any more, written down in the transaction that made it so."""

    __tablename__ = "doomed_folders"

    prefix: Mapped[str] = mapped_column(String(900), primary_key=True)
    create_time: Mapped[datetime] = mapped_column(UtcDateTime)
