"""Values that an operator may get wrong: what helm says of them."""

import json
import re

import pytest

from helpers.charts import Refused, lint, pods, render, validated

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
    ("--set-string", "cpu.bf16=false", "got string, want boolean"),
    ("--set-string", "cpu.maxUnavailable=1", "pattern"),
    ("--set-json", "cpu.replicas=1e20", "maximum"),
    ("--set-json", "cpu.replicas=2.5", "got number, want integer"),
    ("--set-json", "cpu.image.tag=1.10", "got number, want string"),
    ("--set", "cpu.nodeSelector.gpu=true", "got boolean, want string"),
    ("--set", "redis.sentinel.hosts[0]=x:99999", "pattern"),
    ("--set", "s3.endpoint=https://x:99999", "pattern"),
    ("--set", "redis.existingSecret=a..b", "pattern"),
    ("--set", f"redis.existingSecret={'a' * 254}", "maxLength"),
    ("--set", "redis.keyPrefix=a b:", "pattern"),
    ("--set", "bucket=a..b", "pattern"),
    ("--set", "cpu.image.repository=camfleet-worker:0.2.0", "pattern"),
    ("--set", "cpu.image.repository=images.example/Camfleet", "pattern"),
    ("--set", "gateway.hostNames[0]=Camfleet.example.org", "pattern"),
    ("--set", "gateway.allowOrigins[0]=https://app.example/", "pattern"),
    ("--set-json", "networkPolicy.redis=[{}]", "minProperties"),
    ("--set", f"monitoring.labels.release={'a' * 64}", "pattern"),
    ("--set", "settings.CAMFLEET_BATCH_SIZE[0]=1", "got array"),
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
        ["gateway.ingress.enabled=true", "gateway.enabled=false"],
        "gateway.ingress.enabled is true and gateway.enabled isn't",
    ),
    (["cpu.volumes[0].name=models"], 'cpu.volumes: there is a volume named "models" already'),
    (["cpu.volumeMounts[0].name=x"], 'there is no volume named "x" in cpu.volumes'),
    (
        ["scaling.enabled=true", "scaling.prometheus=http://x", "cpu.scaling.min=11"],
        "cpu.scaling.min is 11, more than cpu.scaling.max, which is 10",
    ),
]


@pytest.mark.parametrize(("words", "said"), MISSING, ids=[" ".join(each[0]) for each in MISSING])
def test_what_is_missing_is_a_sentence_with_the_way_out(words, said):
    with pytest.raises(Refused, match=re.escape(said)):
        render("least", *(word for each in words for word in ("--set", each)))


@pytest.mark.parametrize(
    "path",
    [
        *("cpu", "gpu", "gateway", "redis.sentinel", "s3", "scaling", "cpu.resources", "setup"),
        *("redis.user", "redis.port", "s3.endpoint", "redis.sentinel.hosts", "cpu.stopSeconds"),
    ],
)
def test_an_empty_value_that_takes_a_default_away_is_named(path):
    with pytest.raises(Refused, match=f"missing property '{path.rpartition('.')[2]}'"):
        render("least", "--set", f"{path}=null")


@pytest.mark.parametrize(
    "words",
    [
        ["gateway.enabled=false"],
        ["cpu.enabled=false"],
        ["cpu.enabled=false", "gateway.enabled=false", "setup.enabled=false"],
        ["cpu.enabled=false", "scaling.enabled=true", "scaling.prometheus=http://x"],
        ["settings=null", "secretSettings=null", "cpu.settings=null", "cpu.tolerations=null"],
        ["cpu.resources.limits=null", "gateway.resources.requests=null"],
        ["networkPolicy.redis=null", "networkPolicy.metricsFrom=null"],
        ["serviceAccount.name=" + "a" * 63, "redis.existingSecret=" + "a" * 63],
        ["settings.CAMFLEET_BATCH_SIZE=99999999999999", "redis.keyPrefix=" + "x" * 300 + ":"],
        ["cpu.modelSpace=21474836480", "cpu.resources.limits.memory=99999999999999999999"],
        ["cpu.image.repository=localhost:5000/camfleet/worker"],
        [
            *("redis.host=", "redis.tls=true", "redis.sentinel.master=m", "scaling.enabled=true"),
            *("redis.sentinel.hosts={a:26379,b:26379,a:26379}", "scaling.prometheus=http://x"),
        ],
    ],
    ids=lambda words: words[0][:40],
)
def test_odd_values_that_are_right_render_valid_manifests(words):
    assert render("least", *(word for each in words for word in ("--set", each)))


@pytest.mark.parametrize("release", ["a.b", "1st", "camfleet.prod", "x" * 53, f"{'x' * 39}--yy"])
def test_every_name_of_a_release_makes_names_that_kubernetes_takes(release):
    for each in render("most", "--set", "monitoring.podMonitor=true", release=release):
        name = each["metadata"]["name"]
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name), each["kind"]
        assert len(name) <= 63


@pytest.mark.parametrize(
    ("off", "image"),
    [([], "gateway"), (["gateway"], "worker"), (["gateway", "cpu"], "worker-gpu")],
    ids=["all", "no gateway", "GPUs alone"],
)
def test_the_setup_runs_in_an_image_that_is_there_anyway(off, image):
    words = [word for part in off for word in ("--set", f"{part}.enabled=false")]
    made = render("least", *words, "--set", f"gpu.enabled={'true' if 'cpu' in off else 'false'}")
    (container,) = pods(made)["setup-1"]["containers"]
    assert container["image"].startswith(f"camfleet-{image}:")


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
