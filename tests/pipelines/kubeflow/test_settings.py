"""What `kubeflow` settings may be: both sides of every rule, on the way that `--set` takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import settings
from pipelines.kubeflow.names import RESERVED_CLAIMS, RESERVED_PATHS, RESERVED_PREFIXES, RESERVED_VARIABLES
from pipelines.settings import SettingsError, load

DIGEST = "a" * 64
LONG = "a" * 64

# The limits of the whole tree lie above those of a single setting that a test changes.
ROOMY = "kubeflow.steps={Trainer: {memory_limit: 1Ti}}"


@pytest.mark.parametrize(
    "override",
    [
        f"kubeflow.images.cpu=catsdogs@sha256:{DIGEST}",
        f"kubeflow.images.gpu=localhost:5000/team/catsdogs:1.0@sha256:{DIGEST}",
        "kubeflow.images.pull_secrets=[registry.example.com]",
        f"kubeflow.images.cpu=my-registry.example.com:5000/a_b/c--d/e.f__g:V1.0_x@sha256:{DIGEST}",
        "kubeflow.pipeline_root=minio://mlpipeline/v2/artifacts",
        "kubeflow.pipeline_root=s3://bucket",
        "kubeflow.pipeline_root=gs://bucket/a/b/",
        "kubeflow.artifact_store.endpoint=minio-service.kubeflow:9000",
        "kubeflow.artifact_store.endpoint=s3.eu-central-1.amazonaws.com",
        "kubeflow.artifact_store.region=eu-central-1",
        "kubeflow.beam_args=[--runner=DataflowRunner, --no_use_public_ips, '--labels=a=b']",
        "kubeflow.step_defaults={cpu_request: 500m, cpu_limit: 0.5, memory_request: 1Gi, memory_limit: 1Gi}",
        "kubeflow.steps.BlessedModelLookup.retries=0",
        "kubeflow.steps.Pusher.timeout_seconds=1",
        "kubeflow.gpu={type: amd.com/gpu, count: 8}",
        "kubeflow.gpu.node_selector={cloud.google.com/gke-accelerator: nvidia-l4, pool: '', a_B.c: A_b.1}",
        "kubeflow.gpu.tolerations=[{operator: Exists}]",
        "kubeflow.gpu.tolerations=[{key: nvidia.com/gpu, operator: Equal, value: yes1, effect: NoExecute}]",
        "kubeflow.shared_memory=8Gi",
        "kubeflow.volumes=[{claim: 0-state, mount_path: /state}, {claim: data, mount_path: /state/pictures}]",
        f"kubeflow.volumes=[{{claim: {LONG[:63]}, mount_path: /minio-data}}]",
        "kubeflow.secrets=[{name: my.secret-1, env: {AWS_ACCESS_KEY_ID: access.key_1, _b: -c}}]",
        "kubeflow.retry={backoff_seconds: 0, backoff_factor: 1}",
        "kubeflow.retry.backoff_factor=3.0",
        "kubeflow={step_defaults: {retries: 100}, retry: {backoff_seconds: 3600, backoff_factor: 1}}",
        "kubeflow={step_defaults: {retries: 14}, retry: {backoff_seconds: 30, backoff_factor: 2}}",
        "kubeflow.steps.Trainer.timeout_seconds=2592000",
        "kubeflow.secrets=[{name: s, env: {MY_PATH: k, PATHS: l, KFP: m, AWS_REGION: n}}]",
    ],
)
def test_what_the_cluster_takes(override: str, tmp_path: Path) -> None:
    loaded = load(overrides=[ROOMY, override])
    assert loaded != load()
    file = tmp_path / "settings.yaml"
    file.write_text(settings.dump(loaded))
    assert load(str(file)) == loaded


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        # images
        (
            "kubeflow.images.cpu=r.example/catsdogs:latest",
            "kubeflow.images.cpu: 'r.example/catsdogs:latest' does not name one image for good",
        ),
        (
            f"kubeflow.images.gpu=catsdogs@sha256:{DIGEST[:63]}",
            "name it by its digest, REGISTRY/NAME@sha256:….",
        ),
        (
            f"kubeflow.images.gpu=Catsdogs@sha256:{DIGEST}",
            f"'Catsdogs@sha256:{DIGEST}' is not the name of an image: before the digest, it must be small",
        ),
        (f"kubeflow.images.gpu=r.example/Team/catsdogs@sha256:{DIGEST}", "is not the name of an image"),
        (f"kubeflow.images.gpu=kätzchen@sha256:{DIGEST}", "is not the name of an image"),
        (f"kubeflow.images.gpu=r.example//catsdogs@sha256:{DIGEST}", "is not the name of an image"),
        (f"kubeflow.images.gpu=r.example:x/catsdogs@sha256:{DIGEST}", "is not the name of an image"),
        (f"kubeflow.images.gpu=catsdogs:@sha256:{DIGEST}", "is not the name of an image"),
        (f"kubeflow.images.gpu=catsdogs@sha256:{DIGEST[:-1]}A", "does not name one image for good"),
        (f"kubeflow.images.gpu=a@b@sha256:{DIGEST}", "does not name one image for good"),
        (
            "kubeflow.images.pull_secrets=[Registry]",
            "images.pull_secrets.0: 'Registry' is not the name of a secret",
        ),
        # the store
        ("kubeflow.pipeline_root=/var/artifacts", "'/var/artifacts' is not a place that KFP can write to"),
        (
            "kubeflow.pipeline_root=hdfs://a/b",
            "it must be minio://BUCKET/FOLDER, s3://BUCKET/FOLDER or gs://BUCKET",
        ),
        ("kubeflow.pipeline_root=s3://", "'s3://' is not a place"),
        (
            "kubeflow.pipeline_root=s3://My_Bucket",
            "has 'My_Bucket' as its bucket, and a bucket's name must be 3",
        ),
        (
            "kubeflow.pipeline_root='s3://bucket?region=eu'",
            "'s3://bucket?region=eu' says how its service is reached: leave out what follows the question "
            "mark, and set kubeflow.artifact_store.",
        ),
        (
            "kubeflow.artifact_store.endpoint=http://minio:9000",
            "'http://minio:9000' is not a host with its port, such as minio.example.com:9000 (tls says http",
        ),
        ("kubeflow.artifact_store.region=eu central", "'eu central' is not a region, such as eu-central-1."),
        (
            "kubeflow.beam_args=[runner=x]",
            "kubeflow.beam_args.0: 'runner=x' is not an argument of Beam, which is",
        ),
        # names of settings and steps
        ("kubeflow.volums=[]", "There is no setting 'kubeflow.volums'. Did you mean 'kubeflow.volumes'?"),
        (
            "kubeflow.steps.Trainr.memory_limit=16Gi",
            "kubeflow.steps.Trainr: the pipeline has no step 'Trainr'. Did you mean 'Trainer'?",
        ),
        ("kubeflow.steps.zzz.retries=1", "has no step 'zzz'. Valid are: ImageExampleGen, StatisticsGen, "),
        (
            "kubeflow.steps.Trainer.memory_limt=16Gi",
            "There is no setting 'kubeflow.steps.Trainer.memory_limt'. Did you mean 'memory_limit'?",
        ),
        ("kubeflow.volumes=[{klaim: a}]", "is no setting 'kubeflow.volumes.0.klaim'. Did you mean 'claim'?"),
        # kinds of values
        (
            "kubeflow.steps={Trainer: 5}",
            "kubeflow.steps.Trainer is 5, and must hold settings of its own: cpu_request,",
        ),
        ("kubeflow.steps=5", "The setting kubeflow.steps is 5: it must hold names and values, in braces."),
        ("kubeflow.volumes=a", "The setting kubeflow.volumes is 'a': it must be a list, in brackets."),
        (
            "kubeflow.volumes=[a]",
            "kubeflow.volumes.0 is 'a', and must hold settings of its own: claim, mount_path.",
        ),
        ("kubeflow.volumes=[{claim: a}]", "The setting kubeflow.volumes.0.mount_path is missing."),
        # quantities
        (
            "kubeflow.steps.Trainer.memory_limit=16GB",
            "kubeflow.steps.Trainer.memory_limit: '16GB' is not an amount of memory: write 512Mi or 16Gi.",
        ),
        ("kubeflow.step_defaults.memory_limit=yes", "True is not a quantity: write 500m or 2 for cores"),
        ("kubeflow.step_defaults.memory_limit=0", "kubeflow.step_defaults.memory_limit: 0 must be above 0."),
        ("kubeflow.step_defaults.cpu_request=-1", "kubeflow.step_defaults.cpu_request: -1 must be above 0."),
        ("kubeflow.shared_memory=2GB", "kubeflow.shared_memory: '2GB' is not an amount of memory"),
        (
            "kubeflow.steps.Trainer.cpu_request=2Gi",
            "kubeflow.steps.Trainer.cpu_request: '2Gi' is not a number of cores: write 500m, 0.5 or 2.",
        ),
        (
            "kubeflow.step_defaults.memory_request=500m",
            "kubeflow.step_defaults.memory_request: '500m' is not an amount of memory: write 512Mi or 16Gi.",
        ),
        (
            "kubeflow.step_defaults={cpu_request: 1, cpu_limit: 999m}",
            "kubeflow: the cpu_request of ImageExampleGen is 1, above its cpu_limit 999m: lower the one or",
        ),
        (
            "kubeflow={step_defaults: {memory_limit: 1Gi}, steps: {Pusher: {memory_request: 1025Mi}}}",
            "the memory_request of Pusher is 1025Mi, above its memory_limit 1Gi",
        ),
        (
            "kubeflow={shared_memory: 16Gi, steps: {Trainer: {memory_limit: 16Gi}}}",
            "kubeflow: shared_memory is 16Gi and counts as memory of the Trainer, whose memory_limit is 16Gi",
        ),
        ("kubeflow.step_defaults.retries=-1", "retries is -1: it must be greater than or equal to 0."),
        (
            "kubeflow.step_defaults.timeout_seconds=0",
            "timeout_seconds is 0: it must be greater than or equal to 1.",
        ),
        (
            "kubeflow.retry.backoff_factor=0",
            "backoff_factor is 0: it must be greater than or equal to 1.",
        ),
        ("kubeflow.retry.backoff_factor=1.5", "retry.backoff_factor is 1.5: it must be a whole number."),
        (
            "kubeflow.retry.max_backoff_seconds=60",
            "There is no setting 'kubeflow.retry.max_backoff_seconds'.",
        ),
        (
            "kubeflow.step_defaults.retries=15",
            "kubeflow: the pauses before 15 retries of ImageExampleGen are 983010 seconds together, and may "
            "be 604800: lower its retries, retry.backoff_seconds or retry.backoff_factor.",
        ),
        (
            "kubeflow.steps.Trainer.timeout_seconds=2592001",
            "timeout_seconds is 2592001: it must be less than or equal to 2592000.",
        ),
        # GPUs and their nodes
        (
            "kubeflow.gpu.count=0",
            "The setting kubeflow.gpu.count is 0: it must be greater than or equal to 1.",
        ),
        (
            "kubeflow.gpu.type=gpu",
            "'gpu' is not the name of a device: it must have a vendor's domain, such as",
        ),
        (
            "kubeflow.gpu.node_selector={-a: b}",
            "node_selector.-a: '-a' is not a label's name: it must be letters,",
        ),
        (f"kubeflow.gpu.node_selector={{{LONG}: b}}", "is not a label's name"),
        (
            "kubeflow.gpu.node_selector={Exa_mple/a: b}",
            "'Exa_mple' is not a DNS name: it must be small letters,",
        ),
        (
            "kubeflow.gpu.node_selector={a: b c}",
            "node_selector.a: 'b c' is not a label's value: it must be letters,",
        ),
        (f"kubeflow.gpu.node_selector={{a: {LONG}}}", "is not a label's value"),
        (
            "kubeflow.gpu.node_selector={spot: true}",
            "node_selector.spot is True: it must be a text, in quotes.",
        ),
        (
            "kubeflow.gpu.tolerations=[{key: a, effect: NoScedule}]",
            "it must be 'NoSchedule', 'PreferNoSchedule' or 'NoExecute'. Did you mean 'NoSchedule'?",
        ),
        (
            "kubeflow.gpu.tolerations=[{operator: Exist}]",
            "it must be 'Exists' or 'Equal'. Did you mean 'Exists'?",
        ),
        (
            "kubeflow.gpu.tolerations=[{key: a, value: b}]",
            "kubeflow.gpu.tolerations.0: operator Exists takes no value, and value is 'b': leave it out",
        ),
        (
            "kubeflow.gpu.tolerations=[{operator: Equal, value: b}]",
            "operator Equal needs a key and a value: add them, or use Exists.",
        ),
        # volumes
        (
            "kubeflow.volumes=[{claim: my.state, mount_path: /state}]",
            "'my.state' is not the name of a claim that KFP can mount: it must be small letters, digits and",
        ),
        (f"kubeflow.volumes=[{{claim: {LONG}, mount_path: /state}}]", "63 characters at most."),
        (
            "kubeflow.volumes=[{claim: a, mount_path: state}]",
            "'state' is not a path to mount a volume at: it must be",
        ),
        ("kubeflow.volumes=[{claim: a, mount_path: /}]", "'/' is not a path to mount a volume at"),
        (
            "kubeflow.volumes=[{claim: a, mount_path: /a/../b}]",
            "'/a/../b' is not a path to mount a volume at",
        ),
        ("kubeflow.volumes=[{claim: a, mount_path: '/a:b'}]", "'/a:b' is not a path to mount a volume at"),
        (
            "kubeflow.volumes=[{claim: a, mount_path: /dev/shm}]",
            "'/dev/shm' is taken: /dev belongs to the container; mount the volume elsewhere, for example",
        ),
        (
            "kubeflow.volumes=[{claim: a, mount_path: /s}, {claim: a, mount_path: /t}]",
            "kubeflow: volumes has the claim 'a' twice: leave one of them out.",
        ),
        (
            "kubeflow.volumes=[{claim: a, mount_path: /s}, {claim: b, mount_path: /s}]",
            "kubeflow: volumes has the mount_path '/s' twice: leave one of them out.",
        ),
        # secrets
        (
            "kubeflow.secrets=[{name: s, env: {}}]",
            "The setting kubeflow.secrets.0.env is {}: it must not be empty.",
        ),
        (
            "kubeflow.secrets=[{name: S, env: {A: k}}]",
            "kubeflow.secrets.0.name: 'S' is not the name of a secret",
        ),
        (
            "kubeflow.secrets=[{name: s, env: {1A: k}}]",
            "'1A' is not the name of an environment variable: it must be",
        ),
        ("kubeflow.secrets=[{name: s, env: {A-B: k}}]", "'A-B' is not the name of an environment variable"),
        (
            "kubeflow.secrets=[{name: s, env: {A: k k}}]",
            "kubeflow.secrets.0.env.A: 'k k' is not a secret's key: it",
        ),
        (
            "kubeflow.secrets=[{name: s, env: {A: k}}, {name: t, env: {A: l}}]",
            "kubeflow: secrets has the variable 'A' twice: leave one of them out.",
        ),
        (
            "kubeflow.secrets=[{name: s, env: {A: k}, value: hunter2}]",
            "There is no setting 'kubeflow.secrets.0.value'.",
        ),
    ],
)
def test_what_the_cluster_would_refuse_gets_one_sentence(override: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(overrides=[override])
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 2


def test_a_label_that_a_configuration_asks_for_can_be_taken_back() -> None:
    label = "nvidia.com/gpu.present"
    assert load("kubeflow").kubeflow.gpu.node_selector == {label: "true"}
    override = f"kubeflow.gpu.node_selector={{{label}: null, pool: gpu}}"
    assert load("kubeflow", [override]).kubeflow.gpu.node_selector == {"pool": "gpu"}


@pytest.mark.parametrize("path", RESERVED_PATHS)
def test_no_volume_covers_what_the_container_needs(path: str) -> None:
    for mount_path in (path, f"{path}/below"):
        with pytest.raises(SettingsError, match=f"'{mount_path}' is taken: {path} belongs to the container"):
            load(overrides=[f"kubeflow.volumes=[{{claim: a, mount_path: {mount_path}}}]"])
    load(overrides=[f"kubeflow.volumes=[{{claim: a, mount_path: {path}-of-mine}}]"])


@pytest.mark.parametrize("claim", RESERVED_CLAIMS)
def test_no_claim_has_the_name_of_another_volume(claim: str) -> None:
    with pytest.raises(SettingsError, match=f"'{claim}' is taken: KFP has a volume of that name in each pod"):
        load(overrides=[f"kubeflow.volumes=[{{claim: {claim}, mount_path: /state}}]"])
    load(overrides=[f"kubeflow.volumes=[{{claim: my-{claim}, mount_path: /state}}]"])


@pytest.mark.parametrize("variable", [*RESERVED_VARIABLES, *(f"{one}X" for one in RESERVED_PREFIXES)])
def test_no_secret_s_variable_is_one_that_steps_are_set_up_with(variable: str) -> None:
    with pytest.raises(SettingsError, match=f"'{variable}' is taken: steps are set up with it; name the"):
        load(overrides=[f"kubeflow.secrets=[{{name: s, env: {{{variable}: k}}}}]"])
    load(overrides=[f"kubeflow.secrets=[{{name: s, env: {{MY_{variable}: k}}}}]"])


def test_a_step_takes_the_defaults_where_it_has_nothing_of_its_own() -> None:
    kubeflow = load(
        overrides=[
            "kubeflow.step_defaults={cpu_request: 1, memory_limit: 2Gi, retries: 2}",
            "kubeflow.steps.Trainer={memory_limit: 8Gi, retries: 0}",
        ]
    ).kubeflow
    assert kubeflow.step("Pusher") == kubeflow.step_defaults
    trainer = kubeflow.step("Trainer")
    assert (trainer.cpu_request, trainer.memory_limit, trainer.retries) == ("1", "8Gi", 0)


@pytest.mark.parametrize(
    ("path", "is_on_it"),
    [
        ("/state", True),
        ("/state/a", True),
        ("/states", False),
        ("/", False),
        ("/data/x", True),
        ("state", False),
    ],
)
def test_what_lies_on_a_volume(path: str, is_on_it: bool) -> None:
    volumes = "kubeflow.volumes=[{claim: a, mount_path: /state}, {claim: b, mount_path: /data}]"
    assert load(overrides=[volumes]).kubeflow.on_volume(Path(path)) is is_on_it


def test_the_steps_that_can_have_settings_are_the_pipeline_s(tmp_path: Path) -> None:
    from pipelines.kubeflow.settings import STEPS
    from pipelines.pipeline import build

    assert {component.id for component in build(load()).components} == set(STEPS)
