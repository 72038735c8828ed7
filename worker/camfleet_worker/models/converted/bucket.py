"""Converted models in the bucket: what one worker has converted and verified, all others load."""

import logging
import shutil
import tempfile
from concurrent.futures import Executor
from contextvars import copy_context
from pathlib import Path

from camfleet.errors import CamfleetError, ObjectMissing
from camfleet.jobstore import keys
from camfleet.storage.storage import Storage

logger = logging.getLogger(__name__)

_FORMAT = "tar"  # uncompressed, because weights don't shrink


class ConvertedInBucket:
    """The converted forms of one registered model, by the names of their folders.

    They only save time at startup: failures are logged, and anybody may delete them at any time.
    """

    def __init__(self, storage: Storage, digest: str, pool: Executor) -> None:
        self._storage = storage
        self._digest = digest
        self._pool = pool

    def download(self, folder: Path) -> None:
        """Download a converted model to `folder`, if the bucket has one."""
        key = self._key(folder)
        try:
            with tempfile.TemporaryDirectory(dir=folder.parent) as partial:
                archive, unpacked = Path(partial) / "archive", Path(partial) / folder.name
                self._storage.download(key, str(archive))
                shutil.unpack_archive(archive, unpacked, _FORMAT, filter="data")
                unpacked.rename(folder)
        except ObjectMissing:
            return
        except Exception as error:  # noqa: BLE001  # whatever has become of that file
            if not folder.is_dir():  # otherwise another process was faster
                logger.warning("%s can't be used: %s", self._storage.uri(key), error)
        else:
            logger.info("%s was converted by another worker", self._storage.uri(key))

    def upload(self, folder: Path) -> None:
        """Upload the converted model in `folder`, replacing any earlier one, in the background."""
        self._pool.submit(copy_context().run, self._write, folder)

    def _write(self, folder: Path) -> None:
        key = self._key(folder)
        try:
            with tempfile.TemporaryDirectory(dir=folder.parent) as partial:
                archive = shutil.make_archive(str(Path(partial) / "archive"), _FORMAT, folder)
                self._storage.upload(key, archive)
        except (CamfleetError, OSError) as error:
            logger.warning("%s is not written for other workers: %s", key, error)

    def _key(self, folder: Path) -> str:
        return keys.converted(self._digest, folder.name)
