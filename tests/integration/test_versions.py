"""Which version a model's names mean, in a real bucket: promoted, rolled back, overtaken."""

import itertools
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier

import pytest

from camfleet.contract.records import ModelRef
from camfleet.errors import InvalidRequest, ObjectChanged, UnknownModel
from camfleet.jobstore import keys
from camfleet.registry.registry import Registry
from camfleet.storage.storage import Storage
from helpers.registries import OvertakenStorage, actions, models_of, put_old_entry, write_card

numbers = itertools.count()
REASONS = [None, "worse on roses", None, "better on daisies"]
OLD = Path(__file__).parents[1] / "fixtures" / "v0.1.0" / "bucket" / "registry"


@pytest.fixture
def storage(settings):
    with closing(Storage(settings)) as made:
        yield made


@pytest.fixture
def models(storage):
    return models_of(storage)


@pytest.fixture
def name():
    """Return an id of the test's own."""
    return f"versions-{next(numbers)}"


@pytest.fixture
def add(models, tmp_path, name):
    """Return what adds a version; it gives its reference."""
    return lambda version, **how: models.add(write_card(tmp_path, name, version), **how)[0]


def versions(models, name):
    found = [each for each in models.list() if each.id == name]
    return {each.version: each.aliases for each in found}


def test_the_first_version_is_promoted_and_later_ones_only_if_somebody_asks(models, add, name):
    first = add("1")
    second = add("2")
    assert models.find(name) == models.find(f"{name}@champion") == first
    third = add("3", promote=True, aliases=["candidate"], reason="faster")
    assert models.find(name) == models.find(f"{name}@candidate") == third
    assert models.find(f"{name}@2") == second
    assert versions(models, name) == {"1": (), "2": (), "3": ("candidate", "champion")}
    assert actions(models, name) == [
        ("added", "1", "champion"),
        ("added", "2", None),
        ("added", "3", None),
        ("promoted", "3", "champion"),
        ("promoted", "3", "candidate"),
    ]
    assert {change.reason for change in models.history(name)} == {None, "faster"}


def test_promotions_and_rollbacks_are_kept_with_who_and_why(models, storage, add, name):
    one, two, three = map(add, "123")
    done = models_of(storage, "grace").promote(two, reason="better on daisies")
    assert done == ("champion", two, one)
    models.promote(f"{name}@3")
    assert models.find(name) == three
    assert models.rollback(name, reason="worse on roses") == ("champion", two, three)
    assert models.rollback(name) == ("champion", one, two)
    with pytest.raises(InvalidRequest, match="nothing to roll back to"):
        models.rollback(name)
    assert models.find(name) == Registry(storage).find(name) == one
    last = actions(models, name)[3:]
    assert last == [
        ("promoted", "2", "champion"),
        ("promoted", "3", "champion"),
        ("rolled back", "2", "champion"),
        ("rolled back", "1", "champion"),
    ]
    found = list(models.history(name))
    assert [change.user for change in found] == ["ada", "ada", "ada", "grace", "ada", "ada", "ada"]
    assert [change.reason for change in found][:4] == [
        None,
        "worse on roses",
        None,
        "better on daisies",
    ]
    assert {change.host for change in found} == {socket.gethostname()}
    times = [change.changed_at for change in found]
    assert times == sorted(times, reverse=True)


def test_promoting_what_is_promoted_already_changes_nothing(models, add, name):
    one = add("1")
    assert models.promote(f"{name}@1") == ("champion", one, one)
    assert actions(models, name) == [("added", "1", "champion")]


def test_an_alias_names_another_version_and_may_be_promoted_itself(models, add, name):
    one, two = map(add, "12")
    assert models.promote(two, alias="candidate") == ("candidate", two, None)
    assert models.find(name) == one
    assert models.aliases(name) == {"candidate": two, "champion": one}
    assert models.promote(f"{name}@candidate") == ("champion", two, one)
    assert models.unalias(f"{name}@candidate") == two
    assert models.aliases(name) == {"champion": two}
    with pytest.raises(UnknownModel, match=r"no version 'candidate', only 1, 2; .* champion"):
        models.find(f"{name}@candidate")
    with pytest.raises(UnknownModel, match="no alias 'candidate', its aliases are: champion"):
        models.unalias(f"{name}@candidate")


def test_a_model_without_a_champion_says_how_to_get_one(models, add, name):
    add("1")
    models.unalias(f"{name}@champion")
    with pytest.raises(UnknownModel, match=f"no version of '{name}' is promoted, of 1: .*promote"):
        models.find(name)
    add("2")
    with pytest.raises(UnknownModel, match="is promoted, of 1, 2"):
        models.find(name)
    assert models.promote(f"{name}@2").before is None


@pytest.mark.parametrize("alias", ["", "a b", "../x", "latest", "x" * 65])
def test_what_can_be_no_alias_is_refused_before_anything_is_uploaded(models, add, name, alias):
    ref = add("1")
    with pytest.raises(InvalidRequest, match="alias"):
        models.promote(ref, alias=alias)
    with pytest.raises(InvalidRequest, match="alias"):
        add("2", aliases=[alias])
    assert list(versions(models, name)) == ["1"]


def test_aliases_and_versions_do_not_hide_each_other(models, add, name):
    one = add("1")
    models.promote(one, alias="canary")
    with pytest.raises(InvalidRequest, match=r"'canary' is an alias of .*another name"):
        add("canary")
    with pytest.raises(InvalidRequest, match="'champion' is an alias"):
        add("champion")
    with pytest.raises(InvalidRequest, match="has a version '1'"):
        models.promote(one, alias="1")
    with pytest.raises(InvalidRequest, match="has a version '2'"):
        add("2", aliases=["2"])


@pytest.mark.parametrize("what", ["nothing@1", "Nothing Such@1", "@1"])
def test_a_model_that_is_not_there_cannot_be_promoted(models, what):
    with pytest.raises(UnknownModel, match="no model"):
        models.promote(what)


def test_a_promotion_names_the_version_and_a_rollback_does_not(models, add, name):
    add("1")
    with pytest.raises(InvalidRequest, match=f"which version.*promote {name}@VERSION"):
        models.promote(name)
    with pytest.raises(InvalidRequest, match="give it without a version"):
        models.rollback(f"{name}@1")
    with pytest.raises(UnknownModel, match="no model 'versions-none'"):
        models.rollback("versions-none")
    with pytest.raises(UnknownModel, match="no version '7', only 1"):
        models.promote(f"{name}@7")
    with pytest.raises(InvalidRequest, match="the reason has 1001 characters, at most 1000"):
        models.promote(f"{name}@1", reason="x" * 1001)
    with pytest.raises(TypeError, match="model is of type int"):
        models.promote(1)


def test_what_an_alias_names_is_not_replaced_unless_it_goes_along(models, add, name):
    one = add("1")
    with pytest.raises(InvalidRequest, match=r"champion names version 1 .* --promote"):
        add("1", replace=True)
    other = add("1", replace=True, promote=True)
    assert models.find(name) == models.find(f"{name}@1") == other != one
    two = add("2", aliases=["candidate"])
    with pytest.raises(InvalidRequest, match="with --alias candidate"):
        add("2", replace=True)
    assert models.find(f"{name}@candidate") == two
    with pytest.raises(InvalidRequest, match=r"version 1 .* was replaced since"):
        models.rollback(name)


def test_a_version_that_0_1_0_replaced_leaves_the_champion_as_it_was(models, storage, add, name):
    one = add("1")
    digest = put_old_entry(storage, name, "1", 5.0)
    assert models.find(name) == one, "an alias names content"
    assert models.find(f"{name}@1").digest == digest
    (found,) = [each for each in models.list() if each.id == name]
    assert (found.aliases, found.former) == ((), ("champion",))


def test_a_registry_of_0_1_0_has_its_last_added_version_promoted(models, storage, add, name):
    for path in OLD.glob("*/*.json"):
        entry = {**json.loads(path.read_text()), "id": f"{name}-{path.parent.name}"}
        storage.put(keys.registry(entry["id"], "1"), json.dumps(entry).encode(), "")
        assert models.find(entry["id"]).digest == entry["digest"]
    put_old_entry(storage, name, "1", 10.0)
    two = put_old_entry(storage, name, "2", 30.0)
    put_old_entry(storage, name, "3", 20.0)
    assert models.find(name).digest == two
    assert versions(models, name) == {"1": (), "3": (), "2": ("champion",)}
    assert list(models.history(name)) == []
    add("4")
    assert models.find(name).digest == two, "adding changes nothing"
    assert actions(models, name) == [("recorded", None, None), ("added", "4", None)]
    models.promote(f"{name}@4")
    assert models.rollback(name).ref.digest == two
    put_old_entry(storage, name, "5", 1e12)
    assert models.find(name).digest == two, "nor does what 0.1.0 adds beside it"


def test_what_counts_as_promoted_is_pinned_by_promoting_it(models, storage, name):
    digest = put_old_entry(storage, name, "1", 10.0)
    done = models.promote(f"{name}@1")
    assert done.ref == done.before
    put_old_entry(storage, name, "2", 20.0)
    assert models.find(name).digest == digest, "which 0.1.0 added later"
    with pytest.raises(InvalidRequest, match="nothing to roll back to"):
        models.rollback(name)


def test_0_1_0_finds_nothing_among_the_entries_but_entries(models, storage, add, name):
    one = add("1", promote=True, aliases=["candidate"])
    models.remove(add("2"))
    (key,) = storage.keys(keys.registry(name))
    entry = json.loads(storage.get(key).data)
    assert entry.pop("added_at")
    assert entry == {"id": name, "version": "1", "digest": one.digest}


def test_of_two_who_promote_at_once_one_is_told(settings, models, add, name):
    _one, two, three = map(add, "123")
    faster = OvertakenStorage(settings, lambda: models.promote(three))
    with closing(faster):
        with pytest.raises(ObjectChanged, match=r"faster: alias champion .* version 3 now"):
            models_of(faster).promote(two)
        assert models.find(name) == three
        models_of(faster).promote(two)
    assert models.find(name) == two
    faster = OvertakenStorage(settings, lambda: models.rollback(name))
    with closing(faster), pytest.raises(ObjectChanged, match="version 3 now"):
        models_of(faster).rollback(name)
    assert models.find(name) == three, "one step back, not two"


def test_whoever_changes_something_else_meanwhile_is_no_hindrance(settings, models, add, name):
    one, two = map(add, "12")
    with closing(OvertakenStorage(settings, lambda: models.promote(one, alias="old"))) as storage:
        assert models_of(storage).promote(two).before == one
    assert models.aliases(name) == {"champion": two, "old": one}
    assert actions(models, name)[2:] == [("promoted", "1", "old"), ("promoted", "2", "champion")]


def test_of_an_alias_and_a_version_of_one_name_the_first_wins(
    settings, models, add, name, tmp_path
):
    one = add("1")
    card = write_card(tmp_path, name, "canary")
    faster = OvertakenStorage(
        settings, lambda: models.promote(one, alias="canary"), before="registry/"
    )
    with closing(faster), pytest.raises(InvalidRequest, match="'canary' is an alias"):
        models_of(faster).add(card)
    assert models.find(f"{name}@canary") == one
    assert list(versions(models, name)) == ["1"]
    faster = OvertakenStorage(settings, lambda: add("beta"))
    with closing(faster), pytest.raises(InvalidRequest, match="has a version 'beta'"):
        models_of(faster).promote(one, alias="beta")
    assert models.find(f"{name}@beta").version == "beta"


@pytest.mark.parametrize("turn", range(2))
def test_eight_who_promote_at_once_leave_one_history_and_its_last_promotion(
    settings, models, add, name, turn
):
    refs = [add(str(number)) for number in range(9)]
    at_once = Barrier(8)

    def promote(ref):
        with closing(Storage(settings)) as storage:
            own = models_of(storage, user=ref.version)
            at_once.wait(10)
            try:
                own.promote(ref)
            except ObjectChanged:
                return False
            return True

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(promote, refs[1:]))
    assert any(done)
    told = actions(models, name)[9:]
    assert len(told) == sum(done)
    assert models.find(name).version == told[-1][1]
    assert {change.user for change in list(models.history(name))[: len(told)]} == {
        ref.version for ref, went in zip(refs[1:], done, strict=True) if went
    }


def test_an_answer_that_got_lost_is_no_other_promoter(settings, models, add, name):
    one, two = map(add, "12")

    class Forgetful(Storage):
        def create(self, *args):
            super().create(*args)
            raise ObjectChanged("it was written by the first try, whose answer got lost")

    with closing(Forgetful(settings)) as storage:
        assert models_of(storage).promote(two) == ("champion", two, one)
    assert actions(models, name)[2:] == [("promoted", "2", "champion")]


def test_a_change_that_cannot_be_read_hides_aliases_but_no_versions(
    models, storage, add, name, caplog
):
    one, two = map(add, "12")
    key = keys.change(name, 3)
    for junk in (b"junk", b'{"schema_version": 1}', b" " * 2**21, b"[" * 100_000):
        storage.put(key, junk, "")
        with pytest.raises(InvalidRequest, match=f"{key}.*@VERSION still is.*delete it"):
            models.find(name)
        assert models.find(f"{name}@2") == two
        assert versions(models, name) == {"1": (), "2": ()}
        assert key in caplog.text
    storage.put(key, b'{"schema_version": 9, "needs": "0.9.0"}', "")
    with pytest.raises(InvalidRequest, match=r"needs camfleet 0\.9\.0"):
        models.find(name)
    storage.put(key, storage.get(keys.change(name, 2)).data, "")
    with pytest.raises(InvalidRequest, match="a change of another model or number"):
        models.find(name)
    storage.delete([key])
    assert models.find(name) == one


@pytest.mark.parametrize(
    "junk", ["notes.txt", "1.json", "00000.json", "deeper/00009.json", "00009.JSON"]
)
def test_what_is_no_change_is_ignored_with_one_warning(models, storage, add, name, caplog, junk):
    one = add("1")
    storage.put(keys.changes(name) + junk, b"junk", "")
    for _ in range(3):
        assert models.find(name) == one
    assert len([text for text in caplog.messages if "isn't that of a change" in text]) == 1


def test_the_last_number_that_a_change_can_have_says_so(models, storage, add, name):
    ref = add("1")
    forged = json.loads(storage.get(keys.change(name, 1)).data)
    last = keys.change(name, keys.MOST_CHANGES)
    storage.put(last, json.dumps({**forged, "number": keys.MOST_CHANGES}).encode(), "")
    assert models.find(name) == ref
    with pytest.raises(InvalidRequest, match=f"99999 changes.*delete {last}"):
        add("2", promote=True)
    assert list(versions(models, name)) == ["1"]


def test_a_name_with_a_line_break_or_a_hint_of_another_file_is_unknown(models):
    for odd in ("a\n", "../a", "a/../b", "", "@", "a@b@c", "a@../b", "a@1\n"):
        with pytest.raises(UnknownModel):
            models.find(odd)


def test_a_reference_stands_for_its_version(models, add, name):
    ref = add("1")
    assert models.promote(ModelRef(id=name, version="1", digest="0" * 64)).ref == ref
