"""The hub library's cache, laid out as the library lays it out, and a hub that counts.

The cache: blobs named by their hash, snapshots/COMMIT with relative links to them, and
refs/main. The hub: what the suite calls of the library, over a folder.
"""

import hashlib
import io
import os
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import EntryNotFoundError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def storage(home, kind, name):
    """Where the library keeps a repository; home: HF_HOME."""
    return Path(home) / "hub" / f"{kind}--{name.replace('/', '--')}"


def put(home, kind, name, inside, content, commit=COMMIT):
    """One file of a repository; returns the link to it."""
    folder = storage(home, kind, name)
    blob = folder / "blobs" / hashlib.sha256(content).hexdigest()
    link = folder / "snapshots" / commit / inside
    for path in (blob, link, folder / "refs" / "main"):
        path.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    if not link.is_symlink():
        link.symlink_to(os.path.relpath(blob, link.parent))
    (folder / "refs" / "main").write_text(commit)
    return link


def lay_out(home, hub, kinds=("models", "datasets")):
    """Puts all repositories of a folder in the hub's layout into a cache."""
    for kind in kinds:
        for organisation in sorted((Path(hub) / kind).iterdir()):
            for repository in sorted(organisation.iterdir()):
                name = f"{organisation.name}/{repository.name}"
                for file in sorted(filter(Path.is_file, repository.rglob("*"))):
                    inside = file.relative_to(repository).as_posix()
                    put(home, kind, name, inside, file.read_bytes())


class Counted(io.FileIO):
    """A file of which the bytes that are read are counted."""

    def __init__(self, path, name, counts):
        super().__init__(path)
        self.told, self.counts = name, counts

    def read(self, size=-1):
        data = super().read(size)
        self.counts[self.told] += len(data)
        return data


@dataclass
class Hub:
    """Data sets in a folder as if they were on the hub.

    fetched: how often each file was downloaded whole
    bytes:   how many bytes were read of each file that is not
    """

    folder: Path
    home: Path
    fetched: Counter = field(default_factory=Counter)
    bytes: Counter = field(default_factory=Counter)

    def files(self, name, kind="datasets"):
        root = self.folder / kind / name
        if not root.is_dir():
            raise FileNotFoundError(f"404: no {kind} {name}")
        paths = filter(Path.is_file, root.rglob("*"))
        return sorted(path.relative_to(root).as_posix() for path in paths)

    def info(self, kind, name, revision=None):
        files = [SimpleNamespace(rfilename=file) for file in self.files(name, kind)]
        return SimpleNamespace(sha=COMMIT, siblings=files)

    def download(
        self,
        name,
        inside,
        *,
        repo_type="model",
        revision=None,
        tqdm_class=None,
        local_files_only=False,
    ):
        kind = f"{repo_type}s"
        file = self.folder / kind / name / inside
        if not file.is_file():
            raise EntryNotFoundError(f"404: {inside}")
        content = file.read_bytes()
        self.fetched[inside] += 1
        if tqdm_class is not None:
            with tqdm_class(total=len(content), unit="B", desc=inside) as bar:
                bar.update(len(content))
        return str(put(self.home, kind, name, inside, content))

    def open(self, path, mode="rb"):
        name, _, rest = path.removeprefix("datasets/").partition("@")
        inside = rest.partition("/")[2]
        file = self.folder / "datasets" / name / inside
        return Counted(file, inside, self.bytes)

    def forget(self):
        self.fetched.clear()
        self.bytes.clear()


def stand_in(monkeypatch, folder, home):
    """A hub in the library's place, and an empty cache."""
    from tadrop.storage import hub as hubs

    hub = Hub(Path(folder), Path(home))

    class Api:
        def dataset_info(self, name, revision=None):
            return hub.info("datasets", name, revision)

        def model_info(self, name, revision=None):
            return hub.info("models", name, revision)

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(Path(home) / "hub"))
    monkeypatch.setattr(hubs, "unreachable", lambda: "")
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hub.download)
    monkeypatch.setattr(
        huggingface_hub, "HfFileSystem", lambda: SimpleNamespace(open=hub.open)
    )
    return hub


def empty(folder):
    shutil.rmtree(folder, ignore_errors=True)
