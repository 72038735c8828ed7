"""Converted models in the bucket: what one worker has converted, the others download.

Whoever may write to the bucket may have put them there. With a signing key only what a worker with
that key has signed is used; without one it's examined like any stranger's file.
"""

import logging
from concurrent.futures import Executor
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path

from camfleet.errors import CamfleetError, ObjectMissing
from camfleet.jobstore import keys
from camfleet.registry.cards import Card
from camfleet.settings import Settings
from camfleet.storage.storage import Storage
from camfleet.temporary import temporary_folder
from camfleet_worker.models.converted import container, disk, forms, ir
from camfleet_worker.models.converted.container import Origin, Refused
from camfleet_worker.models.converted.forms import Form
from camfleet_worker.models.converted.signing import Signer
from camfleet_worker.models.converted.tryout import try_out

logger = logging.getLogger(__name__)

_LEAST = 2**28  # bytes that any model may have
_HEAD = 2**17  # bytes for the index
_RATIO = 4  # to the model file: halves become floats, and constants are folded


@dataclass(frozen=True)
class ConvertedInBucket:
    """The converted forms of one registered model, by layer.

    They only save time at startup: failures are logged, and anybody may delete them at any time.
    Uploads run in `pool`.
    """

    storage: Storage
    settings: Settings
    card: Card
    digest: str
    pool: Executor

    @property
    def form(self) -> Form:
        """Return the form in which this worker reads and writes them."""
        return forms.wanted(self.settings) or forms.OPENVINO

    def download(self, layer_name: str, folder: Path) -> None:
        """Download a converted model to `folder`, if the bucket has one that can be trusted."""
        key = self._key(folder)
        try:
            with temporary_folder(folder.parent) as partial:
                packed, unpacked = partial / "packed", partial / folder.name
                limit = self._limit(folder) + _HEAD
                self.storage.download(key, str(packed), limit=limit)
                signer = Signer.of(self.settings)
                container.unpack(packed, unpacked, self._sets(), self._origin(layer_name), signer)
                packed.unlink()
                self._check(unpacked, signer)
                if not signer.keys:
                    taken = try_out(unpacked, self.settings, self.card.id)
                    disk.write_graph_bytes(unpacked, taken)  # whatever it says itself
                unpacked.rename(folder)
        except ObjectMissing:
            self._say_what_is_older()
        except Exception as error:  # noqa: BLE001  # whatever has become of that file
            if not folder.is_dir():  # otherwise another process was faster
                logger.warning(
                    "%s can't be used, so the model is converted anew: %s",
                    self.storage.uri(key),
                    " ".join(str(error).split())[:400] or type(error).__name__,
                )
        else:
            logger.info("%s was converted by another worker", self.storage.uri(key))

    def upload(self, layer_name: str, folder: Path) -> None:
        """Upload the converted model in `folder`, replacing any earlier one, in the background."""
        self.pool.submit(copy_context().run, self._write, layer_name, folder)

    def _write(self, layer_name: str, folder: Path) -> None:
        key = self._key(folder)
        try:
            with temporary_folder(folder.parent) as partial:
                packed = partial / "packed"
                signer = Signer.of(self.settings)
                self._check(folder, signer)
                origin = self._origin(layer_name)
                container.pack(folder, disk.files(folder, self.form), packed, origin, signer)
                self.storage.upload(key, str(packed))
        except (CamfleetError, OSError, Refused, ir.Suspicious) as error:
            logger.warning("%s is not written for other workers: %s", key, error)

    def _check(self, folder: Path, signer: Signer) -> None:
        """Raise `Refused` for a split of another input, and unless a key vouches for the rest.

        What workers upload is checked as well: others would refuse it.
        """
        sizes = [(folder / name).stat().st_size for name in disk.files(folder, self.form)]
        if sum(sizes) > self._limit(folder):
            raise Refused("it's larger than a converted model of that model file can be")
        if not signer.keys:
            self.form.check(folder)
        split = disk.load(folder, self.form)
        size = (self.card.input.height, self.card.input.width, self.card.channels)
        if split and split.trial.images.shape[1:] != size:
            raise Refused(f"it's for inputs of {split.trial.images.shape[1:]}, not {size}")

    def _origin(self, layer_name: str) -> Origin:
        return Origin(digest=self.digest, layer=layer_name, versions=self.form.versions())

    def _sets(self) -> list[set[str]]:
        """Return which files there may be: without a split only where heads need Keras."""
        files = {*self.form.files}
        return [files | {*disk.SPLIT}, *([files] if self.form.closed else [])]

    def _limit(self, folder: Path) -> int:
        """Return how many bytes a converted model may have, by the model file's."""
        files = folder.parent.glob("model.*")
        return max(_LEAST, _RATIO * sum(file.stat().st_size for file in files))

    def _say_what_is_older(self) -> None:
        """Log once for each model that what older versions left in the bucket isn't read."""
        older = [
            key for key in self.storage.keys(keys.converted(self.digest)) if key[-4:] == ".tar"
        ]
        if older:
            logger.info(
                "%s and others like it were written by older versions, and aren't read any more: "
                "delete them when no worker of such a version is left",
                self.storage.uri(older[0]),
            )

    def _key(self, folder: Path) -> str:
        return keys.converted(self.digest, folder.name)
