"""Real servers for the tests that ask for them: one stack for the whole session."""

import gc
import os
import random
from importlib.util import find_spec

import pytest

from camfleet.local.stack import LocalStack

# Tests that may pass at the second try only: a busy machine starves one now and then.
MOST_RERUN = 3

# JAX has an environment of its own, in which `make test` runs these.
collect_ignore = [] if find_spec("jax") else ["on_jax"]


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Have the garbage collector pass over what stays: TensorFlow, and ten thousand tests."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_sessionfinish(session, exitstatus):
    """Fail where more tests passed at the second try than chance explains."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    rerun = len(reporter.stats.get("rerun", ())) if reporter else 0
    if exitstatus == pytest.ExitCode.OK and rerun > MOST_RERUN:
        reporter.write_line(f"\n{rerun} tests failed at the first try; at most {MOST_RERUN} may.")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True)
def _repeatable(request):
    """Seed what Keras draws its weights with: a test that fails once fails again."""
    random.seed(request.node.nodeid)


@pytest.fixture(scope="session")
def stack(tmp_path_factory):
    """Start Valkey and SeaweedFS, no worker; boto3 finds what it needs in os.environ."""
    with (
        LocalStack(tmp_path_factory.mktemp("stack"), worker=False) as started,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name in [each for each in os.environ if each.startswith(("AWS_", "CAMFLEET_"))]:
            patch.delenv(name)
        for name, value in started.environ.items():
            if not name.startswith("CAMFLEET_"):
                patch.setenv(name, value)
        yield started


@pytest.fixture(scope="session")
def settings(stack):
    return stack.settings


@pytest.fixture(scope="session")
def environ(stack):
    """Give the environment of a child process that shall use the stack."""
    return {**os.environ, **stack.environ}
