"""A local package index, with packages that a test makes up."""

from __future__ import annotations

import base64
import hashlib
import stat
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import distribution
from pathlib import Path


class PackageIndex:
    """Wheels in folders, as both pip and uv read them. ``url`` is the index URL to configure."""

    def __init__(self, folder: Path, url: str) -> None:
        self.url = url
        self._folder = folder

    def add(self, name: str, version: str, requires: Sequence[str] = (), extras: Sequence[str] = ()) -> None:
        """Publishes a package of one module, whose ``VERSION`` shows which release was installed."""
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        lines += [f"Provides-Extra: {extra}" for extra in extras]
        lines += [f"Requires-Dist: {requirement}" for requirement in requires]
        self._publish(name, version, {f"{name}.py": f'VERSION = "{version}"\n'.encode()}, "\n".join(lines) + "\n")

    def add_installed(self, name: str) -> None:
        """Publishes a package that this Python has installed, including its scripts."""
        installed = distribution(name)
        own = f"{name}-{installed.version}.dist-info"
        files = {}
        for path in installed.files or []:
            if path.parts[0] == ".." and path.parts[-2] == "bin":
                files[f"{name}-{installed.version}.data/scripts/{path.name}"] = path.read_binary()
            elif path.parts[0] not in {"..", own} and path.suffix != ".pyc":
                files[str(path)] = path.read_binary()
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {installed.version}\n"
        self._publish(name, installed.version, files, metadata)

    def _publish(self, name: str, version: str, files: Mapping[str, bytes], metadata: str) -> None:
        own = f"{name}-{version}.dist-info"
        wheel = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        contents = {**files, f"{own}/METADATA": metadata.encode(), f"{own}/WHEEL": wheel.encode()}
        record = "".join(f"{path},sha256={_digest(content)},{len(content)}\n" for path, content in contents.items())
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
            for path, content in {**contents, f"{own}/RECORD": f"{record}{own}/RECORD,,\n".encode()}.items():
                entry = zipfile.ZipInfo(path)
                entry.external_attr = (stat.S_IFREG | (0o755 if "/scripts/" in path else 0o644)) << 16
                archive.writestr(entry, content)


@contextmanager
def running_index(folder: Path) -> Iterator[PackageIndex]:
    """Serves an empty index over HTTP for the time of the block."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield PackageIndex(folder, f"http://127.0.0.1:{server.server_port}/")
        server.shutdown()
        thread.join()


class _Handler(SimpleHTTPRequestHandler):
    """Serves folder listings, which are valid pages of an index as they are."""

    def log_message(self, format: str, *args: object) -> None:
        pass


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
