"""The files in examples/deploy: each configures a process as its system does, and the process is run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml
from compose_spec import PyCompose

from conftest import GUARD, Program, eventually
from posemesh_node import eth_address
from posemesh_node.testing import PRIVATE_KEY, Fault, LocalDds

DEPLOY = Path(__file__).parent.parent / "examples" / "deploy"
UNIT = DEPLOY / "posemesh-node.service"
OTHER_KEY = "11" * 32


@pytest.fixture
def notifications(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket on which systemd receives the messages of a service."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications:
        notifications.bind(str(tmp_path / "notify"))
        notifications.settimeout(GUARD)
        yield notifications


def write(directory: Path, **secrets: str) -> Path:
    """Write secrets into files, as editors do: with a final newline."""
    directory.mkdir()
    for name, secret in secrets.items():
        file = directory / name.replace("_", "-")
        file.write_text(f"{secret}\n")
        file.chmod(0o400)
    return directory


def run_service(run: Callable[..., Program], dds: LocalDds, env: Mapping[str, str], **more: str) -> Program:
    """Run the service with this environment only, plus the URL of the DDS."""
    path = {"PATH": os.environ["PATH"]}
    return run(str(DEPLOY / "node_service.py"), env={**path, **env, **more, "DDS_BASE_URL": dds.url})


def stop(service: Program) -> None:
    service.process.send_signal(signal.SIGTERM)
    code, _, err = service.end()
    assert code == 0 and "Traceback" not in err, err


def passes_probes(container: Any, admin: str) -> None:
    """The probes of the container succeed. ``admin`` is where its ADMIN_BIND is on this machine."""
    variables = {variable["name"]: variable.get("value") for variable in container["env"]}
    (port,) = (port["containerPort"] for port in container["ports"] if port["name"] == "admin")
    assert variables["ADMIN_BIND"] == f"0.0.0.0:{port}"
    for probe, path in (("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
        request = container[probe]["httpGet"]
        assert request == {"path": path, "port": "admin"}
        with urlopen(f"http://{admin}{request['path']}", timeout=GUARD) as response:
            assert response.status == 200


def passes_healthcheck(service: Any, admin: str) -> bool:
    kind, _, *arguments = service["healthcheck"]["test"]
    assert kind == "CMD"
    command = [argument.replace(service["environment"]["ADMIN_BIND"], admin) for argument in arguments]
    return subprocess.run([sys.executable, *command], capture_output=True, check=False).returncode == 0


def unit_settings() -> list[tuple[str, str]]:
    lines = [line for line in UNIT.read_text().splitlines() if line and not line.startswith(("#", "["))]
    return [(name, value) for name, _, value in (line.partition("=") for line in lines)]


def test_the_systemd_unit_notifies_when_the_node_is_registered(
    run: Callable[..., Program], dds: LocalDds, tmp_path: Path, notifications: socket.socket
) -> None:
    dds.inject("register", Fault.status(503, retry_after="1"))
    settings = unit_settings()
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    secrets = {"reg_secret": dds.options()["reg_secret"], "wallet": PRIVATE_KEY}
    for name, value in settings:
        if name == "LoadCredential":
            credential, source = value.split(":")
            assert Path(source).name == credential
            (credentials / credential).write_text(f"{secrets[credential]}\n")
    # As systemd expands them: %d is the directory of the credentials.
    assigned = [word for name, value in settings if name == "Environment" for word in shlex.split(value)]
    env = dict(word.replace("%d", str(credentials)).split("=", 1) for word in assigned)
    assert dict(settings)["Type"] == "notify"

    service = run_service(run, dds, env, NOTIFY_SOCKET=str(tmp_path / "notify"))
    assert b"503" in notifications.recv(4096)
    assert notifications.recv(4096) == b"READY=1\nSTATUS=registered"
    stop(service)
    assert notifications.recv(4096) == b"STOPPING=1"


def test_systemd_finds_no_fault_in_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    # The unit names a program that is not installed here.
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub("^ExecStart=.*$", "ExecStart=/bin/true", UNIT.read_text(), flags=re.M))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_docker_secrets_configure_the_service(run: Callable[..., Program], dds: LocalDds, tmp_path: Path) -> None:
    compose: Any = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    node = compose["services"]["node"]
    assert set(node["secrets"]) == set(compose["secrets"])
    secrets = {"reg_secret": dds.options()["reg_secret"], "wallet": PRIVATE_KEY}
    mounted = tmp_path / "secrets"
    mounted.mkdir()
    for name in node["secrets"]:
        (mounted / name).write_text(secrets[name])
    env = {name: str(value).replace("/run/secrets", str(mounted)) for name, value in node["environment"].items()}
    env["ADMIN_BIND"] = free_address()
    dds.inject("register", Fault.status(503))
    service = run_service(run, dds, env)
    eventually(lambda: passes_healthcheck(node, env["ADMIN_BIND"]))
    assert dds.nodes()[0].version == "1.0.0"
    stop(service)
    assert not passes_healthcheck(node, env["ADMIN_BIND"])


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


def test_a_local_dds_its_node_and_prometheus_find_each_other(run: Callable[..., Program]) -> None:
    services: Any = yaml.safe_load((DEPLOY / "compose-local.yaml").read_text())["services"]
    env = dict(services["node"]["environment"])
    bind, url = services["dds"]["command"][1::2]
    assert (env.pop("DDS_BASE_URL"), env["CALLBACK_BIND"]) == (f"http://{bind}", url.removeprefix("http://"))
    source, target, _ = services["prometheus"]["volumes"][0].split(":")
    assert target == "/etc/prometheus"
    prometheus: Any = yaml.safe_load((DEPLOY / source / "prometheus.yml").read_text())
    assert prometheus["scrape_configs"][0]["static_configs"] == [{"targets": [env["ADMIN_BIND"]]}]

    # On ports that are free.
    env |= {"CALLBACK_BIND": free_address(), "ADMIN_BIND": free_address()}
    with LocalDds(node_url=f"http://{env['CALLBACK_BIND']}") as dds:
        service = run_service(run, dds, env)
        eventually(lambda: dds.last_secret)
        with urlopen(f"http://{env['ADMIN_BIND']}/metrics", timeout=GUARD) as metrics:
            assert b"posemesh_node_state" in metrics.read()
        stop(service)


def test_the_ordinal_of_a_pod_picks_its_wallet(run: Callable[..., Program], dds: LocalDds, tmp_path: Path) -> None:
    stateful_set: Any = yaml.safe_load((DEPLOY / "statefulset.yaml").read_text())
    pod = stateful_set["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (mount,) = container["volumeMounts"]
    assert mount["name"] == pod["volumes"][0]["name"]
    assert stateful_set["spec"]["selector"]["matchLabels"] == stateful_set["spec"]["template"]["metadata"]["labels"]

    credentials = dds.options()["reg_secret"]
    mounted = write(
        tmp_path / "mounted",
        wallet_0=PRIVATE_KEY,
        reg_secret_0=credentials,
        wallet_1=OTHER_KEY,
        reg_secret_1="another-node's-credentials",
    )
    services: list[Program] = []
    admins: list[str] = []
    for ordinal in range(stateful_set["spec"]["replicas"]):
        env: dict[str, str] = {}
        for variable in container["env"]:
            # As Kubernetes expands them: $(NAME) is a variable from further up.
            value = variable.get("value", str(ordinal))
            value = re.sub(r"\$\((\w+)\)", lambda match: env[match[1]], value)
            env[variable["name"]] = value.replace(mount["mountPath"], str(mounted))
        env["ADMIN_BIND"] = free_address()
        admins.append(env["ADMIN_BIND"])
        services.append(run_service(run, dds, env))
    eventually(lambda: len(dds.nodes()) == 2)
    for admin in admins:
        passes_probes(container, admin)
    wallets = {(node.wallet or "").lower() for node in dds.nodes()}
    assert wallets == {eth_address(PRIVATE_KEY), eth_address(OTHER_KEY)}
    for service in services:
        stop(service)


def test_the_files_match_the_schemas_of_kubernetes_and_of_compose(tmp_path: Path) -> None:
    def accepts(manifest: Path) -> bool:
        command = ["kubernetes-validate", "--strict", "--quiet", str(manifest)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    for manifest in (DEPLOY / "statefulset.yaml", DEPLOY / "deployment.yaml"):
        assert accepts(manifest), manifest
        misspelt = tmp_path / manifest.name
        misspelt.write_text(manifest.read_text().replace("securityContext", "securityKontext"))
        assert not accepts(misspelt)
    for compose in DEPLOY.glob("compose*.yaml"):
        PyCompose.from_yaml(compose.read_text()).validate()
        with pytest.raises(ValueError, match="biuld"):
            PyCompose.from_yaml(compose.read_text().replace("    build:", "    biuld:")).validate()


@dataclass(frozen=True)
class Replicas:
    count: int
    env: dict[str, str]
    mounted: str
    """Where their secrets are mounted."""
    redis: list[str]
    """The command of Redis."""
    check: Callable[[str], object]
    """Checks a replica as its system does, with the address of its admin server."""


def compose_replicas() -> Replicas:
    compose: Any = yaml.safe_load((DEPLOY / "compose-replicas.yaml").read_text())
    node, redis = compose["services"]["node"], compose["services"]["redis"]
    env = {name: str(value) for name, value in node["environment"].items()}

    def check(admin: str) -> None:
        assert passes_healthcheck(node, admin)

    return Replicas(node["deploy"]["replicas"], env, "/run/secrets", shlex.split(redis["command"]), check)


def kubernetes_replicas() -> Replicas:
    deployment, service, redis, redis_service = yaml.safe_load_all((DEPLOY / "deployment.yaml").read_text())
    for server, workload in ((service, deployment), (redis_service, redis)):
        assert server["spec"]["selector"] == workload["spec"]["template"]["metadata"]["labels"]
        assert workload["spec"]["selector"]["matchLabels"] == server["spec"]["selector"]
    # Otherwise the first callback could not arrive: no replica is ready before DDS has called one.
    assert service["spec"]["publishNotReadyAddresses"] is True
    (node,) = deployment["spec"]["template"]["spec"]["containers"]
    (server,) = redis["spec"]["template"]["spec"]["containers"]
    env = {variable["name"]: variable["value"] for variable in node["env"]}
    mounted = node["volumeMounts"][0]["mountPath"]
    command = ["redis-server", *server["args"]]
    return Replicas(deployment["spec"]["replicas"], env, mounted, command, partial(passes_probes, node))


@pytest.mark.parametrize("replicas", [compose_replicas, kubernetes_replicas])
def test_replicas_that_share_a_redis_are_one_node(
    run: Callable[..., Program],
    dds: LocalDds,
    tmp_path: Path,
    notifications: socket.socket,
    replicas: Callable[[], Replicas],
) -> None:
    if shutil.which("redis-server") is None:
        pytest.skip("needs redis-server")
    wanted = replicas()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    files = {
        "redis_config": "requirepass correct-horse",
        "state_url": f"redis://:correct-horse@127.0.0.1:{port}/0",
        "reg_secret": dds.options()["reg_secret"],
        "wallet": PRIVATE_KEY,
    }
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    for name, content in files.items():
        # Kubernetes has names with hyphens.
        for spelling in (name, name.replace("_", "-")):
            (mounted / spelling).write_text(f"{content}\n")
    env = {name: value.replace(wanted.mounted, str(mounted)) for name, value in wanted.env.items()}
    # Each replica has an address of its own there.
    env["CALLBACK_BIND"] = "127.0.0.1:0"

    assert wanted.redis[0] == "redis-server"
    command = [wanted.redis[0], str(mounted / "redis_config"), *wanted.redis[2:]]
    admins = [free_address() for _ in range(wanted.count)]
    local = ["--port", port, "--bind", "127.0.0.1", "--dir", str(tmp_path)]
    redis = subprocess.Popen([*command, *local], stdout=subprocess.DEVNULL)
    try:
        notify = str(tmp_path / "notify")
        services = [run_service(run, dds, {**env, "ADMIN_BIND": admin}, NOTIFY_SOCKET=notify) for admin in admins]
        ready = 0
        while ready < wanted.count:
            ready += notifications.recv(4096).startswith(b"READY=1")
        for admin in admins:
            wanted.check(admin)
        # One after the other: the others take over, and DDS notices nothing.
        for service in services:
            stop(service)
        assert [node.registrations for node in dds.nodes()] == [1]
    finally:
        redis.kill()
        redis.wait()
