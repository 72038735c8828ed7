"""docs/kubernetes.md as an operator follows it, with kubectl and helm, and no cluster."""

import re
import shlex

import pytest

from helpers import documents
from helpers.charts import CHART, HELM, KUBECTL, ROOT, environment, pods, run, validated

pytestmark = pytest.mark.charts

PAGE = ROOT / "docs" / "kubernetes.md"
COMMANDS = [
    command
    for block in documents.blocks(PAGE)
    if block.language == "console"
    for command in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]
]
FILES = {
    "redis-password": "secret",
    "signing-key": 32 * "x",
    "s3-keys": "AWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY=b\n",
}


@pytest.fixture
def installed(tmp_path):
    """Return what the page's helm command installs."""
    (values,) = (each for each in COMMANDS if each.startswith("cat values.yaml\n"))
    (tmp_path / "values.yaml").write_text(values.partition("\n")[2])
    (command,) = (each for each in COMMANDS if each.startswith("helm install"))
    words = shlex.split(command)
    assert words[3] == str(CHART.relative_to(ROOT))
    given = [str(tmp_path / word) if word == "values.yaml" else word for word in words[4:]]
    return validated(run([HELM, "template", words[2], CHART, *given]))


def secrets(folder):
    """Return the keys of each secret that the page makes."""
    for name, text in FILES.items():
        (folder / name).write_text(text)
    made = {}
    for command in COMMANDS:
        if command.startswith("kubectl"):
            words = [re.sub(r"(?<==)([\w-]+)$", rf"{folder}/\1", word) for word in command.split()]
            dry = [KUBECTL, *words[1:], "--dry-run=client", "--output=yaml"]
            (secret,) = validated(run(dry))
            made[secret["metadata"]["name"]] = set(secret["data"])
    return made


def test_pods_find_every_secret_that_the_page_makes_and_need_no_other(installed, tmp_path):
    asked = {}
    for pod in pods(installed).values():
        for value in environment(pod).values():
            if isinstance(value, tuple):
                asked.setdefault(value[0], set()).add(value[1])
    assert asked == secrets(tmp_path)


def test_pods_have_the_images_that_the_page_builds(installed):
    built = {re.search(r"-t (\S+) ", each)[1] for each in COMMANDS if each.startswith("docker")}
    used = {
        container["image"].removeprefix("images.example/")
        for pod in pods(installed).values()
        for container in pod["containers"]
    }
    assert used == built - {"camfleet-worker-gpu:0.2.0"}


def test_the_page_names_values_that_there_are():
    known = (CHART / "values.yaml").read_text()
    named = re.findall(r"`([a-z]\w+(?:\.\w+)+)`", PAGE.read_text())
    assert len(named) > 15
    for path in named:
        if not path.endswith((".yaml", ".io")):
            *_, last = path.split(".")
            assert re.search(rf"^ *{last}:", known, re.MULTILINE), path
