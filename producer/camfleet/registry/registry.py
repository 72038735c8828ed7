"""The registry of models in object storage: add, list and look up."""

import difflib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from camfleet.contract.codec import Wire, decode_json, encode_json
from camfleet.contract.records import ModelRef
from camfleet.errors import DigestMismatch, InvalidCard, InvalidRequest, ObjectMissing, UnknownModel
from camfleet.jobstore import keys
from camfleet.registry import cards
from camfleet.registry.cards import Card
from camfleet.storage.storage import Storage

Report: TypeAlias = dict[str, Any]


class Entry(Wire, frozen=True, kw_only=True):
    """One registered version of a model: `registry/<id>/<version>.json`."""

    id: str
    version: str
    digest: str
    added_at: float  # seconds since the epoch

    @property
    def ref(self) -> ModelRef:
        return ModelRef(id=self.id, version=self.version, digest=self.digest)


class Models:
    """Model cards and files in object storage.

    A card and its files lie under the digest of the card as stored, which holds the artifact's
    sha256: nothing there ever changes. An entry of the registry says which digest an id and
    version stand for, and is written only once a worker has loaded the model.
    """

    def __init__(self, storage: Storage, check: Callable[[str, float], Report]) -> None:
        self._storage = storage
        self._check = check

    def add(
        self,
        path: Path | str,
        *,
        model_id: str | None = None,
        version: str | None = None,
        replace: bool = False,
        timeout: float = 300,
    ) -> tuple[ModelRef, Report]:
        """Upload the model of a card file, let a worker load it, and register it.

        `model_id` and `version` override the card's. Raises `InvalidCard`, `ModelRefused` with
        the worker's reason, `InvalidRequest` when the version stands for another content, or
        `AnswerTimeout` when no worker answers within `timeout` seconds.
        """
        path = Path(path)
        if path.suffix != ".toml":
            raise InvalidCard(
                f"{path} is not a model card: write a .toml file that names the model file as "
                "`artifact` and says how images are prepared (README, Registering your own model)"
            )
        card = cards.load_card(path)
        card = msgspec.structs.replace(
            card, id=model_id or card.id, version=version or card.version
        )
        stored, files = _stored(card, path.parent)
        toml = cards.to_toml(stored)
        cards.parse_card(toml.decode(), path.name)  # overridden names obey the same rules
        ref = ModelRef(id=card.id, version=card.version, digest=cards.card_digest(toml))
        if not replace:
            self._refuse_other_content(ref)
        self._upload(ref.digest, toml, files)
        report = self._check(ref.digest, timeout)
        self._storage.put(keys.report(ref.digest), msgspec.json.encode(report), "application/json")
        entry = Entry(id=ref.id, version=ref.version, digest=ref.digest, added_at=time.time())
        self._storage.put(
            keys.registry(ref.id, ref.version), encode_json(entry), "application/json"
        )
        return ref, report

    def list(self) -> list[Entry]:
        """Return all registered versions, by id, oldest first."""
        return sorted(self._entries(keys.registry()), key=lambda each: (each.id, each.added_at))

    def find(self, name: str) -> ModelRef:
        """Return what `id` (the version registered last) or `id@version` names.

        Raises `UnknownModel`.
        """
        model_id, _, version = name.partition("@")
        known = re.fullmatch(cards.ID, model_id) is not None
        entries = list(self._entries(keys.registry(model_id))) if known else []
        chosen = [each for each in entries if version in ("", each.version)]
        if chosen:
            return max(chosen, key=lambda each: each.added_at).ref
        if entries:
            versions = ", ".join(sorted(each.version for each in entries))
            raise UnknownModel(f"model {model_id!r} has no version {version!r}, only {versions}")
        ids = sorted({each.id for each in self.list()})
        near = difflib.get_close_matches(model_id, ids, n=1)
        raise UnknownModel(
            f"no model {model_id!r} is registered; "
            + (f"did you mean {near[0]!r}? " if near else "")
            + (f"there are {', '.join(ids)}" if ids else "there are none yet")
            + " (add one: camfleet models add CARD.toml)"
        )

    def card(self, digest: str) -> Card:
        """Return the stored card; raise `UnknownModel`, or `DigestMismatch` if it was changed."""
        try:
            data = self._storage.get(keys.card(digest)).data
        except ObjectMissing as error:
            raise UnknownModel(f"no model card with digest {digest} in storage") from error
        if cards.card_digest(data) != digest:
            raise DigestMismatch(f"the card at {keys.card(digest)} is not what its digest says")
        return cards.parse_card(data.decode(), digest[:12])

    def report(self, digest: str) -> Report:
        """Return what the worker found when the model was added."""
        report: Report = msgspec.json.decode(self._storage.get(keys.report(digest)).data)
        return report

    def _entries(self, prefix: str) -> Iterator[Entry]:
        for key in self._storage.keys(prefix):
            yield decode_json(self._storage.get(key).data, Entry)

    def _refuse_other_content(self, ref: ModelRef) -> None:
        key = keys.registry(ref.id, ref.version)
        if self._storage.exists(key):
            digest = decode_json(self._storage.get(key).data, Entry).digest
            if digest != ref.digest:
                raise InvalidRequest(
                    f"model {ref.id} version {ref.version} is registered with another content "
                    f"({digest[:12]}); give the card a new version, or replace it (--replace)"
                )

    def _upload(self, digest: str, toml: bytes, files: dict[str, Path]) -> None:
        for name, path in files.items():
            self._storage.upload(keys.model_prefix(digest) + name, str(path))
        self._storage.put(keys.card(digest), toml, "application/toml")


def _stored(card: Card, folder: Path) -> tuple[Card, dict[str, Path]]:
    """Return the card as it's stored, with fixed file names, and the files by those names."""
    artifact = folder / card.artifact
    cards.check_model_file(artifact)
    digest = cards.file_digest(artifact)
    if card.sha256 not in (None, digest):
        raise DigestMismatch(
            f"{artifact} has sha256 {digest}, its card says {card.sha256}: is it the right file? "
            "Else correct sha256 in the card, or leave it out"
        )
    files = {f"model{artifact.suffix}": artifact}
    golden = card.golden
    if golden:
        files["golden"] = folder / golden.image
        if not files["golden"].is_file():
            raise InvalidCard(f"golden.image {files['golden']} does not exist")
        if isinstance(golden.class_, str):
            card.class_index(golden.class_)
        golden = msgspec.structs.replace(golden, image="golden")
    stored = msgspec.structs.replace(
        card, artifact=f"model{artifact.suffix}", sha256=digest, golden=golden
    )
    return stored, files
