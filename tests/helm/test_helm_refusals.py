"""Values that helm refuses, each with a message that says what is wrong and what would be right."""

from pathlib import Path
from typing import Any

import pytest

from support.programs.helm import MINIMAL, merged, template

pytestmark = pytest.mark.real("helm")

SHA = f"sha256:{'a' * 64}"

CONTRADICTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "several replicas without a database": (
        {"replicas": 2},
        (
            "replicas is 2, and there is no database that the pods could share: each would probe everything, and "
            "notify. Set database.existingSecret, the name of a Secret with the URL of a PostgreSQL database, or "
            "replicas: 1. To probe from several places, install the chart once in each, with another region"
        ),
    ),
    "several replicas of a ConfigMap that exists, without a database": (
        {"replicas": 3, "existingConfigMap": "canaries", "config": None},
        (
            "replicas is 3, and there is no database that the pods could share: each would probe everything, and "
            "notify. Set database.existingSecret, the name of a Secret with the URL of a PostgreSQL database, or "
            "replicas: 1. To probe from several places, install the chart once in each, with another region"
        ),
    ),
    "database twice": (
        {"database": {"existingSecret": "db"}, "config": {"store": {"url_file": "/secrets-store/url"}}},
        (
            "config.store.url_file, and database.existingSecret is db: both say where the database is; remove one of "
            "them"
        ),
    ),
    "database and a claim": (
        {"database": {"existingSecret": "db"}, "persistence": {"existingClaim": "old"}},
        (
            "persistence.existingClaim is old, and the store is in the database of database.existingSecret; remove "
            "one of them. streamcanary migrate-store copies a store"
        ),
    ),
    "name of the replica": (
        {"database": {"existingSecret": "db"}, "config": {"store": {"replica": "a"}}},
        "config.store.replica: the chart sets it, to the name of the pod",
    ),
    "two regions": (
        {"region": "eu", "config": {"region": "us"}},
        "region is eu and config.region is us; remove one of them",
    ),
    "tag and digest": (
        {"image": {"tag": "0.1.0", "digest": SHA}},
        (
            f"image.tag is 0.1.0 and image.digest is {SHA}: nodes pull the digest and ignore the tag, so the two may "
            "disagree; remove one of them"
        ),
    ),
    "digest in the tag": (
        {"image": {"tag": f"0.1.0@{SHA}"}},
        f"image.tag is 0.1.0@{SHA}, with a digest; write the digest into image.digest, and leave image.tag empty",
    ),
    "tag in the repository": (
        {"image": {"repository": "registry.example:5000/canary:edge"}},
        (
            "image.repository is registry.example:5000/canary:edge, with a tag or a digest; write these into "
            "image.tag or image.digest"
        ),
    ),
    "unknown target": (
        {"config": {"canaries": {"chat": {"target": "opnai"}}}},
        "config.canaries.chat.target: there is no target 'opnai'; known: openai",
    ),
    "unknown target of a fallback": (
        {"config": {"canaries": {"chat": {"fallbacks": [{"target": "azure", "model": "m"}]}}}},
        "config.canaries.chat.fallbacks[0].target: there is no target 'azure'; known: openai",
    ),
    "no canaries": (
        {"config": {"canaries": None}},
        "config.canaries: needs at least one entry; config has to be a whole configuration (see README.md)",
    ),
    "configuration twice": (
        {"existingConfigMap": "canaries"},
        "both config and existingConfigMap (canaries) are set; remove one of them",
    ),
    "checksum of a ConfigMap that exists": (
        {"existingConfigMap": "canaries", "config": None, "reload": "checksum"},
        "reload is checksum with existingConfigMap, whose content the chart does not see; use reload: hot",
    ),
    "names for a ConfigMap that exists": (
        {"existingConfigMap": "canaries", "config": None, "web": {"allowedHosts": ["canary.example"]}},
        (
            "web.allowedHosts has no effect on the ConfigMap canaries; write the names into web.allowed_hosts of its "
            "configuration"
        ),
    ),
    "key that the Secret lacks": (
        {"secret": {"existing": None, "create": True, "data": {"azure": "k"}}},
        "config names the file /secrets/openai, and Secret canary-streamcanary has azure",
    ),
    "no Secret": (
        {"secret": {"existing": None}},
        (
            "config names the file /secrets/openai, and there is no Secret: set secret.existing, the name of one that "
            "you have created, or secret.create and secret.data"
        ),
    ),
    "variable that the Secret lacks": (
        {"secret": {"existing": None, "create": True, "data": {"openai": "k"}, "env": ["OPENAI_API_KEY"]}},
        "secret.env names OPENAI_API_KEY, and Secret canary-streamcanary has openai",
    ),
    "variable that the pod lacks": (
        {"config": {"instance": "$${NOT} ${REGION} ${ZONE:-a}"}},
        (
            "config uses the variable ${REGION}, which the pod does not have; add the key of a Secret to secret.env, "
            "or the variable to extraEnv; if something else sets it, write ${REGION:-DEFAULT}"
        ),
    ),
    "Secret twice": (
        {"secret": {"create": True, "data": {"openai": "k"}}},
        "secret.create is true and secret.existing is llm-keys; keep one of them",
    ),
    "data without a Secret": (
        {"secret": {"data": {"openai": "k"}}},
        "secret.data is not used without secret.create: true",
    ),
    "address in the configuration": (
        {"config": {"web": {"port": 8080}}},
        "config.web.port: the chart sets it; use the values web.host, web.port and web.tokenSecret",
    ),
    "path of the store": (
        {"config": {"store": {"path": "/data/x.db"}}},
        "config.store.path: the chart sets it; the value persistence says where the store is kept",
    ),
    "two monitors": (
        {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}},
        "podMonitor and serviceMonitor are both enabled: everything would be counted twice; enable one of them",
    ),
    "monitor of no Service": (
        {"service": {"enabled": False}, "serviceMonitor": {"enabled": True}},
        "serviceMonitor needs service.enabled: true; or use podMonitor",
    ),
    "budget that blocks drains": (
        {"podDisruptionBudget": {"enabled": True, "minAvailable": 1}},
        (
            "podDisruptionBudget.minAvailable is 1 with 1 replicas: no node with the pod could be drained; use "
            "maxUnavailable: 1"
        ),
    ),
    "percentage that blocks drains": (
        {"podDisruptionBudget": {"enabled": True, "minAvailable": "50%"}},
        (
            "podDisruptionBudget.minAvailable is 50% with 1 replicas: no node with the pod could be drained; use "
            "maxUnavailable: 1"
        ),
    ),
    "budget that allows nothing": (
        {"podDisruptionBudget": {"enabled": True, "maxUnavailable": 0}},
        "podDisruptionBudget.maxUnavailable is 0: no node with the pod could be drained; use maxUnavailable: 1",
    ),
    "budget that allows no part": (
        {"podDisruptionBudget": {"enabled": True, "maxUnavailable": "0%"}},
        "podDisruptionBudget.maxUnavailable is 0%: no node with the pod could be drained; use maxUnavailable: 1",
    ),
    **{
        f"budget of {replicas} that lets all pods go at once: {name} {value}": (
            {
                "replicas": replicas,
                "database": {"existingSecret": "db"},
                "podDisruptionBudget": {name: value},
            },
            (
                f"podDisruptionBudget.{name} is {value} with {replicas} replicas: all pods could be evicted at once, "
                "and nothing would run; use maxUnavailable: 1"
            ),
        )
        for replicas, name, value in (
            (2, "maxUnavailable", "100%"),
            (3, "maxUnavailable", "67%"),  # Kubernetes rounds up
            (3, "maxUnavailable", 3),
            (3, "maxUnavailable", 4),
            (3, "minAvailable", 0),
            (3, "minAvailable", "0%"),
        )
    },
    "scrape that takes longer than its interval": (
        {"podMonitor": {"enabled": True, "interval": "1m", "scrapeTimeout": "1m1s"}},
        ("podMonitor.scrapeTimeout is 1m1s, more than the interval of 1m: Prometheus would refuse it; lower it"),
    ),
    "loopback": (
        {"web": {"host": "127.0.0.1"}},
        (
            "web.host is 127.0.0.1: neither the probes of the kubelet nor Prometheus reach the loopback of the pod; "
            "use 0.0.0.0 or ::"
        ),
    ),
    "variable of the chart": (
        {"extraEnv": [{"name": "STREAMCANARY_WEB__PORT", "value": "1"}]},
        (
            "extraEnv has STREAMCANARY_WEB__PORT, which the chart sets; use the values web, persistence, database and "
            "config"
        ),
    ),
    "variable twice": (
        {"secret": {"env": ["A"]}, "extraEnv": [{"name": "A", "value": "1"}]},
        "secret.env has A, and so has extraEnv; keep one of them",
    ),
    "label of the selector": (
        {"podLabels": {"app.kubernetes.io/component": "x"}},
        "podLabels has app.kubernetes.io/component, by which the chart selects its objects; use another label",
    ),
    "CSI without a class": (
        {"csi": {"enabled": True}},
        "csi.enabled needs csi.secretProviderClass, the name of a SecretProviderClass",
    ),
}

WRONG_TYPES: dict[str, tuple[dict[str, Any], str]] = {
    "text for a number": ({"replicas": "one"}, "at '/replicas': got string, want integer"),
    "number for text": ({"image": {"tag": 1.2}}, "at '/image/tag': got number, want string"),
    "misspelt value": ({"podmonitor": {"enabled": True}}, "additional properties 'podmonitor' not allowed"),
    "misspelt value in a section": (
        {"persistence": {"enable": False}},
        "at '/persistence': additional properties 'enable' not allowed",
    ),
    "unknown choice": ({"reload": "warm"}, "at '/reload': value must be one of 'hot', 'checksum'"),
    "digest of another form": ({"image": {"digest": "md5:00"}}, "at '/image/digest': 'md5:00' does not match pattern"),
    "privileged port": ({"web": {"port": 80}}, "at '/web/port': minimum: got 80, want 1,024"),
    "label that is no text": ({"podLabels": {"tier": 1}}, "at '/podLabels/tier': got number, want string"),
    "variable without a name": ({"extraEnv": [{"value": "x"}]}, "at '/extraEnv/0': missing property 'name'"),
    "canary without a target": (
        {"config": {"canaries": {"chat": {"target": None}}}},
        "at '/config/canaries/chat': missing property 'target'",
    ),
    "misspelt key of a canary": (
        {"config": {"canaries": {"chat": {"evry": "30s"}}}},
        "at '/config/canaries/chat': additional properties 'evry' not allowed",
    ),
    "rule with a bad name": (
        {"config": {"alerts": {"rules": {"A{{x}}": {}}}}},
        "at '/config/alerts/rules': additional properties 'A{{x}}' not allowed",
    ),
    "canary with a bad name": (
        {"config": {"canaries": {"a chat": {"target": "openai", "model": "m"}}}},
        "at '/config/canaries': additional properties 'a chat' not allowed",
    ),
    "duration in words": (
        {"config": {"canaries": {"chat": {"every": "hourly"}}}},
        "/every': 'hourly' does not match pattern",
    ),
    "map instead of text": (
        {"config": {"canaries": {"chat": {"model": {"a": 1}}}}},
        "/model': got object, want string",
    ),
    "negative budget": ({"config": {"budget": {"usd_per_day": -1}}}, "/usd_per_day': exclusiveMinimum: got -1"),
    "unknown receiver": (
        {"config": {"alerts": {"receivers": {"x": {"type": "pager"}}}}},
        "/type': value must be one of 'pagerduty',",
    ),
    "variable that is no text": ({"extraEnv": [{"name": "A", "value": 1}]}, "at '/extraEnv/0/value': got number, want"),
    "port that is none": ({"database": {"port": 0}}, "at '/database/port': minimum: got 0, want 1"),
    "key of a Secret with a slash": ({"database": {"key": "a/b"}}, "at '/database/key': 'a/b' does not match pattern"),
    "unknown choice of a budget": (
        {"podDisruptionBudget": {"enabled": "always"}},
        "at '/podDisruptionBudget/enabled': value must be one of true, false, 'auto'",
    ),
    "short name of an access mode": (
        {"persistence": {"accessModes": ["RWO"]}},
        "at '/persistence/accessModes/0': value must be one of 'ReadWriteOnce', 'ReadWriteOncePod', 'ReadWriteMany'",
    ),
    "no size": ({"persistence": {"size": "0"}}, "at '/persistence/size': '0' does not match pattern"),
    "name in capitals": ({"fullnameOverride": "ABC"}, "at '/fullnameOverride': 'ABC' does not match pattern"),
    "name with a dot": ({"fullnameOverride": "a.b"}, "at '/fullnameOverride': 'a.b' does not match pattern"),
    "misspelt key of resources": (
        {"resources": {"limit": {"memory": "1Gi"}}},
        "at '/resources': additional properties 'limit' not allowed",
    ),
    "misspelt key of a probe": (
        {"livenessProbe": {"periodSecond": 5}},
        "at '/livenessProbe': additional properties 'periodSecond' not allowed",
    ),
    "size without a unit": ({"persistence": {"size": "1 GB"}}, "at '/persistence/size': '1 GB' does not match pattern"),
}


@pytest.mark.parametrize(("values", "message"), CONTRADICTIONS.values(), ids=list(CONTRADICTIONS))
def test_contradictions_are_refused(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    """The templates refuse values that contradict each other."""
    result = template(tmp_path, values=merged(MINIMAL, values))
    assert (1, [message]) == (result.code, problems(result.stderr))


@pytest.mark.parametrize(("values", "message"), WRONG_TYPES.values(), ids=list(WRONG_TYPES))
def test_wrong_types_are_refused(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    """The schema refuses values of a wrong type or name, with their place."""
    result = template(tmp_path, values=merged(MINIMAL, values))
    assert (1, True) == (result.code, message in result.stderr), result.stderr


@pytest.mark.parametrize(
    "reference",
    ["${HOSTNAME}", "${PATH}", "${KUBERNETES_SERVICE_HOST}", "${AZURE_TENANT_ID}", "${AWS_ROLE_ARN}", "${ZONE:-}"],
)
def test_variables_that_a_pod_has_without_the_chart(reference: str, tmp_path: Path) -> None:
    """The kubelet, the image and webhooks set variables, too; one with a default need not be set."""
    values = merged(MINIMAL, {"config": {"instance": f"canary-{reference}"}})
    assert (0, "") == template(tmp_path, values=values)[::2]


def test_all_contradictions_are_listed_at_once(tmp_path: Path) -> None:
    """A message has one line for each problem."""
    values = merged(
        MINIMAL, {"replicas": 3, "csi": {"enabled": True}, "config": {"canaries": {"chat": {"target": "x"}}}}
    )
    assert 3 == len(problems(template(tmp_path, values=values).stderr))


def problems(stderr: str) -> list[str]:
    """Return the problems in the message of the chart."""
    return [line.removeprefix("- ") for line in stderr.splitlines() if line.startswith("- ")]
