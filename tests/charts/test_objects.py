"""What stands around the chart's pods: scaling, budgets, network policies, the way in."""

import pytest

from camfleet.broker import keys
from camfleet.contract import lanes
from helpers.charts import environment, notes, of_kind, pods, render

pytestmark = pytest.mark.charts

SCALED = ("--set", "scaling.enabled=true", "--set", "scaling.prometheus=http://p:9090")


def lists(scaled):
    """Return the keys in Redis that a scaled object looks at."""
    return {
        each["metadata"]["listName"] for each in scaled["triggers"] if each["type"] != "prometheus"
    }


def test_replicas_may_be_0_and_are_kedas_where_it_scales():
    stopped = render("least", "--set", "cpu.replicas=0", "--set", "gateway.replicas=0")
    assert {each["replicas"] for each in of_kind(stopped, "Deployment").values()} == {0}
    scaled = render("least", *SCALED)
    assert "replicas" not in of_kind(scaled, "Deployment")["worker-cpu"]
    assert of_kind(scaled, "Deployment")["gateway"]["replicas"] == 2


def test_each_pool_of_workers_is_scaled_within_its_bounds():
    found = of_kind(render("most"), "ScaledObject")
    bounds = {name: (at["minReplicaCount"], at["maxReplicaCount"]) for name, at in found.items()}
    assert bounds == {"worker-cpu": (1, 10), "worker-gpu": (0, 4)}
    assert [at["scaleTargetRef"]["name"] for at in found.values()] == [
        "x-camfleet-worker-cpu",
        "x-camfleet-worker-gpu",
    ]


def test_the_first_worker_is_woken_by_every_queue_that_it_takes_and_by_leases():
    prefix = "prod:"
    found = of_kind(render("most"), "ScaledObject")
    assert lists(found["worker-gpu"]) == {prefix + name for name in (*keys.QUEUES, keys.LEASES)}
    assert lists(found["worker-cpu"]) == {
        prefix + name for name in (*lanes.queues_in("float32"), keys.LEASES)
    }


def test_without_a_prefix_the_queues_have_their_own_names():
    found = of_kind(render("least", *SCALED), "ScaledObject")
    assert keys.LEASES in lists(found["worker-cpu"])


@pytest.mark.parametrize(
    ("words", "series"),
    [
        (["monitoring.podMonitor=true"], '{fleet="ns/x"}'),
        (['scaling.selector=namespace="y"'], '{namespace="y"}'),
        ([], "{}"),
    ],
)
def test_keda_asks_for_the_series_of_this_fleet(words, series):
    given = [word for each in words for word in ("--set", each)]
    scaled = of_kind(render("least", *SCALED, *given), "ScaledObject")["worker-cpu"]
    query = scaled["triggers"][0]["metadata"]["query"]
    assert query == f"max(camfleet_chunks_to_run{series}) + max(camfleet_leases{series})"


def test_keda_reaches_redis_as_workers_do():
    manifests = render("most")
    url = environment(pods(manifests)["worker-cpu"])["CAMFLEET_REDIS_URL"]
    for scaled in of_kind(manifests, "ScaledObject").values():
        for trigger in scaled["triggers"][1:]:
            asked = trigger["metadata"]
            assert trigger["type"] == "redis-sentinel"
            assert asked["addresses"].replace(",", ";") in url
            assert (asked["enableTLS"], asked["databaseIndex"]) == ("true", "0")
            assert trigger["authenticationRef"] == {"name": "x-camfleet-redis"}


def test_nothing_that_fails_while_redis_is_away_is_replaced_by_a_number():
    for scaled in of_kind(render("most"), "ScaledObject").values():
        assert "fallback" not in scaled


def test_without_scaling_nothing_of_keda_is_rendered():
    assert "keda" not in str(render("least"))


@pytest.mark.parametrize("values", ["least", "most"])
def test_every_deployment_has_a_budget_and_every_pod_a_network_policy(values):
    manifests = render(values)
    selected = {
        kind: [
            (spec.get("selector") or spec["podSelector"])["matchLabels"]
            for spec in of_kind(manifests, kind).values()
        ]
        for kind in ("PodDisruptionBudget", "NetworkPolicy", "Deployment")
    }
    for labels in selected["Deployment"]:
        assert labels in selected["PodDisruptionBudget"]
    made = [each for each in manifests if each["kind"] in ("Deployment", "Job")]
    for each in made:
        labels = each["spec"]["template"]["metadata"]["labels"].items()
        assert [only for only in selected["NetworkPolicy"] if only.items() <= labels]


def test_selectors_of_pools_meet_no_other_pods():
    deployments = [each for each in render("most") if each["kind"] in ("Deployment", "Job")]
    for one in deployments:
        if one["kind"] == "Deployment":
            chosen = one["spec"]["selector"]["matchLabels"].items()
            labels = [at["spec"]["template"]["metadata"]["labels"] for at in deployments]
            assert sum(chosen <= each.items() for each in labels) == 1


def ports(policy, way):
    return {port["port"] for rule in policy[way] for port in rule["ports"]}


def test_policies_open_what_each_pod_needs_and_nothing_else():
    found = of_kind(render("most"), "NetworkPolicy")
    base = {53, 6379, 26379, 9000, 443}
    assert {name: ports(each, "egress") for name, each in found.items()} == {
        "setup": base,
        "gateway": base,
        "worker-cpu": base | {80},
        "worker-gpu": base | {80},
    }
    assert {name: ports(each, "ingress") for name, each in found.items()} == {
        "setup": set(),
        "gateway": {8100, 9465},
        "worker-cpu": {9464},
        "worker-gpu": {9464},
    }
    for policy in found.values():
        assert all(rule["from"] for rule in policy["ingress"])
        assert policy["policyTypes"] == ["Ingress", "Egress"]


def test_peers_that_are_taken_away_let_nobody_in():
    words = ("--set", "networkPolicy.metricsFrom=null", "--set", "networkPolicy.gatewayFrom=null")
    for policy in of_kind(render("least", *words), "NetworkPolicy").values():
        assert policy["ingress"] == []


@pytest.mark.parametrize(
    ("endpoint", "port"),
    [("", 443), ("https://s3.example", 443), ("http://s3.data.svc", 80), ("http://s3:8333/", 8333)],
)
def test_the_stores_port_is_that_of_its_endpoint(endpoint, port):
    made = render("least", "--set", f"s3.endpoint={endpoint}")
    assert ports(of_kind(made, "NetworkPolicy")["worker-cpu"], "egress") == {53, 6379, port}


def test_the_way_in_is_tls_under_the_names_that_the_gateway_answers_to():
    manifests = render("most")
    ingress = of_kind(manifests, "Ingress")["gateway"]
    names = ["camfleet.example.org", "camfleet.internal"]
    assert ingress["tls"] == [{"secretName": "camfleet-tls", "hosts": names}]
    assert [rule["host"] for rule in ingress["rules"]] == names
    (gateway,) = pods(manifests)["gateway"]["containers"]
    assert [arg for arg in gateway["args"] if "host-name" in arg] == [
        f"--host-name={name}" for name in names
    ]
    assert "--behind-tls" in gateway["args"]


def test_a_fleet_may_be_workers_alone_or_gateways_alone():
    alone = render("least", "--set", "gateway.enabled=false", "--set", "setup.enabled=false")
    assert set(pods(alone)) == {"worker-cpu"}
    assert set(pods(render("least", "--set", "cpu.enabled=false"))) == {"gateway", "setup-1"}


def test_the_notes_say_how_to_get_in():
    said = notes("most")
    assert "https://camfleet.example.org/camfleet/" in said
    assert "camfleet tokens create --owner YOU" in said
    assert "get scaledobjects" in said
    assert "port-forward service/x-camfleet-gateway 8100:80" in notes("least")
