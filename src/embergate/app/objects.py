"""From settings to where files are kept, and to the URLs that clients reach them by."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from embergate.errors import ConfigurationError
from embergate.gateway.files.urls import BucketUrls, PlaneUrlSigner, Presigner, UrlSigner
from embergate.settings import Settings
from embergate.settings_sources import expand_home
from embergate.storage.objects.local import LocalObjects
from embergate.storage.objects.protocol import Objects
from embergate.web.keyring import Keyring

OBJECTS_FOLDER: Final = "objects"
MODELS_FOLDER: Final = "models"
BUCKET_SCHEMES: Final = ("s3", "gs", "az")
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class FileOptions:
    """Where files are kept, by default nowhere; and how clients reach this server, if not as they called it."""

    objects: Objects = field(default_factory=lambda: LocalObjects(Path("/nonexistent")))
    public_url: str = ""
    # Where the files of uploaded models are put to be read.
    models_folder: Path = Path("/nonexistent")


def file_options(settings: Settings) -> FileOptions:
    """Return where files are kept; nothing is made or connected yet.

    Raises: ConfigurationError if a URL is none, or the extra that it needs is not installed.
    """
    return FileOptions(
        _objects_of(settings), _checked_public_url(settings.public_url), settings.data_dir / MODELS_FOLDER
    )


def prepare_objects(settings: Settings) -> None:
    """Make the folder that files are kept in, where there is none. Raises: ConfigurationError if it cannot be made."""
    objects = _objects_of(settings)
    if not isinstance(objects, LocalObjects):
        return
    try:
        objects.prepare()
    except OSError as error:
        variable = "EMBERGATE_OBJECTS_URL" if settings.objects_url else "EMBERGATE_DATA_DIR"
        raise ConfigurationError(f"{variable}: {_folder_of(settings)} cannot be used: {error.strerror}") from error


def signer_of(files: FileOptions, keyring: Keyring) -> UrlSigner:
    """Return what makes URLs: a bucket signs its own, for a local folder this server does."""
    if isinstance(files.objects, LocalObjects):
        return PlaneUrlSigner(keyring, files.public_url)
    assert isinstance(files.objects, Presigner), "a store is local, or signs URLs. This is a bug."
    return BucketUrls(files.objects)


def _objects_of(settings: Settings) -> Objects:
    scheme = settings.objects_url.partition("://")[0] if "://" in settings.objects_url else ""
    if scheme not in BUCKET_SCHEMES:
        return LocalObjects(_folder_of(settings))
    try:
        from embergate.storage.objects.cloud import CloudObjects  # an extra
    except ModuleNotFoundError:
        raise ConfigurationError("EMBERGATE_OBJECTS_URL needs the extra: pip install 'embergate[cloud]'") from None
    return CloudObjects(settings.objects_url)


def _folder_of(settings: Settings) -> Path:
    text = settings.objects_url.removeprefix("file://")
    if "://" in text:
        raise ConfigurationError(
            f"EMBERGATE_OBJECTS_URL must be a folder, or begin with {', '.join(f'{scheme}://' for scheme in BUCKET_SCHEMES)}"
        )
    try:
        return expand_home(text) if text else settings.data_dir / OBJECTS_FOLDER
    except ValueError as error:
        raise ConfigurationError(f"EMBERGATE_OBJECTS_URL: {error}") from error


def _checked_public_url(text: str) -> str:
    """Return the URL without its last slash. The URLs of files are secrets: only on this machine they may go without TLS."""
    if not text:
        return ""
    try:
        url = urlsplit(text)
        is_whole = bool(url.hostname) and (url.port or 1) > 0
    except ValueError:
        url, is_whole = urlsplit(""), False
    is_secret = url.scheme == "https" or (url.scheme == "http" and url.hostname in LOOPBACK)
    if not (is_whole and is_secret) or url.query or url.fragment or url.username is not None or not text.isascii():
        raise ConfigurationError(
            "EMBERGATE_PUBLIC_URL must begin with https://, or be of this machine, and hold no user, query or fragment: it is "
            "how clients reach this server, as https://embeddings.example"
        )
    return text.rstrip("/")
