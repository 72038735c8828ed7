"""The folder of the local stack: private at every start, and nobody else's."""

import os
from pathlib import Path

import pytest

from camfleet.errors import StackError
from camfleet.local import private
from camfleet.local.folder import Ports
from camfleet.local.stack import LocalStack
from helpers.stranger import NOBODY, as_stranger

AS_ROOT = os.getuid() == 0  # only root can give a file to somebody else


def mode(path):
    return oct(path.lstat().st_mode & 0o777)


def give_away(path):
    os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


@pytest.fixture
def theirs(tmp_path):
    """Give another user's folder, which everybody may enter."""
    if not AS_ROOT:
        return Path("/usr")
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o755)
    give_away(folder)
    return folder


def test_a_new_folder_is_private_with_any_umask(tmp_path):
    before = os.umask(0)
    try:
        private.claim(tmp_path / "data")
    finally:
        os.umask(before)
    assert mode(tmp_path / "data") == "0o700"


def test_what_an_older_version_left_open_is_closed(tmp_path):
    data, outside = tmp_path / "data", tmp_path / "outside"
    (data / "s3" / "deep").mkdir(parents=True)
    files = [data / "credentials.json", data / "s3" / "1.dat", data / "s3" / "deep" / "run.sh"]
    for file in (*files, outside):
        file.touch()
        file.chmod(0o777 if file.suffix == ".sh" else 0o664)
    (data / "models").symlink_to(outside)
    for folder in (data, data / "s3", data / "s3" / "deep"):
        folder.chmod(0o777)
    private.claim(data)
    assert [mode(file) for file in files] == ["0o600", "0o600", "0o700"]
    assert [mode(it) for it in (data, data / "s3", data / "s3" / "deep")] == ["0o700"] * 3
    assert mode(outside) == "0o664"  # a link isn't followed


def test_a_folder_that_others_may_replace_is_refused_with_the_way_out(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    for bits in (0o777, 0o757):
        shared.chmod(bits)
        with pytest.raises(StackError, match=r"write to .*/shared .*chmod go-w, or .*--data ~/"):
            private.claim(shared / "below" / "data")
    shared.chmod(0o1777)  # as /tmp: only the owner of an entry may rename it
    private.claim(shared / "data")


def test_another_users_folder_is_refused_with_the_way_out(theirs):
    with pytest.raises(StackError, match=rf"{theirs} belongs to the user \w+: .*--data ~/"):
        LocalStack(theirs, worker=False).start()
    assert list(theirs.glob("lock")) == []


def test_a_link_is_as_good_as_the_folder_that_it_leads_to(theirs, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(theirs)
    with pytest.raises(StackError, match=rf"{theirs} belongs to"):
        LocalStack(link, worker=False).start()


@pytest.mark.skipif(not AS_ROOT, reason="gives files to another user")
def test_a_folder_in_another_users_folder_is_refused(theirs):
    with pytest.raises(StackError, match=rf"{theirs} belongs to the user \w+, who could replace"):
        private.claim(theirs / "data")
    assert list(theirs.iterdir()) == []


@pytest.mark.skipif(not AS_ROOT, reason="gives files to another user")
@pytest.mark.parametrize("name", ["credentials.json", "config/security.toml", "link"])
def test_a_file_that_another_user_has_put_there_is_refused(tmp_path, name):
    (tmp_path / "config").mkdir()
    planted = tmp_path / name
    planted.symlink_to(tmp_path) if name == "link" else planted.touch()
    give_away(planted)
    with pytest.raises(StackError, match=rf"{planted} .*belongs to the user .*--data"):
        LocalStack(tmp_path, worker=False).start()


@pytest.mark.skipif(not AS_ROOT, reason="needs another user")
def test_sockets_that_another_user_has_put_in_the_way_are_passed_by(tmp_path):
    first = Ports.of(tmp_path)
    planted = Path(f"/tmp/seaweedfs-filer-grpc-{first.grpc()[2]}.sock")
    as_stranger([("bind", str(planted))])
    try:
        second = Ports.of(tmp_path)
        assert (second.filer != first.filer, second.master) == (True, first.master)
        assert planted not in first.sockets()  # that a stack would remove
    finally:
        planted.unlink()
