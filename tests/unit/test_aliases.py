"""What an alias names after promotions, rollbacks and removals, without a bucket."""

from dataclasses import replace

import pytest

from camfleet.errors import InvalidRequest, UnknownModel
from camfleet.registry.aliases import ModelState, check_kept
from camfleet.registry.changes import CHAMPION, MOST_ALIASES, MOST_VERSIONS, Pinned


def pinned(version, content="a"):
    return Pinned(version=version, digest=content * 64)


def after(state, change):
    return replace(state, number=state.number + 1, **change)


def promoted(*versions, alias=CHAMPION):
    state = ModelState("net")
    for version in versions:
        state = after(state, state.pointing(alias, pinned(version)))
    return state


def named(state, alias=CHAMPION):
    return [each.version for each in state.history(alias)]


def test_rollbacks_in_a_row_go_back_one_promotion_each():
    state = promoted("1", "2", "3")
    assert named(state) == ["3", "2", "1"]
    state = after(state, state.back(CHAMPION))
    assert named(state) == ["2", "1"]
    state = after(state, state.back(CHAMPION))
    assert named(state) == ["1"]
    with pytest.raises(InvalidRequest, match=r"names version 1 since its beginning.*promote net@V"):
        state.back(CHAMPION)


def test_a_promotion_after_a_rollback_leads_back_to_what_was_promoted_then():
    state = promoted("1", "2", "3")
    state = after(state, state.back(CHAMPION))
    state = after(state, state.pointing(CHAMPION, pinned("4")))
    state = after(state, state.back(CHAMPION))
    assert named(state) == ["2", "1"], "3 was rolled back"


def test_a_version_may_be_promoted_again():
    state = promoted("1", "2", "1")
    assert named(after(state, state.back(CHAMPION))) == ["2", "1"]


def test_a_version_that_is_named_already_is_no_step_to_go_back():
    assert named(promoted("1", "1")) == ["1"]


def test_there_is_nothing_before_an_alias_that_does_not_exist():
    with pytest.raises(InvalidRequest, match=r"canary of net doesn't exist.*--alias canary"):
        promoted("1").back("canary")


def test_aliases_do_not_disturb_each_other():
    state = promoted("1", "2")
    state = after(state, state.pointing("candidate", pinned("3")))
    assert (named(state), named(state, "candidate")) == (["2", "1"], ["3"])
    assert state.aliases_of("3") == ("candidate",)
    state = after(state, state.pointing("candidate", pinned("2")))
    assert state.aliases_of("2") == ("candidate", CHAMPION)
    state = after(state, state.without_alias("candidate"))
    assert (named(state), named(state, "candidate")) == (["2", "1"], [])


def test_a_removed_version_is_none_to_go_back_to():
    state = promoted("1", "2", "1", "3")
    assert named(after(state, state.without("2"))) == ["3", "1"], "1 stands there once"
    assert named(after(state, state.without("1"))) == ["3", "2"]


def test_an_alias_remembers_a_bounded_number_of_versions():
    state = promoted(*map(str, range(MOST_VERSIONS + 5)))
    assert len(named(state)) == MOST_VERSIONS
    assert named(state)[0] == str(MOST_VERSIONS + 4)


def test_an_id_has_a_bounded_number_of_aliases():
    state = ModelState("net")
    for number in range(MOST_ALIASES):
        state = after(state, state.pointing(f"alias-{number}", pinned("1")))
    state = after(state, state.pointing("alias-0", pinned("2")))
    with pytest.raises(InvalidRequest, match="32 aliases already"):
        state.pointing("one-more", pinned("1"))


def test_a_version_that_is_being_removed_says_so_until_it_is_kept_or_gone():
    state = promoted("1", "2")
    state = after(state, state.marked(pinned("1")))
    assert state.removal("1").number == state.number == 3
    with pytest.raises(UnknownModel, match=r"net@1 is being removed.*models remove net@1 finishes"):
        check_kept(state, "1")
    check_kept(state, "2")
    check_kept(after(state, state.unmarked("1")), "1")
    assert after(state, state.without("1")).removing == ()
    again = after(state, state.marked(pinned("1")))
    assert [(mark.version, mark.number) for mark in again.removing] == [("1", 4)]
