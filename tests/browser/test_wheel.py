"""The page comes with the wheel."""

import subprocess
from zipfile import ZipFile

import pytest

from browser.conftest import TOOLS
from camfleet.gateway.page import Page

pytestmark = pytest.mark.browser


def test_the_wheel_holds_every_file_of_the_page(tmp_path, pytestconfig):
    pip = [str(TOOLS / "bin" / "python"), "-m", "pip", "wheel", "--quiet", "--no-deps"]
    words = [*pip, "--no-build-isolation", "--wheel-dir", str(tmp_path), str(pytestconfig.rootpath)]
    subprocess.run(words, check=True)
    (wheel,) = tmp_path.glob("camfleet-*.whl")
    with ZipFile(wheel) as files:
        for path, file in Page().files.items():
            name = "/page/index.html" if path == "/" else path
            assert files.read(f"camfleet/gateway{name}") == file.content
