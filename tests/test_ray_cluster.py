"""The cluster files that people edit: valid by Ray's own checks, and true to what the project promises of them."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cli import main

ROOT = Path(__file__).resolve().parents[1]
TOKENS = re.compile(r"AKIA[0-9A-Z]{16}|aws_secret_access_key|aws_access_key_id", re.IGNORECASE)


def validated(config: dict) -> dict:
    """`config` with Ray's defaults, checked as its launcher would; the one place that uses its private modules."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(config)
    validate_config(prepared)
    return prepared


@pytest.fixture
def config() -> dict:
    return yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())


@pytest.fixture(scope="module")
def rayjob() -> dict:
    return next(yaml.safe_load_all((ROOT / "docs" / "rayjob.yaml").read_text()))


def test_the_cluster_file_is_valid(config):
    prepared = validated(config)
    assert prepared["head_node_type"] == "head"
    assert prepared["cluster_synced_files"] == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda config: config.update(max_worker=3),
        lambda config: config["available_node_types"]["gpu_spot"].update(min_worker=1),
        lambda config: config.update(head_node_type="heads"),
        lambda config: config.update(idle_timeout_minutes="ten"),
    ],
    ids=["key", "node type key", "head", "type"],
)
def test_a_mistake_in_it_would_be_found(config, spoil):
    spoil(config)
    with pytest.raises(Exception, match=r"max_worker|min_worker|head_node_type|ten"):
        validated(config)


def test_no_worker_is_kept_and_idle_ones_go(config):
    assert all(node.get("min_workers", 0) == 0 for node in config["available_node_types"].values())
    assert config["idle_timeout_minutes"] > 0


def test_the_head_takes_no_work(config):
    assert config["available_node_types"]["head"]["resources"] == {"CPU": 0}


def test_spot_comes_first_and_on_demand_is_the_same_machine(config):
    spot, on_demand = (config["available_node_types"][name] for name in ("gpu_spot", "gpu_on_demand"))
    assert spot["node_config"].pop("InstanceMarketOptions")["MarketType"] == "spot"
    assert spot["priority"] > on_demand["priority"]
    assert spot["resources"] == on_demand["resources"]
    assert spot["node_config"] == on_demand["node_config"]


def test_autoscaling_takes_spot_until_it_fails():
    """What the priorities rely on: of two types of one shape, a failed request outweighs the priority."""
    import inspect

    from ray.autoscaler.v2 import scheduler

    source = inspect.getsource(scheduler.ResourceDemandScheduler._sched_best_node)
    assert source.index("recoverable_resource_availabilities.get") < source.index("r.node.priority")


def test_nodes_have_a_role_and_files_no_keys(config):
    assert all(node["node_config"]["IamInstanceProfile"] for node in config["available_node_types"].values())
    for path in ("ray_cluster.yaml", "docs/rayjob.yaml", "docs/clusters.md", "Dockerfile"):
        assert not TOKENS.search((ROOT / path).read_text()), path


def test_the_job_server_is_not_open_to_the_network(config):
    assert any("--dashboard-host=127.0.0.1" in command for command in config["head_start_ray_commands"])


def test_every_value_of_a_user_is_marked():
    """Paths, names, accounts and images of the RayJob; a folded command is marked where it begins."""
    lines = (ROOT / "docs" / "rayjob.yaml").read_text().splitlines()
    own = re.compile(
        r"s3://|--actors|serviceAccountName:|rvos-(run|submitter): first|ACCOUNT|name: refervos-first|"
        r"maxReplicas: [1-9]"
    )
    values = [number for number, line in enumerate(lines) if own.search(line) and not line.lstrip().startswith("#")]
    assert len(values) >= 10
    command = next(line for line in lines if "entrypoint:" in line)
    for number in values:
        line = lines[number] if ": " in lines[number] else command
        assert "# EDIT" in line, line


def test_the_rayjob_runs_a_command_that_exists(rayjob):
    assert (rayjob["apiVersion"], rayjob["kind"]) == ("ray.io/v1", "RayJob")
    program, command, *words = shlex.split(rayjob["spec"]["entrypoint"])
    assert program == "rvos"
    with main.commands[command].make_context(command, words) as context:
        assert context.params["address"] == "auto"
        assert context.params["actors"] == "8"
    assert CliRunner().invoke(main, [command, "--help"]).exit_code == 0


def test_the_rayjob_has_gpu_workers_and_one_image(rayjob):
    spec = rayjob["spec"]["rayClusterSpec"]
    head, (workers,) = spec["headGroupSpec"], spec["workerGroupSpecs"]
    assert spec["enableInTreeAutoscaling"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert (workers["minReplicas"], workers["maxReplicas"]) == (0, 8)
    (head_container,), (worker_container,) = (group["template"]["spec"]["containers"] for group in (head, workers))
    assert head_container["image"] == worker_container["image"]
    for kind in ("requests", "limits"):
        assert worker_container["resources"][kind]["nvidia.com/gpu"] == "1"
    assert rayjob["spec"]["shutdownAfterJobFinishes"]


def test_versions_are_those_of_the_package(config, rayjob):
    import ray

    from schemas.version import __version__

    assert rayjob["spec"]["rayClusterSpec"]["rayVersion"] == ray.__version__
    image = config["docker"]["image"]
    assert "ACCOUNT" not in image or f"/refervos:{__version__}@sha256:" in image  # else it is the user's own


def test_nodes_open_no_port_to_the_world_and_give_no_role_to_forwarded_requests(config):
    for node in config["available_node_types"].values():
        assert node["node_config"]["SecurityGroupIds"]  # else Ray opens port 22 to 0.0.0.0/0
        assert node["node_config"]["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}


def test_disks_are_encrypted_and_containers_get_no_more_rights(config):
    for node in config["available_node_types"].values():
        assert all(disk["Ebs"]["Encrypted"] for disk in node["node_config"]["BlockDeviceMappings"])
    assert "--security-opt no-new-privileges" in config["docker"]["run_options"]
    assert "privileged " not in " ".join(config["docker"]["run_options"])


def test_ray_would_open_port_22():
    import ray

    source = (Path(ray.__file__).parent / "autoscaler/_private/aws/config.py").read_text()
    assert '"CidrIp": "0.0.0.0/0"' in source
    assert '"SecurityGroupIds" not in' in source


def test_the_rayjob_has_least_rights(rayjob):
    spec = rayjob["spec"]["rayClusterSpec"]
    assert spec["authOptions"] == {"mode": "token"}
    head, (workers,) = (spec[name] for name in ("headGroupSpec", "workerGroupSpecs"))
    submitter = rayjob["spec"]["submitterPodTemplate"]
    no_rights = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert spec["autoscalerOptions"]["securityContext"] == no_rights
    for pod in (
        workers["template"]["spec"],
        submitter["spec"],
    ):  # the autoscaler of the head asks Kubernetes for workers
        assert pod["automountServiceAccountToken"] is False
    for pod in (head["template"]["spec"], workers["template"]["spec"], submitter["spec"]):
        assert pod["securityContext"]["runAsNonRoot"]
        (container,) = pod["containers"]
        assert container["securityContext"] == no_rights
        assert "@sha256:" in container["image"]
    _, policy = yaml.safe_load_all((ROOT / "docs" / "rayjob.yaml").read_text())
    assert policy["kind"] == "NetworkPolicy"
    assert all(rule["from"] for rule in policy["spec"]["ingress"])
    pods = policy["spec"]["podSelector"]["matchLabels"]
    assert all(pods.items() <= group["template"]["metadata"]["labels"].items() for group in (head, workers))
    among, others = policy["spec"]["ingress"]  # all ports only among the pods of this cluster
    assert among == {"from": [{"podSelector": {"matchLabels": pods}}]}
    assert others["ports"] == [{"port": 8265}]
    assert others["from"][0] == {"podSelector": {"matchLabels": submitter["metadata"]["labels"]}}
    assert not any({"matchExpressions", "ipBlock"} & {*peer, *peer.get("podSelector", {})} for peer in others["from"])


def test_the_image_runs_as_a_user():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER")] == ["USER ray"]
    assert "--uid 1000" in "".join(lines)


def test_the_image_has_what_probes_and_launchers_call():
    assert {"wget", "openssh-client", "rsync", "procps"} <= {*(ROOT / "Dockerfile").read_text().split()}


def test_nodes_run_no_setup_commands_of_ray(config):
    prepared = validated(config)
    assert [prepared[f"{nodes}setup_commands"] for nodes in ("", "head_", "worker_")] == [[], [], []]
    for name in ("setup_commands", "head_setup_commands", "worker_setup_commands"):
        del config[name]
    assert "pip install" in str(validated(config)["head_setup_commands"])  # what the lines above are for


def test_a_job_with_failed_pairs_starts_no_second_cluster(rayjob):
    assert rayjob["spec"]["backoffLimit"] == 0


def test_the_image_installs_packages_by_their_hashes():
    """In the versions that the tests run with, and everything that pyproject.toml asks for."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "--require-hashes -r requirements.lock" in dockerfile
    assert "pip install --no-cache-dir --no-deps --no-build-isolation ." in dockerfile
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    (copied,) = re.findall(r"^COPY (requirements.*) ./$", dockerfile, re.MULTILINE)
    assert {f"!{name}" for name in copied.split()} <= {*ignored}
    entries = re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text().strip())
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", entry) for entry in entries)
    locked = dict(re.match(r"([\w.-]+)==(\S+)", entry).groups() for entry in entries)
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    pinned = {canonicalize_name(name): version for name, version in pinned.items()}
    assert {name: version for name, version in locked.items() if pinned.get(name, version) != version} == {}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["aws"]]
    wanted += project["build-system"]["requires"]
    assert {canonicalize_name(Requirement(text).name) for text in wanted} <= locked.keys()
    for text in wanted:
        assert Requirement(text).specifier.contains(locked[canonicalize_name(Requirement(text).name)]), text


def test_the_rights_of_the_head_are_narrow():
    text = (ROOT / "docs" / "clusters.md").read_text()
    for condition in ("aws:RequestTag/ray-cluster-name", "ec2:ResourceTag/ray-cluster-name", "iam:PassedToService"):
        assert condition in text
    assert not re.search(r"`(s3|ec2|iam|ecr|ssm):\*`", text)
    assert set(re.findall(r"ec2:\w*\*", text)) == {"ec2:Describe*"}
