"""The fields of func.yaml that Knative's func defined, as its schema has them (func.yaml of spec 0.36).

Optional where existing projects leave them out; strict inside. What does not belong here: our own sections.
Source: knative/func schema/func_yaml-schema.json, pkg/functions/function.go.
"""

from typing import Literal

import msgspec

_Mapping = dict[str, str]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A mapping that takes the keys it names, and no others."""


class Env(_Section, frozen=True):
    """An environment variable.

    Attributes:
        name: Left out: `value` is a whole secret or config map, each of whose keys becomes a variable.
        value: Text, `{{ env:NAME }}`, `{{ secret:name:key }}`, `{{ configMap:name:key }}`, `{{ secret:name }}`.
    """

    name: str | None = None
    value: str | None = None


class Pair(_Section, frozen=True):
    """A label.

    Attributes:
        key: Its name.
        value: Its value.
    """

    key: str
    value: str | None = None


class Git(_Section, frozen=True):
    """Where a cluster takes the source from.

    Attributes:
        url: The repository.
        revision: Branch, tag or commit.
        context_dir: The function's folder in it.
    """

    url: str | None = None
    revision: str | None = None
    context_dir: str | None = None


class BuildVolume(_Section, frozen=True):
    """A folder of the host that the build sees.

    Attributes:
        host_path: On the host.
        path: In the build.
    """

    host_path: str
    path: str


class Build(_Section, frozen=True):
    """How the image is built.

    Attributes:
        git: Where a cluster takes the source from.
        builder: Of Knative's func.
        builder_images: By builder.
        buildpacks: Of Knative's func.
        build_envs: Environment of the build.
        pvc_size: Of a build on a cluster.
        remote_storage_class: Of a build on a cluster.
        base_image: What the function's layers are put on.
        volumes: Folders of the host that the build sees.
    """

    git: Git | None = None
    builder: str | None = None
    builder_images: _Mapping | None = None
    buildpacks: tuple[str, ...] | None = None
    build_envs: tuple[Env, ...] | None = None
    pvc_size: str | None = msgspec.field(default=None, name="pvcSize")
    remote_storage_class: str | None = None
    base_image: str | None = None
    volumes: tuple[BuildVolume, ...] | None = None


class Claim(_Section, frozen=True):
    """A persistent volume claim.

    Attributes:
        claim_name: The claim.
        read_only: Mounted without write access.
    """

    claim_name: str
    read_only: bool = False


class EmptyDir(_Section, frozen=True):
    """A fresh folder.

    Attributes:
        medium: Empty: the node's disk; `Memory`: tmpfs.
        size_limit: A quantity.
    """

    medium: Literal["", "Memory"] = ""
    size_limit: str | None = None


class Volume(_Section, frozen=True):
    """Something mounted into the function's container; exactly one of the four.

    Attributes:
        secret: Name of a secret.
        config_map: Name of a config map.
        persistent_volume_claim: A claim.
        empty_dir: A fresh folder.
        path: Where it is mounted.
    """

    secret: str | None = None
    config_map: str | None = None
    persistent_volume_claim: Claim | None = None
    empty_dir: EmptyDir | None = None
    path: str | None = None


class Kafka(_Section, frozen=True):
    """Knative's own Kafka transport, which is for Go functions.

    Attributes:
        brokers: Comma-separated.
        topic: Read from.
        consumer_group: Read as.
    """

    brokers: str
    topic: str
    consumer_group: str


class Run(_Section, frozen=True):
    """What the function's process gets.

    Attributes:
        volumes: Mounted into the container.
        envs: Environment variables.
        start_timeout: A function that is not ready after this has failed; `30s`, or nanoseconds.
        kafka: Refused: it is Knative's own transport, for Go functions.
    """

    volumes: tuple[Volume, ...] | None = None
    envs: tuple[Env, ...] | None = None
    start_timeout: int | str | None = None
    kafka: Kafka | None = None


class HealthEndpoints(_Section, frozen=True):
    """Paths of the probes.

    Attributes:
        liveness: `/health/liveness` unless given.
        readiness: `/health/readiness` unless given.
    """

    liveness: str | None = None
    readiness: str | None = None


class ScaleOptions(_Section, frozen=True):
    """Knative's spelling of `scale`.

    Attributes:
        min: `scale.minReplicaCount`.
        max: `scale.maxReplicaCount`; 0: no bound.
        metric: Of Knative's own autoscaler.
        target: Of Knative's own autoscaler.
        utilization: Of Knative's own autoscaler, percent.
    """

    min: int | None = None
    max: int | None = None
    metric: Literal["concurrency", "rps"] | None = None
    target: float | None = None
    utilization: float | None = None


class Requests(_Section, frozen=True):
    """Knative's spelling of `resources.requests`.

    Attributes:
        cpu: A quantity.
        memory: A quantity.
    """

    cpu: str | None = None
    memory: str | None = None


class ResourceLimits(_Section, frozen=True):
    """Knative's spelling of `resources.limits` and `concurrency.inFlight`.

    Attributes:
        cpu: A quantity.
        memory: A quantity.
        concurrency: `concurrency.inFlight`; 0: no bound.
    """

    cpu: str | None = None
    memory: str | None = None
    concurrency: int | None = None


class ResourceOptions(_Section, frozen=True):
    """Knative's spelling of `resources`.

    Attributes:
        requests: `resources.requests`.
        limits: `resources.limits` and `concurrency.inFlight`.
    """

    requests: Requests | None = None
    limits: ResourceLimits | None = None


class Options(_Section, frozen=True):
    """Knative's spelling of `scale`, `resources` and `concurrency`.

    Attributes:
        scale: `scale`.
        resources: `resources` and `concurrency.inFlight`.
    """

    scale: ScaleOptions | None = None
    resources: ResourceOptions | None = None


class Subscription(_Section, frozen=True):
    """A trigger of Knative Eventing.

    Attributes:
        source: The broker.
        filters: Attributes that events must have.
    """

    source: str
    filters: _Mapping | None = None


class Deploy(_Section, frozen=True):
    """Where and how the function runs on a cluster.

    Attributes:
        namespace: Where it was deployed last.
        image: What was deployed last.
        annotations: On the service.
        labels: On the service.
        health_endpoints: Paths of the probes.
        options: Knative's spelling of `scale`, `resources` and `concurrency`.
        service_account_name: What the function runs as.
        image_pull_secret: For a private registry.
        subscriptions: Triggers of Knative Eventing.
        deployer: What deployed it last.
        management_disabled: No `Function` resource for it.
    """

    namespace: str | None = None
    image: str | None = None
    annotations: _Mapping | None = None
    labels: tuple[Pair, ...] | None = None
    health_endpoints: HealthEndpoints | None = None
    options: Options | None = None
    service_account_name: str | None = None
    image_pull_secret: str | None = None
    subscriptions: tuple[Subscription, ...] | None = None
    deployer: Literal["knative", "raw", "keda"] | None = None
    management_disabled: bool | None = None


class Knative(_Section, frozen=True):
    """func.yaml as Knative's func has it.

    Attributes:
        spec_version: Of func.yaml's form, as Knative's func counts it.
        name: Lower-case letters, digits and `-`; the folder's name unless given.
        domain: Of the function's route.
        runtime: The language: `python`.
        registry: Where images go.
        registry_insecure: It speaks plain HTTP, or with a certificate that nobody signed.
        image: Of the function; registry and name unless given.
        namespace: To deploy to.
        created: When, RFC 3339.
        invoke: What a Knative handler is given.
        deployer: Of Knative's func.
        build: How the image is built.
        run: What the function's process gets.
        deploy: Where and how it runs on a cluster.
    """

    spec_version: str | None = None
    name: str | None = None
    domain: str | None = None
    runtime: Literal["python"] | None = None
    registry: str | None = None
    registry_insecure: bool | None = None
    image: str | None = None
    namespace: str | None = None
    created: str | None = None
    invoke: Literal["http", "cloudevent"] | None = None
    deployer: Literal["knative", "raw", "keda"] | None = None
    build: Build | None = None
    run: Run | None = None
    deploy: Deploy | None = None
