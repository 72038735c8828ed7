"""Containers of converted models: whole ones come back, in little memory; signatures hold."""

import tracemalloc

import pytest

from camfleet_worker.models.converted import container
from camfleet_worker.models.converted.container import Origin, Refused
from camfleet_worker.models.converted.signing import Signer

ORIGIN = Origin(digest="0" * 64, layer="auto", versions={"camfleet": "1"})
NAMES = ("a", "b")
KEY, OTHER = Signer((b"k" * 32,)), Signer((b"o" * 32,))


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "made"
    made.mkdir()
    (made / "a").write_bytes(bytes(range(256)) * 3)
    (made / "b").write_bytes(b"")
    return made


def unpacked(path, target, signer, origin=ORIGIN):
    container.unpack(path, target, [set(NAMES)], origin, signer)
    return {name: (target / name).read_bytes() for name in NAMES}


def test_files_come_back_as_they_were(folder, tmp_path):
    container.pack(folder, NAMES, tmp_path / "packed", ORIGIN, KEY)
    found = unpacked(tmp_path / "packed", tmp_path / "found", KEY)
    assert found == {name: (folder / name).read_bytes() for name in NAMES}
    assert container.is_accepted(tmp_path / "found", KEY)
    assert not container.is_accepted(tmp_path / "found", OTHER)
    assert container.is_accepted(tmp_path / "found", Signer((*OTHER.keys, *KEY.keys)))


def test_a_large_model_takes_little_memory(folder, tmp_path):
    size = 2**26
    with (folder / "b").open("wb") as file:
        file.truncate(size)
    tracemalloc.start()
    try:
        container.pack(folder, NAMES, tmp_path / "packed", ORIGIN, KEY)
        container.unpack(tmp_path / "packed", tmp_path / "found", [set(NAMES)], ORIGIN, KEY)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (tmp_path / "found" / "b").stat().st_size == size
    assert peak < size / 8


@pytest.mark.parametrize("signer", [OTHER, Signer(())], ids=["another key", "no key"])
def test_what_no_key_of_ours_has_signed_is_refused(folder, tmp_path, signer):
    container.pack(folder, NAMES, tmp_path / "packed", ORIGIN, signer)
    with pytest.raises(Refused, match="signed"):
        unpacked(tmp_path / "packed", tmp_path / "found", KEY)
    assert not (tmp_path / "found").exists()


def test_without_a_key_signatures_say_nothing(folder, tmp_path):
    container.pack(folder, NAMES, tmp_path / "packed", ORIGIN, OTHER)
    assert unpacked(tmp_path / "packed", tmp_path / "found", Signer(()))


def test_no_flipped_bit_of_a_signed_container_passes(folder, tmp_path):
    path = tmp_path / "packed"
    container.pack(folder, NAMES, path, ORIGIN, KEY)
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), 11):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        target = tmp_path / f"found{bit}"
        with pytest.raises(Refused):
            unpacked(path, target, KEY)
