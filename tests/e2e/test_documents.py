"""Every command and every program in the documents, in order, as its text stands there.

What can't run here is in `ELSEWHERE`, with the place where it does. The names in the text are bound
to real things: small photographs and models under the documents' own names, and JOB to the job that
was submitted last.
"""

import base64
import os
import re
import shlex
import subprocess
import sys
import threading
import tomllib

import keras
import numpy as np
import pytest
import tomli_w
from click.testing import CliRunner
from PIL import Image
from standardwebhooks import Webhook

from camfleet.cli import group
from camfleet.registry.cards import parse_card
from helpers import documents
from helpers.commands import camfleet
from helpers.documents import ROOT, name_of
from helpers.samples import photo, write_card
from helpers.tls import Authority, TlsFront

layers = keras.layers

# A command that doesn't run here, a file in which it does, and how it's found there.
ELSEWHERE = [
    (r"make demo", "Makefile", "-m examples.demo"),
    (r"make test", ".ci/run", "make test"),
    (r"make bench( ONLY=\w+)?", "Makefile", "-m benchmarks $(ONLY)"),
    (r"make dist", "Makefile", "-m release"),
    (r"python3 -m venv \.venv && \. \.venv/bin/activate", "Makefile", "-m venv $(VENV)"),
    (
        r"pip install -e '\.\[worker,cpu,local,report,gateway\]'",
        "Makefile",
        "--editable '.[worker,cpu,local,report,gateway,dev]'",
    ),
    (r"pip wheel --no-deps \.", "worker/Dockerfile", "pip install"),
    (r"pip install 'camfleet-\S+\.whl\[worker,cpu\]'", "worker/Dockerfile", "EXTRA=worker,cpu"),
    (r"camfleet compare JOB JOB.*", "tests/e2e/test_compare.py", '"compare", one, other'),
    (r"camfleet review .*", "tests/e2e/test_reviews.py", '"review", "run", reviewed'),
    (
        r"camfleet faithfulness JOB.*",
        "tests/e2e/test_faithfulness.py",
        'run("faithfulness", job.id',
    ),
    (
        r"camfleet resume --all-stored.*",
        "tests/integration/test_forgotten_jobs.py",
        'run("resume", "--all-stored"',
    ),
    (r"camfleet delete JOB", "tests/e2e/test_deleting.py", 'run("delete", one.id'),
    (r"aws s3 sync .*", "tests/e2e/test_deleting.py", "aws s3 sync"),
    (r"python -m examples\.clever_hans", "tests/e2e/test_clever_hans.py", "examples.clever_hans"),
    (r"camfleet up", "tests/integration/test_local_stack.py", '"up"'),
    (r"camfleet worker .*", "tests/e2e/test_worker_processes.py", '"worker", "--processes"'),
    (
        r"celery -A camfleet_worker worker",
        "tests/helpers/working.py",
        '"camfleet_worker", "worker"',
    ),
    (
        r"sh deploy/compose/prepare\.sh",
        "tests/charts/test_compose_file.py",
        '"deploy" / "compose" / "prepare.sh"',
    ),
    (r"docker compose up --build", "docker-compose.yml", "docker compose up --build"),
    (r"docker build -f worker/Dockerfile .*", "worker/Dockerfile", "docker build -f worker/Docker"),
    (r"docker build -f producer/Docker.*", "producer/Dockerfile", "docker build -f producer/D"),
    (r"kubectl -n camfleet .*", "tests/charts/test_kubernetes_page.py", '"--dry-run=client"'),
    (r"helm install .*", "tests/charts/test_kubernetes_page.py", '[HELM, "template"'),
    (r"python3 -m venv convert && .*legacy\]'", "Makefile", "--no-deps tf-keras"),
    (r"convert/bin/camfleet models convert .*", "tests/unit/test_convert.py", "convert.convert"),
    (r"camfleet serve( --port 8200)?", "tests/e2e/test_gateway.py", "with gateway("),
    (
        r"camfleet serve --labels .*",
        "tests/tools/test_label_studio_configs.py",
        '"--labels", f"{model.id}',
    ),
    (
        r"camfleet push label-studio JOB .*",
        "tests/e2e/test_label_studio.py",
        'run("push", "label-studio", job_id',
    ),
    (r"cvat-cli .*", "tests/tools/test_cvat_function.py", '"--function-module", "camfleet.cvat"'),
    (r"curl .*", "tests/e2e/test_gateway.py", '"http-api.md"'),
    (r"export CAMFLEET_WEBHOOK_SECRET=.*openssl.*", "tests/unit/test_settings.py", "whsec_"),
    (r"export CAMFLEET_SIGNING_KEY=.*openssl.*", "tests/unit/test_settings.py", "SIGNING_KEY"),
]
SHOWN = ("text", "json")  # languages of blocks that are no programs
PAGES = [page for page in documents.PAGES if any(documents.blocks(page))]
# What runs blocks of JavaScript.
BROWSER = ROOT / "tests" / "browser" / "test_page_in_documents.py"
SECONDS = 120
MARK = "camfleet-test-mark"
JOB = re.compile(r"\b(?:\d{8}-\d{6}-[0-9a-f]{6}|weekly-2026-48)\b")


@pytest.fixture(scope="module")
def workplace(folder):
    """Make what the documents speak of: photographs, models, and a `.venv` to activate."""
    place = folder / "documents"
    (place / "photos").mkdir(parents=True)
    for name in ("rose", "daisy", "tulip"):
        Image.new("RGB", (80, 60), COLOURS[name]).save(place / "photos" / f"{name}.jpg")
    Image.new("RGB", (80, 60), COLOURS["rose"]).save(place / "rose.jpg")
    _flowers().save(place / "flowers.keras")
    (place / ".demo" / "photos").mkdir(parents=True)
    for number, name in enumerate(("cat", "coffee", "rocket")):
        Image.fromarray(photo(10 + 10 * number)).save(place / ".demo" / "photos" / f"{name}.png")
    write_card(place / ".demo" / "models" / "lite0", "lite0", labels='["yurt", "espresso"]')
    _write_programs(place)
    return place


COLOURS = {"rose": (255, 0, 0), "daisy": (255, 255, 255), "tulip": (0, 0, 255)}


def _flowers():
    """Return a model that calls what is red a rose, with the probability in the card."""
    image = keras.Input((150, 150, 3))
    conv = layers.Conv2D(3, 1, activation="relu", name="conv")
    dense = layers.Dense(3, "softmax", name="scores")
    model = keras.Model(image, dense(layers.GlobalAveragePooling2D()(conv(image))))
    conv.set_weights([np.eye(3, dtype=np.float32)[None, None], np.zeros(3, np.float32)])
    rose = np.log(2 * 0.97 / 0.03)
    dense.set_weights([np.array([[0, rose, 0], [5, 0, 0], [0, 0, 5]], np.float32), np.zeros(3)])
    return model


def _write_programs(place):
    """Write the command, and a script that puts it on the path as that of a `.venv` does."""
    programs = place / ".venv" / "bin"
    programs.mkdir(parents=True)
    command = programs / "camfleet"
    command.write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c "from camfleet.cli import main; main()" '
        '"$@"\n'
    )
    command.chmod(0o755)
    (programs / "activate").write_text(f"PATH={shlex.quote(str(programs))}:$PATH\n")


@pytest.fixture(scope="module")
def environment(worker_environ, workplace):
    """Return the environment that `camfleet up` prints, and write it to the file of that."""
    names = ("CAMFLEET_", "AWS_")
    given = {name: text for name, text in worker_environ.items() if name.startswith(names)}
    (workplace / ".camfleet").mkdir()
    lines = [f"export {name}={shlex.quote(text)}\n" for name, text in given.items()]
    (workplace / ".camfleet" / "env").write_text("".join(lines))
    return given


@pytest.fixture(scope="module")
def encrypted(environment, workplace):
    """Give Redis over TLS, with a certificate of the authority in `own.pem`."""
    certificate = Authority(workplace).good()
    with TlsFront(environment["CAMFLEET_REDIS_URL"], certificate) as front:
        yield front


@pytest.fixture(scope="module")
def job(client, workplace):
    """Register the model of the documents' own card, and return a job's id that is complete."""
    for block in documents.blocks(ROOT / "docs" / "models.md"):
        if block.language == "toml":
            _use_toml(block, workplace)
    client.models.add(workplace / "flowers.toml", timeout=240)
    made = client.submit(workplace / "photos", models="flowers")
    assert made.wait(timeout=180).ok == 3
    return made.id


class Reader:
    """Somebody who does what a page says, in one terminal and one Python.

    To start Python for each command would take most of the time: a page that needs nothing of the
    terminal but `camfleet` gets that in this process, and others get what their terminal has found
    once as `helpers.commands` runs it, with the terminal's variables.
    """

    def __init__(self, place, environ, job):
        self.place = place
        self.names = {"JOB": job}
        self.python = {"__name__": "page"}
        self._needs_shell = False
        self._environ = None  # of the terminal, once that has found the command
        self._shell = subprocess.Popen(
            ["bash", "--norc", "--noprofile", "-o", "pipefail"],
            cwd=place,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command):
        """Run a command as the text has it; return its exit code and what it said."""
        bound = self.bound(command)
        words = shlex.split(bound, comments=True)
        code, said = self._run(words, bound)
        if "camfleet submit" in command and (found := JOB.search(said)):
            self.names["JOB"] = found[0]
        return code, said

    def bound(self, text):
        """Return a text with the documents' names replaced by those of real things."""
        for name, real in self.names.items():
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", real.replace("\\", r"\\"), text)
        return text

    def close(self):
        self._shell.stdin.close()
        self._shell.wait(10)
        self._shell.stdout.close()

    def _run(self, words, text):
        alone = words[0] == "camfleet" and not {"|", ">", "&&"} & set(words)
        self._needs_shell |= not alone
        if not self._needs_shell:
            return self._in_process(words[1:])
        if alone and self._environ:
            done = camfleet(*words[1:], environ=self._environ, cwd=self._environ["PWD"])
            return done.returncode, done.stdout + done.stderr
        code, said = self._in_shell(text)
        _, packed = self._in_shell("env --null | base64 --wrap=0; echo")
        named = (each.partition("=") for each in base64.b64decode(packed).decode().split("\0")[:-1])
        self._environ = {name: value for name, _, value in named} if alone else None
        return code, said

    def _in_process(self, words):
        done = CliRunner().invoke(group, words, prog_name="camfleet")
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.output

    def _in_shell(self, command):
        timer = threading.Timer(SECONDS, self._shell.kill)
        timer.start()
        self._shell.stdin.write(f"eval {shlex.quote(command)} </dev/null; echo {MARK} $?\n")
        self._shell.stdin.flush()
        said = []
        for line in self._shell.stdout:
            if line.startswith(MARK):
                timer.cancel()
                return int(line.split()[1]), "".join(said)
            said.append(line)
        raise AssertionError(f"{command}: no end within {SECONDS} s\n{''.join(said)}")


@pytest.fixture
def reader(worker_environ, environment, workplace, job, monkeypatch, page, encrypted):
    monkeypatch.chdir(workplace)
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    environ = dict(worker_environ)
    if page.name == "README.md":  # which says itself where the command and its environment are
        environ = {name: text for name, text in environ.items() if name not in environment}
    else:
        environ["PATH"] = f"{workplace / '.venv' / 'bin'}{os.pathsep}{environ['PATH']}"
    made = Reader(workplace, environ, job)
    made.names |= {
        "redis://:PASSWORD@redis.example:6379/0": environment["CAMFLEET_REDIS_URL"],
        "https://s3.example": environment["CAMFLEET_S3_ENDPOINT"],
        "my-bucket": environment["CAMFLEET_BUCKET"],
        "rediss://:PASSWORD@redis.example:6380/0": encrypted.through(
            environment["CAMFLEET_REDIS_URL"]
        ),
        "/etc/ssl/own-authority.pem": str(workplace / "own.pem"),
    }
    made.python |= _callback()
    yield made
    made.close()


def _callback():
    """Return what a receiver of a callback has: the secret, a signed body, and its headers."""
    from datetime import UTC, datetime

    secret, body, now = "whsec_" + "c2VjcmV0" * 4, '{"type": "job.complete"}', datetime.now(UTC)
    headers = {
        "webhook-id": "a",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("a", now, body),
    }
    return {"secret": secret, "body": body, "headers": headers}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_can_be_followed_to_its_end(page, reader):
    for block in documents.blocks(page):
        place = f"{name_of(page)}, line {block.line}"
        if block.language == "console":
            _follow(block, reader, place)
        elif block.language == "python":
            exec(compile(reader.bound(block.text), place, "exec"), reader.python)
        elif block.language == "toml":
            _use_toml(block, reader.place)
        elif block.language == "js":
            assert f'"{page.name}"' in BROWSER.read_text(), place
        else:
            assert block.language in SHOWN, place


def _follow(block, reader, place):
    """Run a block's commands; what stands below `$ cat FILE` is that file."""
    for command, below in _commands(block.text):
        if command.startswith("cat "):
            (reader.place / command.removeprefix("cat ")).write_text(below)
            continue
        assert not below, f"{place}: nothing compares what {command!r} prints: {below}"
        if _elsewhere(command):
            continue
        wanted = re.search(r"# exit code (\d)(:|$)", command)
        code, said = reader.run(command)
        assert code == int(wanted[1] if wanted else 0), f"{place}: {command}\n{said}"
        assert "Traceback" not in said, f"{place}: {command}\n{said}"


def _commands(text):
    """Yield each command of a block with the lines below it."""
    nothing, *pieces = re.split(r"^\$ ", text, flags=re.MULTILINE)
    assert not nothing, f"a block of commands begins with {nothing!r}"
    for piece in pieces:
        command, _, below = piece.partition("\n")
        yield command, below


def _elsewhere(command):
    plain = command.partition(" #")[0].strip()
    return [entry for entry in ELSEWHERE if re.fullmatch(entry[0], plain)]


def _use_toml(block, place):
    """Write a card under the name in its first line, or try its lines in a card."""
    name = re.match(r"# (\S+\.toml)\n", block.text)
    if name:
        (place / name[1]).write_text(block.text)
    card = {"id": "a", "artifact": "a.keras", "input": {"height": 1, "width": 1}}
    parse_card(tomli_w.dumps(card | tomllib.loads(block.text)), "of the documents")


@pytest.mark.parametrize("entry", ELSEWHERE, ids=lambda entry: entry[0])
def test_a_command_that_does_not_run_here_runs_where_it_is_said_to(entry):
    _, path, text = entry
    assert text in (ROOT / path).read_text()
    commands = [
        command
        for page in PAGES
        for block in documents.blocks(page)
        if block.language == "console"
        for command, _ in _commands(block.text)
    ]
    assert any(entry in _elsewhere(command) for command in commands), "no document has it any more"
