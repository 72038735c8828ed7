"""Virtual environments for the peers: made on first use, again where their pins have changed."""

import subprocess
import sys
import venv
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).parents[1]
_FOLDER = ROOT / ".bench"
_PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")


class NotInstalled(Exception):
    """pip could not install a peer; the message is pip's last line."""


@dataclass(frozen=True)
class Place:
    """A virtual environment: its packages, pinned by the repository's constraints and by its own.

    pip takes a build of torch for the CPU alone where it's offered one, else the usual one, which
    brings gigabytes of CUDA that stay unused.
    """

    name: str
    packages: tuple[str, ...]

    def python(self) -> str:
        """Return the path of its interpreter, installed by now; raise `NotInstalled`."""
        folder = _FOLDER / self.name
        made = folder / "bin" / "python"
        ready = folder / "ready"
        if not ready.is_file() or ready.read_text() != self._digest:
            print(f"installing {', '.join(self.packages)} into {folder}", file=sys.stderr)
            venv.create(folder, with_pip=True, clear=True, symlinks=True)
            self._install(made)
            ready.write_text(self._digest)
        return str(made)

    def _install(self, python: Path) -> None:
        pins = [word for path in self._pins for word in ("--constraint", str(path))]
        command = [str(python), *_PIP, *pins, *self.packages]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise NotInstalled(done.stderr.strip().rpartition("\n")[2] or "pip failed")

    @property
    def _pins(self) -> tuple[Path, Path]:
        return ROOT / "constraints.txt", ROOT / "benchmarks" / f"peers-{self.name}.txt"

    @property
    def _digest(self) -> str:
        parts = [*self.packages, *(path.read_text() for path in self._pins)]
        return sha256("\n".join(parts).encode()).hexdigest()
