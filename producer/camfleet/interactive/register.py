"""Register a model: upload it, have a worker load and check it, then publish its version."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import msgspec

from camfleet.contract.records import ModelRef
from camfleet.errors import (
    DigestMismatch,
    InvalidCard,
    check_timeout,
)
from camfleet.jobs.order import ModelName, model_name
from camfleet.jobstore import keys
from camfleet.registry import cards
from camfleet.registry.adding import Adder, Adding
from camfleet.registry.author import author
from camfleet.registry.cards import Card
from camfleet.registry.changes import CHAMPION
from camfleet.registry.editor import Editor, Promoted, check_reason
from camfleet.registry.holders import jobs_naming
from camfleet.registry.registry import Registry, Report
from camfleet.registry.removal import Removed, Remover
from camfleet.reviews.protected import reviews_naming
from camfleet.sources.uploads import Image, upload
from camfleet.storage.storage import Storage


class Models(Registry):
    """The registry with a way in: `check(digest, timeout)` asks a worker to load a model.

    With URIs of images as a third argument, what other precisions cost is measured on them, too.

    `user` is who changes it, as history keeps it; "" for the name of their login. `on_added` is
    told of each version that was added.
    """

    def __init__(
        self,
        storage: Storage,
        check: Callable[..., Report],
        user: str = "",
        on_added: Callable[[ModelRef], object] = lambda _ref: None,
    ) -> None:
        super().__init__(storage)
        self._check = check
        self._on_added = on_added
        self._editor = Editor(self._names, partial(author, user))
        self._adder = Adder(storage, self._names, self._editor)
        self._remover = Remover(storage, self._names, self._editor, partial(_naming, storage))

    def add(
        self,
        path: Path | str,
        *,
        model_id: str | None = None,
        version: str | None = None,
        replace: bool = False,
        promote: bool = False,
        aliases: Sequence[str] = (),
        reason: str | None = None,
        images: Sequence[Image] = (),
        timeout: float = 300,
        on_step: Callable[[str], object] = lambda _step: None,
    ) -> tuple[ModelRef, Report]:
        """Upload the model of a card file, have a worker load it, and register it.

        `model_id` and `version` override the card's. The bare id goes on meaning what it did,
        unless it's the id's first version, or with `promote`; `aliases` are to name this version,
        too. What bf16 costs the model is measured on `images`, too, which are given as to
        `Client.explain`. `on_step` is told what happens next. Raises `InvalidCard`, `ModelRefused`
        with the worker's reason, `InvalidRequest` when the version stands for another content, or
        `AnswerTimeout` when no worker answers within `timeout` seconds.
        """
        check_timeout(timeout)
        check_reason(reason)
        path = Path(path)
        if path.suffix != ".toml":
            raise InvalidCard(
                f"{path} is not a model card: write a .toml file that names the model file as "
                "`artifact` and says how images are prepared (see docs/models.md)"
            )
        card = cards.load_card(path)
        card = msgspec.structs.replace(
            card, id=model_id or card.id, version=version or card.version
        )
        golden = cards.read_golden(card, path.parent, path.name)
        artifact = cards.artifact_path(card, path.parent, path.name)
        stored = _stored(card, artifact)
        toml = cards.to_toml(stored)
        if len(toml) > cards.STORED_BYTES:
            raise InvalidCard(
                f"card {path.name} has {len(toml)} bytes with its labels, more than "
                f"{cards.STORED_BYTES}: shorten the labels"
            )
        cards.parse_card(toml.decode(), path.name)  # overridden names obey the same rules
        ref = ModelRef(id=card.id, version=card.version, digest=cards.card_digest(toml))
        adding = Adding(ref, (*([CHAMPION] if promote else []), *aliases), reason)
        self._adder.admit(adding, replace=replace)
        size = (artifact.stat().st_size + len(golden or b"")) / 2**20
        on_step(f"uploading {card.id} version {card.version} ({size:.1f} MiB)")
        self._upload(ref.digest, toml, artifact, golden)
        on_step(f"a worker loads and checks {card.id} version {card.version}")
        uris = tuple(_sent(image, self._storage) for image in images)
        report = self._check(ref.digest, timeout, *([uris] if uris else []))
        on_step(f"registering {card.id} version {card.version}")
        self._storage.put(keys.report(ref.digest), msgspec.json.encode(report), "application/json")
        self._adder.publish(adding)
        self._on_added(ref)
        return ref, report

    def promote(
        self, model: ModelName, *, alias: str = CHAMPION, reason: str | None = None
    ) -> Promoted:
        """Let the bare id, or another alias, name `id@version`, or what `id@alias` names.

        Jobs that were submitted keep the version that they began with; workers answer requests
        with the new one within some seconds. Of two who promote at the same time one gets
        `ObjectChanged`. Also raises `UnknownModel` and `InvalidRequest`.
        """
        return self._editor.promote(model_name(model), alias=alias, reason=reason)

    def rollback(
        self, model_id: str, *, alias: str = CHAMPION, reason: str | None = None
    ) -> Promoted:
        """Let the bare id, or another alias, name what it did before its last promotion.

        Repeated, it goes back one more. Raises as `promote` does, and `InvalidRequest` where there
        is nothing before.
        """
        return self._editor.rollback(model_id, alias=alias, reason=reason)

    def unalias(self, name: str, *, reason: str | None = None) -> ModelRef:
        """Take an alias, `id@alias`, off the version that it names, and return that."""
        return self._editor.unalias(name, reason=reason)

    def remove(
        self,
        model: ModelName,
        *,
        force: bool = False,
        reason: str | None = None,
        on_progress: Callable[[int], object] = lambda _count: None,
    ) -> Removed:
        """Remove `id@version`: its entry, its card, the model file, and what was converted of it.

        Raises `InvalidRequest` while an alias names it or, unless `force`, a job does.
        `on_progress` is told how many jobs were looked at. What was cut off is finished by the
        same call.
        """
        return self._remover.remove(
            model_name(model), force=force, reason=reason, on_progress=on_progress
        )

    def _upload(self, digest: str, toml: bytes, artifact: Path, golden: bytes | None) -> None:
        self._storage.upload(keys.artifact(digest, artifact.suffix), str(artifact))
        if golden is not None:
            self._storage.put(keys.golden(digest), golden, "application/octet-stream")
        self._storage.put(keys.card(digest), toml, "application/toml")


def _stored(card: Card, artifact: Path) -> Card:
    """Return the card as it's stored, with fixed file names and the model file's digest."""
    digest = cards.file_digest(artifact)
    if card.sha256 not in (None, digest):
        raise DigestMismatch(
            f"{artifact} has sha256 {digest}, its card says {card.sha256}: is it the right file? "
            "Else correct sha256 in the card, or leave it out"
        )
    golden = card.golden
    if golden:
        if isinstance(golden.class_, str):
            card.class_index(golden.class_)
        golden = msgspec.structs.replace(golden, image="golden")
    return msgspec.structs.replace(
        card, artifact=f"model{artifact.suffix}", sha256=digest, golden=golden
    )


def _sent(image: Image, storage: Storage) -> str:
    """Return where workers find an image, which is uploaded unless it's a URI."""
    is_uri = isinstance(image, str) and "://" in image
    return str(image) if is_uri else upload(image, storage)


def _naming(
    storage: Storage, model_id: str, version: str, on_job: Callable[[], object]
) -> Iterator[str]:
    """Yield who names a version: reviews and jobs."""
    yield from reviews_naming(storage, model_id, version)
    yield from jobs_naming(storage, model_id, version, on_job)
