import json
import stat
from pathlib import Path

import pytest
import yaml
from support.func_cli import make_project

from headrace.func_cli.errors import MisuseError
from headrace.func_cli.project import Project
from headrace.func_cli.spec import Spec, slug, write_checked
from headrace.runtime import spec as runtime
from headrace.triggers.errors import HeadraceError, ReferenceMissing, SpecError
from headrace.triggers.units import Seconds

NATS = "triggers:\n- {name: t, kind: nats, stream: S, sink: out%s}\nbindings:\n  out: {kind: nats, subject: r.x%s}\n"


def load(tmp_path: Path, text: str, *overrides: str, local: str | None = None, embedded: bool = False) -> Spec:
    project = make_project(tmp_path / "detect", text)
    if local is not None:
        (project / "func.local.yaml").write_text(local)
    return Project(project).load(overrides, embedded=embedded)


def test_an_empty_file_is_an_http_function_named_as_its_folder(tmp_path: Path) -> None:
    spec = load(tmp_path, "")
    assert spec.name == spec.whole["name"] == "detect"
    assert [trigger.name for trigger in spec.runtime.triggers] == ["http"]
    assert (spec.envs, spec.needs_broker, spec.start_timeout_s) == ((), False, 60.0)


KNATIVE = """\
specVersion: 0.36
name: detect
domain: example.com
runtime: python
registry: ghcr.io/me
registryInsecure: false
image: ghcr.io/me/detect:latest
namespace: default
created: 2026-01-02T03:04:05.678+01:00
invoke: cloudevent
build:
  builder: pack
  builderImages: {pack: x}
  buildpacks: []
  buildEnvs: [{name: A, value: 1.10}]
  git: {url: "https://example.com/r.git", revision: main, contextDir: f}
  pvcSize: 256Mi
  volumes: [{hostPath: /a, path: /b}]
run:
  startTimeout: 30000000000
  envs:
  - name: PORT_NUMBER
    value: 8080
  - value: "{{ secret:all }}"
  volumes:
  - {secret: s, path: /s}
  - {persistentVolumeClaim: {claimName: c, readOnly: true}, path: /c}
  - {emptyDir: {medium: Memory, sizeLimit: 1Gi}, path: /e}
deploy:
  namespace: default
  image: ghcr.io/me/detect@sha256:0
  serviceAccountName: me
  annotations: {a: b}
  labels: [{key: a, value: true}, {key: b}]
  healthEndpoints: {liveness: /health/liveness, readiness: /health/readiness}
  subscriptions: [{source: default, filters: {type: a}}]
  options:
    scale: {min: 1, max: 3, metric: rps, target: 5.5, utilization: 70}
    resources:
      requests: {cpu: 100m, memory: 128Mi}
      limits: {cpu: "1", memory: 256Mi, concurrency: 8}
"""


def test_knatives_whole_file_is_read(tmp_path: Path) -> None:
    spec = load(tmp_path, KNATIVE)
    assert spec.runtime.invoke == "cloudevent"
    assert (spec.scaler.scale.min_replica_count, spec.scaler.scale.max_replica_count) == (1, 3)
    assert spec.scaler.resources.requests == {"cpu": "100m", "memory": "128Mi"}
    assert spec.scaler.resources.limits == {"cpu": "1", "memory": "256Mi"}
    assert spec.runtime.concurrency.in_flight == 8
    assert spec.start_timeout_s == 30.0
    assert spec.file.created == "2026-01-02T03:04:05.678+01:00"
    assert [(env.name, env.value) for env in spec.envs] == [("PORT_NUMBER", "8080"), (None, "{{ secret:all }}")]
    assert spec.file.build is not None
    assert [env.value for env in spec.file.build.build_envs or ()] == ["1.10"]


def test_knatives_zero_means_no_bound(tmp_path: Path) -> None:
    text = "deploy: {options: {scale: {min: 0, max: 0}, resources: {limits: {concurrency: 0}}}}"
    spec = load(tmp_path, text)
    assert (spec.scaler.scale.min_replica_count, spec.scaler.scale.max_replica_count) == (0, 20)
    assert spec.runtime.concurrency.in_flight == 256


def test_the_same_said_twice_alike(tmp_path: Path) -> None:
    text = "deploy: {options: {resources: {requests: {cpu: '1'}}}}\nresources: {requests: {cpu: 1000m}}"
    assert load(tmp_path, text).scaler.resources.requests == {"cpu": "1000m"}


MISTAKES = yaml.safe_load((Path(__file__).parents[2] / "fixtures" / "func_yaml" / "mistakes.yaml").read_text())


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake["text"].splitlines()[-1][:40])
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, mistake: dict[str, str]) -> None:
    with pytest.raises(SpecError, match=r".") as caught:
        load(tmp_path, mistake["text"])
    assert str(caught.value) == mistake["message"]


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    (project / "func.yaml").write_bytes(b"name: \xff")
    with pytest.raises(SpecError, match=r"expected UTF-8, got byte 0xff - at `func\.yaml`"):
        Project(project).load()


@pytest.mark.parametrize(
    "text", ["name: \x00", "name: !!int x", "name: !!python/name:os.system x", "x" * 2000 + ": : :"]
)
def test_yaml_that_no_reader_takes(tmp_path: Path, text: str) -> None:
    with pytest.raises(SpecError, match=r"expected valid YAML, got: .* - at `func\.yaml"):
        load(tmp_path, text)


def test_local_settings_lie_over_the_file(tmp_path: Path) -> None:
    triggers = "triggers:\n- {name: a, kind: http}\n- {name: b, kind: nats, stream: S, url: nats://far}\n"
    text = triggers + "scale: {maxReplicaCount: 9}"
    local = "triggers:\n- {name: b, url: null, ackWait: 2s}\nscale: {cooldownPeriod: 1s}\n"
    spec = load(tmp_path, text, local=local)
    assert spec.whole["triggers"][1] == {"name": "b", "kind": "nats", "stream": "S", "ackWait": "2s"}
    assert spec.scaler.scale.max_replica_count == 9
    assert spec.scaler.scale.cooldown_period == Seconds(1)
    assert spec.needs_broker


def test_a_mistake_in_the_local_file_is_named_there(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"at `\$\.scale\.minReplicaCount` \(func\.local\.yaml, line 2\)"):
        load(tmp_path, "name: a\nscale: {maxReplicaCount: 3}", local="scale:\n  minReplicaCount: -3")


def test_embedded_drops_every_url(tmp_path: Path) -> None:
    text = NATS % (", url: 'nats://a'", ", url: 'nats://b'")
    assert not load(tmp_path, text).needs_broker
    spec = load(tmp_path, text, embedded=True)
    assert spec.needs_broker
    assert "url" not in spec.whole["triggers"][0] | spec.whole["bindings"]["out"]


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("triggers.t.ackWait=5s", ("triggers", 0, "ackWait"), "5s"),
        ("triggers[0].ackWait=5s", ("triggers", 0, "ackWait"), "5s"),
        ("triggers.t.subjects=[a, b.>]", ("triggers", 0, "subjects"), ["a", "b.>"]),
        ("triggers.t.subjects[0]=z", ("triggers", 0, "subjects", 0), "z"),
        ("scale.maxReplicaCount=4", ("scale", "maxReplicaCount"), 4),
        ('resources.limits["nvidia.com/gpu"]=1', ("resources", "limits", "nvidia.com/gpu"), 1),
        ("resources.limits['nvidia.com/gpu']=1", ("resources", "limits", "nvidia.com/gpu"), 1),
        ("bindings.out.subject=a=b", ("bindings", "out", "subject"), "a=b"),
        ("bindings.out={kind: nats, subject: x}", ("bindings", "out"), {"kind": "nats", "subject": "x"}),
    ],
)
def test_overrides(tmp_path: Path, override: str, path: tuple[str | int, ...], value: object) -> None:
    at: object = load(tmp_path, NATS % (", subjects: [a]", ""), override).whole
    for step in path:
        at = at[step]  # type: ignore[index]
    assert at == value


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("x", "--set: expected `path=value`, got `x`"),
        ("=1", "--set: expected `path=value`, got `=1`"),
        ("a..b=1", "--set: expected `path=value`, got `a..b=1`"),
        ("triggers[5].x=1", "--set: expected an index below 1, got 5 - at `triggers[5].x=1`"),
        (
            "triggers.tt.x=1",
            "--set: expected a name in the list (there are: `t`), got `tt` (did you mean `t`?) - at `triggers.tt.x=1`",
        ),
        ("new[0].x=1", "--set: expected a list, got none - at `new[0].x=1`"),
        ("bindings[0]=1", "--set: expected a mapping or list before `0`, got `dict` - at `bindings[0]=1`"),
        ("bindings[0].x=1", "--set: expected a list before `0`, got `dict` - at `bindings[0].x=1`"),
        ("triggers.t.name.x.y=1", "--set: expected a mapping before `x`, got `str` - at `triggers.t.name.x.y=1`"),
    ],
)
def test_overrides_that_lead_nowhere(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(MisuseError, match=r"--set") as caught:
        load(tmp_path, NATS % ("", ""), override)
    assert str(caught.value) == message


def test_a_mistake_in_an_override_is_named_there(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"unknown key `x`.* - at `\$\.scale\.x` \(--set\)"):
        load(tmp_path, "", "scale.x=1")
    with pytest.raises(SpecError, match=r"expected valid YAML, got: .* - at `--set, line 1, column 3`"):
        load(tmp_path, "", "scale.x=[1")


def test_variables_of_the_command_line(tmp_path: Path) -> None:
    project = Project(make_project(tmp_path, "run: {envs: [{name: A, value: a}, {name: B, value: b}]}"))
    spec = project.load(envs=["A=x=y", "B-", "C="])
    assert project.environment(spec) == {"A": "x=y", "C": ""}
    assert project.environment(Project(make_project(tmp_path / "b")).load(envs=["A=1"])) == {"A": "1"}
    for wrong in ("A", "1=2", "-", "A B=1"):
        with pytest.raises(MisuseError, match=r"-e: expected `NAME=value` or `NAME-`, got"):
            project.load(envs=[wrong])


def test_variables_are_resolved_from_secrets(tmp_path: Path) -> None:
    first = "run:\n  envs:\n  - {name: A, value: 'x{{ env:HERE }}'}\n  - {value: '{{ secret:all }}'}\n"
    text = first + "  - {name: B, value: '{{ configMap:c:k }}'}\n  - name: N\n"
    project = Project(make_project(tmp_path, text))
    spec = project.load()
    with pytest.raises(ReferenceMissing, match=r"secret `all` is not there: expected files in the folder"):
        project.environment(spec, {"HERE": "1", "HEADRACE_CONFIG_C_K": "k"})
    folder = project.private / "secrets" / "all"
    folder.mkdir(parents=True)
    (folder / "USER").write_text("me\n")
    resolved = project.environment(spec, {"HERE": "1", "HEADRACE_CONFIG_C_K": "k"})
    assert resolved == {"A": "x1", "USER": "me", "B": "k"}


def test_the_checked_whole_is_private_and_reads_back(tmp_path: Path) -> None:
    spec = load(tmp_path, NATS % (", url: '{{ secret:a:b }}'", ""))
    path = write_checked(spec.whole, tmp_path / "spec.json")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text())["triggers"][0]["url"] == "{{ secret:a:b }}"
    assert runtime.read(path) == spec.runtime
    assert [entry.name for entry in tmp_path.glob(".*")] == []


def test_no_project(tmp_path: Path) -> None:
    with pytest.raises(MisuseError, match=r"expected a func\.yaml, got none - at"):
        Project(tmp_path)
    with pytest.raises(MisuseError, match=r"expected a func\.yaml, found nothing there - at") as caught:
        Project(tmp_path / "x")
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("func create ")


def test_a_project_is_found_by_its_file_too(tmp_path: Path) -> None:
    project = Project(make_project(tmp_path) / "func.yaml")
    assert project.path == tmp_path
    assert (project.private / ".gitignore").read_text() == "*\n"
    assert stat.S_IMODE(project.private.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("text", "name"), [("My Function_2", "my-function-2"), ("ähm", "hm"), ("---", "function"), ("a" * 70, "a" * 63)]
)
def test_names_from_folders(text: str, name: str) -> None:
    assert slug(text) == name


def test_aliases_of_aliases_are_bounded(tmp_path: Path) -> None:
    lines = ["a: &a [1,1,1,1,1,1,1,1,1,1]"]
    lines += [f"{n}: &{n} [{','.join([f'*{m}'] * 10)}]" for m, n in zip("abcdef", "bcdefg", strict=True)]
    with pytest.raises(SpecError, match=r"expected at most 100000 values, 100 deep"):
        load(tmp_path, "\n".join(lines))
    with pytest.raises(HeadraceError, match=r"expected at most 100000 values, 100 deep"):
        load(tmp_path, "a: &a [*a]")


def test_anchors_and_merges(tmp_path: Path) -> None:
    text = "scale: &s {maxReplicaCount: 3}\nresources: {requests: &r {cpu: 1}, limits: {<<: *r, memory: 1Gi}}"
    assert load(tmp_path, text).scaler.resources.limits == {"cpu": 1, "memory": "1Gi"}
