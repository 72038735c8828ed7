"""Changes of what a model's aliases name: promote, roll back, take an alias off."""

import re
import time
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from camfleet.contract.codec import sealed
from camfleet.contract.records import MODEL_ID, ModelRef
from camfleet.contract.utf8 import check_word
from camfleet.errors import InvalidRequest, ObjectChanged, UnknownModel
from camfleet.jobstore import keys
from camfleet.registry.aliases import NO_ALIASES, ModelState, check_kept, flag
from camfleet.registry.author import Author
from camfleet.registry.changes import CHAMPION, LONGEST_REASON, ModelChange, Pinned
from camfleet.registry.names import Names

_TRIES = 50  # of a change, as long as others are faster


class Promoted(NamedTuple):
    """What an alias names now, and what it named before: the same where nothing has changed."""

    alias: str
    ref: ModelRef
    before: ModelRef | None


class Draft(NamedTuple):
    """A change that is to be made: what it's about, and what is different since."""

    action: str
    since: dict[str, Any]
    pinned: Pinned | None = None
    alias: str | None = None


class Editor:
    """The writing side of aliases. Of two who change the same at once one wins; the other is told.

    `reason` is kept with a change. Every verb raises `UnknownModel`, `InvalidRequest`, and
    `ObjectChanged` where somebody else was faster.
    """

    def __init__(self, names: Names, author: Callable[[], Author]) -> None:
        self._names = names
        self._author = author

    def promote(self, name: str, *, alias: str = CHAMPION, reason: str | None = None) -> Promoted:
        """Let an alias, by default the bare id, name `id@version`, or what `id@alias` names."""
        model_id, pins, _ = name.partition("@")
        if not pins:
            raise InvalidRequest(
                f"which version of {name!r}? Name it: camfleet models promote {name}@VERSION"
            )
        ref = self._names.find(name)
        to = Pinned(version=ref.version, digest=ref.digest)
        still = _Still(alias)

        def draft(state: ModelState) -> Draft | None:
            still.check(state)
            self.check_promotion(state, alias, to)
            if state.named(alias) == to and state.number:
                return None
            return Draft("promoted", state.pointing(alias, to), to, alias)

        self.edit(model_id, draft, reason)
        return Promoted(alias, ref, _ref(model_id, still.before))

    def rollback(
        self, model_id: str, *, alias: str = CHAMPION, reason: str | None = None
    ) -> Promoted:
        """Let an alias, by default the bare id, name what it named before its last promotion.

        Again, it goes on to the one before that.
        """
        self._must_exist(model_id)
        still, to = _Still(alias), None

        def draft(state: ModelState) -> Draft:
            nonlocal to
            still.check(state)
            since = state.back(alias)
            to = state.history(alias)[1]
            self.check_promotion(state, alias, to)
            return Draft("rolled back", since, to, alias)

        self.edit(model_id, draft, reason)
        ref = _ref(model_id, to)
        assert ref
        return Promoted(alias, ref, _ref(model_id, still.before))

    def unalias(self, name: str, *, reason: str | None = None) -> ModelRef:
        """Take an alias, `id@alias`, off its version, and return that."""
        model_id, _, alias = name.partition("@")
        still = _Still(alias)

        def draft(state: ModelState) -> Draft:
            still.check(state)
            named = state.named(alias)
            if not named:
                aliases = ", ".join(each.name for each in state.aliases) or "none"
                raise UnknownModel(
                    f"{model_id!r} has no alias {alias!r}, its aliases are: {aliases}"
                )
            return Draft("unaliased", state.without_alias(alias), named, alias)

        self._must_exist(model_id)
        self.edit(model_id, draft, reason)
        ref = _ref(model_id, still.before)
        assert ref
        return ref

    def check_promotion(self, state: ModelState, alias: str, to: Pinned) -> None:
        """Raise where an alias can't name a version, as it's removed, replaced, or no name."""
        self.check_alias(state.id, alias)
        check_kept(state, to.version)
        entry = self._names.entries.one(state.id, to.version)
        if not entry:
            raise UnknownModel(
                f"{state.id} has no version {to.version!r} any more: camfleet models list"
            )
        if entry.pinned != to:
            raise InvalidRequest(
                f"version {to.version} of {state.id} was replaced since: to let {alias} name what "
                f"it is now, camfleet models promote {state.id}@{to.version}{flag(alias)}"
            )

    def check_alias(self, model_id: str, alias: str, *, but_for: str | None = None) -> None:
        """Raise `InvalidRequest` for what can't be an alias; `but_for` is a version to come."""
        if alias == CHAMPION:
            return
        if not re.fullmatch(MODEL_ID, alias):
            raise InvalidRequest(
                f"{alias!r} is no alias: a letter or digit, and up to 63 more, or any of . _ -"
            )
        if alias in NO_ALIASES:
            raise InvalidRequest(
                f"an alias {alias!r} would name what somebody chose, and not the {alias} version: "
                "give it another name"
            )
        if alias == but_for or self._names.entries.one(model_id, alias):
            raise InvalidRequest(
                f"{model_id} has a version {alias!r}, which is what {model_id}@{alias} means: "
                "give the alias another name"
            )

    def edit(
        self,
        model_id: str,
        make: Callable[[ModelState], Draft | None],
        reason: str | None = None,
    ) -> ModelChange | None:
        """Write the change that `make` drafts, None for none, and return it.

        Where somebody else was faster `make` is asked again, about what is true then.
        """
        check_reason(reason)
        for _ in range(_TRIES):
            state = self._names.state(model_id)
            draft = make(state)
            if draft is None:
                return None
            if state.number >= keys.MOST_CHANGES:
                raise InvalidRequest(
                    f"{model_id} has had {keys.MOST_CHANGES} changes, the most there can be: "
                    f"delete {keys.change(model_id, state.number)} if it isn't camfleet's, else "
                    "give the model another id"
                )
            change = self._change(state, draft, reason)
            if self._names.changes.append(change):
                return change
        raise ObjectChanged(f"others change {model_id} all the time: repeat this")

    def _change(self, state: ModelState, draft: Draft, reason: str | None) -> ModelChange:
        author = self._author()
        now = {"aliases": state.aliases, "removing": state.removing, **draft.since}
        return sealed(
            ModelChange(
                schema_version=1,
                id=state.id,
                number=state.number + 1,
                action=draft.action,
                version=draft.pinned.version if draft.pinned else None,
                digest=draft.pinned.digest if draft.pinned else None,
                alias=draft.alias,
                changed_at=time.time(),
                user=author.user,
                host=author.host,
                reason=reason,
                **now,
            )
        )

    def _must_exist(self, model_id: str) -> None:
        """Raise `UnknownModel` for an id that has neither versions nor aliases."""
        if "@" in model_id or not re.fullmatch(MODEL_ID, model_id):
            raise InvalidRequest(f"{model_id!r} is no model's id: give it without a version")
        if not self._names.state(model_id).aliases:
            self._names.find(model_id)


def check_version(state: ModelState, version: str) -> None:
    """Raise for a version that can't be added: it's an alias, or somebody is removing it."""
    names: Collection[str] = {CHAMPION, *(alias.name for alias in state.aliases)}
    if version in names:
        raise InvalidRequest(
            f"{version!r} is an alias of {state.id}: give the version another name"
        )
    check_kept(state, version)


def check_reason(reason: str | None) -> None:
    """Raise `InvalidRequest` for a reason that can't be kept."""
    text = reason or ""
    check_word("reason", text)
    if len(text) > LONGEST_REASON:
        raise InvalidRequest(f"the reason has {len(text)} characters, at most {LONGEST_REASON}")


class _Still:
    """Whether an alias still names what it did when somebody looked first."""

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._seen: tuple[Pinned, ...] | None = None

    @property
    def before(self) -> Pinned | None:
        return next(iter(self._seen or ()), None)

    def check(self, state: ModelState) -> None:
        """Raise `ObjectChanged` if it doesn't."""
        named = state.history(self._alias)
        if self._seen is not None and named != self._seen:
            now = f"names version {named[0].version} now" if named else "is gone"
            raise ObjectChanged(
                f"somebody else was faster: alias {self._alias} of {state.id} {now}. Look at "
                f"camfleet models history {state.id}; repeat this if it's still right"
            )
        self._seen = named


def _ref(model_id: str, pinned: Pinned | None) -> ModelRef | None:
    return ModelRef(id=model_id, version=pinned.version, digest=pinned.digest) if pinned else None
