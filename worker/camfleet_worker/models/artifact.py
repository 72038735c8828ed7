"""The file of a registered model, on this machine."""

from pathlib import Path

from camfleet.errors import DigestMismatch, ModelRefused, ObjectMissing, ObjectTooLarge
from camfleet.jobstore import keys
from camfleet.registry import cards
from camfleet.registry.cards import Card
from camfleet.settings import Settings
from camfleet.storage.storage import Storage
from camfleet.temporary import sweep_once, temporary_folder


def sweep(settings: Settings) -> None:
    """Delete what killed workers left half-written beside models, and in the temporary folder."""
    sweep_once()
    for folder in settings.model_dir.expanduser().glob("*/"):
        sweep_once(folder)


def download(card: Card, digest: str, settings: Settings, storage: Storage) -> Path:
    """Return the path of the artifact on this machine, once its sha256 is verified."""
    key = keys.artifact(digest, Path(card.artifact).suffix)
    path = settings.model_dir.expanduser() / Path(key).relative_to("models")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary_folder(path.parent) as folder:
                partial = folder / path.name
                storage.download(key, str(partial), limit=settings.model_load_memory)
                partial.replace(path)
        except ObjectMissing as error:
            raise ModelRefused(f"the file of model {card.id} is gone: {error}") from error
        except ObjectTooLarge as error:
            raise ModelRefused(
                f"model {card.id} can't be loaded within CAMFLEET_MODEL_LOAD_MEMORY: {error}"
            ) from error
    found = cards.file_digest(path)
    if found != card.sha256:
        path.unlink()
        raise DigestMismatch(
            f"the file of model {card.id} has sha256 {found}, its card says {card.sha256}: "
            "register the model again"
        )
    return path
