"""Values that an operator may get wrong: what helm says of them."""

import json
import re

import pytest

from helpers.charts import Refused, lint, render, validated

pytestmark = pytest.mark.charts


@pytest.mark.parametrize("values", ["least", "most"])
def test_helm_has_nothing_against_the_chart(values):
    assert "0 chart(s) failed" in lint(values)


@pytest.mark.parametrize("kubernetes", ["1.27", "1.37"])
@pytest.mark.parametrize("values", ["least", "most"])
def test_what_is_rendered_is_valid_in_the_oldest_and_the_newest_kubernetes(values, kubernetes):
    assert render(values, kubernetes=kubernetes)


MISSPELT = [
    "replica=3",
    "cpu.replica=3",
    "cpu.scaling.maximum=3",
    "gpu.image.name=x",
    "gateway.hostnames[0]=x",
    "redis.password=secret",
    "redis.sentinel.name=x",
    "s3.accessKey=secret",
    "cpu.resources.limit.memory=1Gi",
    "settings.CAMFLEET_BATCHSIZE=8",
    "settings.CAMFLEET_REDIS_URL=redis://x",
    "settings.CAMFLEET_SIGNING_KEY=secret",
    "secretSettings.CAMFLEET_SIGNING_KEY.name=x",
    "networkPolicy.redis[0].namespaces=x",
]


@pytest.mark.parametrize("word", MISSPELT)
def test_a_misspelt_key_is_refused_by_its_name(word):
    name = re.split(r"[.=\[]", word)
    with pytest.raises(Refused, match=r"(?i)additional properties|not allowed") as said:
        render("least", "--set", word)
    assert any(part in str(said.value) for part in name)


ODD = [
    ("--set-string", "cpu.replicas=3", "got string, want integer"),
    ("--set-string", "redis.port=6379", "got string, want integer"),
    ("--set-string", "gateway.enabled=true", "got string, want boolean"),
    ("--set", "cpu.replicas=-1", "minimum"),
    ("--set", "cpu.scaling.max=0", "minimum"),
    ("--set", "redis.host=redis://x", "pattern"),
    ("--set", "redis.keyPrefix=prod", "pattern"),
    ("--set", "redis.sentinel.hosts[0]=x", "pattern"),
    ("--set", "s3.endpoint=https://key:secret@x", "pattern"),
    ("--set", "cpu.modelSpace=20GB", "pattern"),
    ("--set", "cpu.image.digest=latest", "pattern"),
    ("--set", "gateway.rootPath=camfleet/", "pattern"),
]


@pytest.mark.parametrize(("option", "word", "said"), ODD, ids=[each[1] for each in ODD])
def test_a_value_that_cannot_be_right_is_refused(option, word, said):
    with pytest.raises(Refused, match=said):
        render("least", option, word)


MISSING = [
    (["bucket="], "name the bucket"),
    (["s3.existingSecret="], "name a Secret of this namespace with the keys AWS_ACCESS_KEY_ID and"),
    (["redis.existingSecret="], "has Redis' password under the key password"),
    (["redis.host="], "name Redis' host, such as redis.data.svc, or its sentinels"),
    (["s3.fromServiceAccount=true"], "exclude each other"),
    (["redis.sentinel.hosts[0]=a:1"], "exclude each other"),
    (["redis.host=", "redis.sentinel.hosts[0]=a:1"], "the name by which the sentinels watch"),
    (["scaling.enabled=true"], "KEDA needs Prometheus' address"),
    (["gateway.hostNames=null"], "name the hosts under which the gateway is reached"),
    (["gateway.ingress.enabled=true"], "name a Secret with the certificate"),
    (
        ["scaling.enabled=true", "scaling.prometheus=http://x", "cpu.scaling.min=11"],
        "cpu.scaling.min is 11, more than cpu.scaling.max, which is 10",
    ),
]


@pytest.mark.parametrize(("words", "said"), MISSING, ids=[" ".join(each[0]) for each in MISSING])
def test_what_is_missing_is_a_sentence_with_the_way_out(words, said):
    with pytest.raises(Refused, match=re.escape(said)):
        render("least", *(word for each in words for word in ("--set", each)))


WRONG = [
    ("scaleTargetRef", "scaleTarget"),
    ("minReplicaCount", "minReplicas"),
    ("listLength", "length"),
    ("secretTargetRef", "secretRef"),
    ("podMetricsEndpoints", "endpoints"),
    ("readOnlyRootFilesystem", "readOnlyRoot"),
    ("unhealthyPodEvictionPolicy", "unhealthyPolicy"),
]


@pytest.mark.parametrize(("right", "wrong"), WRONG, ids=[each[1] for each in WRONG])
def test_the_schemas_here_notice_a_key_that_a_template_misspells(right, wrong):
    made = json.dumps(render("most"))
    assert f'"{right}":' in made
    documents = json.loads(made.replace(f'"{right}":', f'"{wrong}":'))
    with pytest.raises(Refused, match=wrong):
        validated("\n---\n".join(map(json.dumps, documents)))
