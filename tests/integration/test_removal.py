"""Versions that are removed: who holds them, what goes, and what a kill leaves."""

import itertools
import json
from contextlib import closing

import pytest

from camfleet.contract.records import Item
from camfleet.errors import InvalidRequest, UnknownModel
from camfleet.jobstore import keys
from camfleet.registry.names import Names
from helpers import reviews as made_up
from helpers.producers import producing
from helpers.registries import (
    Killed,
    MortalStorage,
    OvertakenStorage,
    actions,
    models_of,
    write_card,
)

numbers = itertools.count()


@pytest.fixture(scope="module")
def client(settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("removal")
    with producing(settings, folder, model="kept-model", database=13, chunk_size=2) as (
        made,
        redis,
    ):
        yield made
        redis.flushdb()


@pytest.fixture
def storage(client):
    return client.storage


@pytest.fixture
def models(storage):
    return models_of(storage)


@pytest.fixture
def name():
    return f"removal-{next(numbers)}"


@pytest.fixture
def add(models, tmp_path, name):
    return lambda version, **how: models.add(write_card(tmp_path, name, version), **how)[0]


def content(storage, ref):
    return list(storage.keys(keys.model_prefix(ref.digest)))


def test_entry_and_content_go_and_nothing_of_other_versions(models, storage, add, name):
    one, two = map(add, "12")
    storage.put(keys.converted(two.digest, "openvino"), b"1234", "")
    others = content(storage, one)
    freed = sum(each.nbytes for each in storage.objects(keys.model_prefix(two.digest)))
    assert models.remove(two, reason="worse") == (two, 4, freed)
    assert content(storage, two) == []
    assert content(storage, one) == others != []
    with pytest.raises(UnknownModel, match="no version '2', only 1"):
        models.find(f"{name}@2")
    assert models.find(name) == one
    assert actions(models, name)[2:] == [("removing", "2", None), ("removed", "2", None)]
    assert next(models.history(name)).reason == "worse"
    with pytest.raises(UnknownModel, match="no version '2'"):
        models.remove(f"{name}@2")
    assert add("2") == models.find(f"{name}@2"), "it can be added again"


def test_what_an_alias_names_stays_whatever_is_asked(models, storage, add, name):
    one, two = map(add, "12")
    models.promote(two, alias="candidate")
    with pytest.raises(InvalidRequest, match=r"champion names .*@1: promote .*unalias .*@champion"):
        models.remove(one)
    with pytest.raises(InvalidRequest, match=r"candidate names .*--alias candidate"):
        models.remove(two, force=True)
    assert content(storage, one)
    assert content(storage, two)
    models.unalias(f"{name}@candidate")
    models.promote(two)
    models.remove(one)
    with pytest.raises(InvalidRequest, match="nothing to roll back to"):
        models.rollback(name)


def test_the_last_version_goes_once_no_alias_names_it(models, add, name):
    one = add("1")
    models.unalias(f"{name}@champion")
    models.remove(one)
    with pytest.raises(UnknownModel, match=f"no model '{name}'"):
        models.find(name)
    again = add("1")
    assert models.find(name) == again, "a model's first version is promoted"


def test_which_version_must_be_said(models, add, name):
    add("1", aliases=["candidate"])
    for said in (name, f"{name}@candidate"):
        with pytest.raises(InvalidRequest, match=f"which version.*remove {name}@1"):
            models.remove(said)
    with pytest.raises(UnknownModel):
        models.remove("removal-none")


def job_of(client, *names):
    return client.submit(["s3://b/1"], models=names, force=True)


def test_a_job_keeps_its_version_until_somebody_insists(client, models, storage, add, name):
    one, two = map(add, "12")
    job = job_of(client, f"{name}@2", "kept-model")
    read = []
    with pytest.raises(InvalidRequest, match=f"still named by job {job.id}: .*--force"):
        models.remove(two, on_progress=read.append)
    assert read
    assert actions(models, name)[2:] == [], "nothing was marked"
    models.remove(two, force=True)
    assert content(storage, two) == []
    assert models.find(name) == one
    storage.delete([keys.job(job.id)])


def test_a_review_keeps_the_versions_that_it_names(models, storage, add, name):
    one, two, three = (add(number) for number in "123")
    review = made_up.review(storage, f"names-{name}", one, made_up.maps(), model=f"{name}@2")
    storage.delete([*storage.keys(keys.folder(review.baseline.job_id))])
    models.promote(f"{name}@3")
    for ref in (one, two):
        with pytest.raises(InvalidRequest, match=rf"is still named by review names-{name}: "):
            models.remove(f"{name}@{ref.version}")
    models.unalias(f"{name}@champion")
    assert models.remove(f"{name}@3").ref == three
    made_up.change(storage, review, "deleted")
    assert models.remove(f"{name}@2").ref == two


def test_what_is_no_job_to_anybody_holds_no_version(models, storage, add, caplog):
    junk = (b"junk", b'{"models": 3}', b" " * (2**24 + 1), b"[" * 100_000)
    for version, data in zip("2345", junk, strict=True):
        storage.put(keys.job("removal-junk"), data, "")
        if version == "2":
            add("1")
        models.remove(add(version))
        assert "jobs/removal-junk/job.json can't be read" in caplog.text
        caplog.clear()
    storage.delete([keys.job("removal-junk")])


def test_a_newer_versions_job_holds_what_it_names(models, storage, add, name):
    _, two = map(add, "12")
    newer = {"schema_version": 9, "models": [{"id": name, "version": "2", "what": 3}], "more": 1}
    storage.put(keys.job("removal-newer"), json.dumps(newer).encode(), "")
    with pytest.raises(InvalidRequest, match="still named by job removal-newer"):
        models.remove(two)
    storage.delete([keys.job("removal-newer")])
    storage.put("jobs/removal-cut-off/manifest/part-00000.parquet", b"", "")
    models.remove(two)


def test_five_jobs_are_named_and_that_there_are_more(client, models, storage, add, name):
    _, two = map(add, "12")
    jobs = [job_of(client, f"{name}@2") for _ in range(6)]
    with pytest.raises(InvalidRequest) as caught:
        models.remove(two)
    assert sum(job.id in str(caught.value) for job in jobs) == 5
    assert "and others" in str(caught.value)
    storage.delete([keys.job(job.id) for job in jobs])


def test_a_submit_whose_model_goes_meanwhile_is_taken_back(client, models, storage, add, name):
    _, two = map(add, "12")

    def source():
        yield Item(item_id="1", image_uri="s3://b/1", target=None, inputs=None)
        models.remove(two)
        yield Item(item_id="2", image_uri="s3://b/2", target=None, inputs=None)

    job = f"{name}-job"
    with pytest.raises(UnknownModel, match="no version '2'"):
        client.submit(source(), models=f"{name}@2", job_id=job, force=True)
    assert not storage.exists(keys.job(job))
    assert job not in [progress.job_id for progress in client.jobs()]


def test_a_job_that_comes_between_two_looks_keeps_its_version(client, models, storage, add, name):
    """Its record lies there before the version is marked, so the second look finds it."""
    _, two = map(add, "12")
    jobs = []
    faster = OvertakenStorage(client.settings, lambda: jobs.append(job_of(client, f"{name}@2")))
    with closing(faster), pytest.raises(InvalidRequest, match="still named by job"):
        models_of(faster).remove(two)
    assert content(storage, two)
    assert models.find(f"{name}@2") == two
    assert actions(models, name)[2:] == [("removing", "2", None), ("kept", "2", None)]
    assert job_of(client, f"{name}@2"), "it's as good as before"
    storage.delete([keys.job(jobs[0].id)])


def test_a_submit_after_the_mark_is_refused_and_the_version_goes(
    client, models, storage, add, name
):
    _, two = map(add, "12")
    refused = []

    def submit(_count):
        if next(models.history(name)).action == "removing" and not refused:
            with pytest.raises(UnknownModel, match="is being removed") as caught:
                job_of(client, f"{name}@2")
            refused.append(caught.value)

    models.remove(two, on_progress=submit)
    assert refused
    assert content(storage, two) == []


def test_a_version_cannot_be_promoted_or_added_while_it_is_removed(models, storage, add, name):
    _, two = map(add, "12")
    tried = []

    def change(_count):
        if next(models.history(name)).action == "removing" and not tried:
            (marked,) = [each for each in models.list() if each.id == name and each.removing]
            assert marked.version == "2"
            with pytest.raises(UnknownModel, match="is being removed"):
                models.promote(two)
            with pytest.raises(UnknownModel, match="is being removed"):
                add("2", replace=True)
            tried.append(True)

    models.remove(two, on_progress=change)
    assert tried


def test_a_removal_that_is_broken_off_keeps_the_version(models, storage, add, name):
    _, two = map(add, "12")
    looks = []

    def interrupt(count):
        looks.append(count)
        if next(models.history(name)).action == "removing":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        models.remove(two, on_progress=interrupt)
    assert actions(models, name)[2:] == [("removing", "2", None), ("kept", "2", None)]
    assert models.promote(two).ref == two


def test_whoever_takes_a_removal_over_is_the_one_who_decides(client, models, storage, add, name):
    """The first remover, broken off late, doesn't lift the mark of the second."""
    _, two = map(add, "12")
    second = models_of(storage, user="grace")
    marks = []

    def interrupt(_count):
        state = models._names.state(name)
        if not state.removing or marks:
            return
        second._editor.edit(name, lambda now: second_mark(now, two))
        marks.append(models._names.state(name).removal("2").number)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        models.remove(two, on_progress=interrupt)
    assert models._names.state(name).removal("2").number == marks[0]
    with pytest.raises(UnknownModel, match="is being removed"):
        job_of(client, f"{name}@2")
    second.remove(two)
    assert content(storage, two) == []


def second_mark(state, ref):
    from camfleet.registry.changes import Pinned
    from camfleet.registry.editor import Draft

    pinned = Pinned(version=ref.version, digest=ref.digest)
    return Draft("removing", state.marked(pinned), pinned)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("last", range(1, 6))
def test_a_removal_that_is_killed_is_finished_by_the_next(
    client, models, storage, add, name, last, after
):
    one, two = map(add, "12")
    with closing(MortalStorage(client.settings, last, after=after)) as mortal:
        try:
            models_of(mortal).remove(two)
            assert last == 5, "it takes four writes"
        except Killed:
            assert last < 5
            try:
                found = models.find(f"{name}@2")
            except UnknownModel:
                pass
            else:
                assert len(content(storage, found)) == 3, "whole as long as it's found"
            if (last, after) != (4, True):  # then it was done
                assert models.remove(f"{name}@2").ref == two
    assert content(storage, two) == []
    assert models.find(name) == one
    assert len(content(storage, one)) == 3
    assert [entry.version for entry in models.list() if entry.id == name] == ["1"]
    assert models._names.state(name).removing == ()


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("last", range(1, 8))
def test_an_addition_that_is_killed_leaves_what_the_id_means(
    settings, models, add, name, tmp_path, last, after
):
    one = add("1")
    card = write_card(tmp_path, name, "2")
    with closing(MortalStorage(settings, last, after=after)) as mortal:
        try:
            models_of(mortal).add(card, promote=True)
            assert last == 7, "it takes six writes"
        except Killed:
            assert last < 7
            assert models.find(name).version in ("1", "2")
            if last < 6:
                assert models.find(name) == one
    two, _ = models.add(card, promote=True)
    assert models.find(name) == models.find(f"{name}@2") == two
    assert Names(models._storage).added_last(name) == two
    assert models.rollback(name).ref == one
