"""Register a model: upload it, have a worker load and check it, then publish its id."""

import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from camfleet.contract.codec import encode_json
from camfleet.contract.records import ModelRef
from camfleet.errors import DigestMismatch, InvalidCard, InvalidRequest, check_timeout
from camfleet.jobstore import keys
from camfleet.registry import cards
from camfleet.registry.cards import Card
from camfleet.registry.registry import ModelEntry, Registry, Report
from camfleet.storage.storage import Storage


class Models(Registry):
    """The registry with a way in: `check(digest, timeout)` asks a worker to load a model."""

    def __init__(self, storage: Storage, check: Callable[[str, float], Report]) -> None:
        super().__init__(storage)
        self._check = check

    def add(
        self,
        path: Path | str,
        *,
        model_id: str | None = None,
        version: str | None = None,
        replace: bool = False,
        timeout: float = 300,
        on_step: Callable[[str], object] = lambda _step: None,
    ) -> tuple[ModelRef, Report]:
        """Upload the model of a card file, have a worker load it, and register it.

        `model_id` and `version` override the card's. `on_step` is told what happens next. Raises
        `InvalidCard`, `ModelRefused` with the worker's reason, `InvalidRequest` when the version
        stands for another content, or `AnswerTimeout` when no worker answers within `timeout`
        seconds.
        """
        check_timeout(timeout)
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
        if not replace:
            self._refuse_other_content(ref)
        size = (artifact.stat().st_size + len(golden or b"")) / 2**20
        on_step(f"uploading {card.id} version {card.version} ({size:.1f} MiB)")
        self._upload(ref.digest, toml, artifact, golden)
        on_step(f"a worker loads and checks {card.id} version {card.version}")
        report = self._check(ref.digest, timeout)
        on_step(f"registering {card.id} version {card.version}")
        self._storage.put(keys.report(ref.digest), msgspec.json.encode(report), "application/json")
        entry = ModelEntry(id=ref.id, version=ref.version, digest=ref.digest, added_at=time.time())
        self._storage.put(
            keys.registry(ref.id, ref.version), encode_json(entry), "application/json"
        )
        return ref, report

    def _refuse_other_content(self, ref: ModelRef) -> None:
        key = keys.registry(ref.id, ref.version)
        if self._storage.exists(key):
            there = self._read(key)
            digest = there.digest if there else "it can't be read"
            if digest != ref.digest:
                raise InvalidRequest(
                    f"model {ref.id} version {ref.version} is registered with other content "
                    f"({digest[:12]}); give the card a new version, or replace it (--replace)"
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
