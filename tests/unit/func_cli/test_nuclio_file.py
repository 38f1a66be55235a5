from pathlib import Path

import pytest
from support.func_cli import make_project

from headrace.func_cli.project import Project
from headrace.triggers.errors import SpecError
from headrace.triggers.units import Bytes, Seconds

WHOLE = """\
apiVersion: nuclio.io/v1
kind: NuclioFunction
metadata: {name: resize, namespace: nuclio}
spec:
  handler: main:handler
  runtime: python:3.11
  description: whatever
  minReplicas: 1
  maxReplicas: 4
  eventTimeout: 20s
  env:
  - {name: MODE, value: fast}
  - name: TOKEN
    valueFrom: {secretKeyRef: {name: api, key: token}}
  - name: SIZE
    valueFrom: {configMapKeyRef: {name: sizes, key: big}}
  resources: {limits: {nvidia.com/gpu: 1}, claims: []}
  build: {commands: [pip install pillow]}
  triggers:
    web:
      kind: http
      numWorkers: 4
      attributes: {maxRequestBodySize: 1048576}
    old: {kind: http, disabled: true}
"""


def project(tmp_path: Path, text: str) -> Project:
    return Project(make_project(tmp_path / "f", text, "function.yaml"))


def test_what_it_says_of_the_function_is_read(tmp_path: Path) -> None:
    spec = project(tmp_path, WHOLE).load()
    assert (spec.name, spec.runtime.handler) == ("resize", "main:handler")
    assert [trigger.name for trigger in spec.runtime.triggers] == ["web"]
    assert spec.runtime.concurrency.threads == 4
    assert spec.runtime.limits.handler_timeout == Seconds(20)
    assert spec.runtime.limits.max_body == Bytes(1048576)
    assert (spec.scaler.scale.min_replica_count, spec.scaler.scale.max_replica_count) == (1, 4)
    assert spec.scaler.resources.limits == {"nvidia.com/gpu": 1}
    assert [(env.name, env.value) for env in spec.envs] == [
        ("MODE", "fast"), ("TOKEN", "{{ secret:api:token }}"), ("SIZE", "{{ configMap:sizes:big }}")
    ]  # fmt: skip


def test_without_triggers_it_takes_http(tmp_path: Path) -> None:
    spec = project(tmp_path, "spec: {handler: handler}\n").load  # no file yet to find `handler` in
    with pytest.raises(SpecError, match=r"expected `module:function` \(there are 0 Python files\), got `handler`"):
        spec()
    (tmp_path / "f" / "resize.py").write_text("")
    loaded = spec()
    assert (loaded.name, loaded.runtime.handler) == ("f", "resize:handler")
    assert [trigger.name for trigger in loaded.runtime.triggers] == ["http"]


def test_func_yaml_is_preferred(tmp_path: Path) -> None:
    made = project(tmp_path, WHOLE)
    make_project(made.path, "name: ours")
    assert Project(made.path).load().name == "ours"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: Deployment", "expected `NuclioFunction`, got `Deployment` - at `$.kind` (function.yaml, line 1)"),
        ("spec: {runtime: golang}", "expected `python`, got `golang` - at `$.spec.runtime` (function.yaml, line 1)"),
        (
            "spec:\n  triggers:\n    k:\n      kind: kafka-cluster",
            "expected `http`, got `kafka-cluster` - at `$.spec.triggers.k.kind` (function.yaml, line 4)",
        ),
        (
            "spec: {triggers: {k: {}}}",
            "expected `http`, got nothing - at `$.spec.triggers.k.kind` (function.yaml, line 1)",
        ),
        ("spec: {env: {a: b}}", "expected `array`, got `object` - at `$.run.envs` (function.yaml, line 1)"),
        ("spec: {env: [a]}", "expected `object`, got `str` - at `$.run.envs[0]` (function.yaml, line 1)"),
        ("spec: {resources: 1}", "expected `object`, got `int` - at `$.resources` (function.yaml, line 1)"),
        ("spec:\n  minReplicas: x", "expected `int`, got `str` - at `$.scale.minReplicaCount` (function.yaml, line 2)"),
    ],
)
def test_what_cannot_be_taken_over_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SpecError, match=r".") as caught:
        project(tmp_path, text).load()
    assert str(caught.value) == message
