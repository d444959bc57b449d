"""What the operating system says of a disk, as errors of our own; without the paths, which are nobody's business."""

from __future__ import annotations

import errno
from typing import Final

from embergate.errors import UnavailableError

FULL: Final = "The disk of the object store is full."
TOO_LARGE: Final = "The file system of the object store takes no file so large."
LOST: Final = "The object store is not there: its directory is gone, or its disk is not mounted."
NOT_WRITABLE: Final = "The object store cannot be written to."
BROKEN: Final = "The disk of the object store fails."
BUSY: Final = "The server has too many files open; try again."

MESSAGES: Final = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EFBIG: TOO_LARGE,
    errno.EROFS: NOT_WRITABLE,
    errno.EACCES: NOT_WRITABLE,
    errno.EPERM: NOT_WRITABLE,
    errno.EMFILE: BUSY,
    errno.ENFILE: BUSY,
    errno.ENOENT: LOST,
    errno.ESTALE: LOST,
    errno.ENODEV: LOST,
    errno.ENXIO: LOST,
}


def of_disk(error: OSError) -> UnavailableError:
    """Return the error to raise in place of the operating system's."""
    return UnavailableError(MESSAGES.get(error.errno or 0, BROKEN))
