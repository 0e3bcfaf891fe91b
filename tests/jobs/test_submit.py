"""Jobs on a real Ray head on loopback: followed, repeated, failing, stopped; and what is refused before."""

import contextlib
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli import main
from jobs import submit
from jobs.terminal.command_line import canonical_command
from schemas.errors import InfrastructureError, InputError

SECRET = "test-only-secret-value"
ROOT = Path(__file__).resolve().parents[2]


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def head() -> Iterator[str]:
    """The job server of a Ray head of its own: own ports, own folder, ended by its own process group."""
    port, dashboard, client, agent = free_ports(4)
    folder = tempfile.mkdtemp(prefix="rvos-head-", dir="/tmp")  # short: sockets lie in it
    bin_folder = Path(sys.executable).parent
    command = [
        str(bin_folder / "ray"), "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={port}",
        "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}",
        f"--dashboard-agent-listen-port={agent}",  # the default one is taken by the session of the other tests
        f"--temp-dir={folder}", "--num-cpus=2", "--object-store-memory=100000000",
    ]  # fmt: skip
    path = f"{bin_folder}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    with open(Path(folder) / "head.log", "w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        address = f"http://127.0.0.1:{dashboard}"
        _wait_for(address, process)
        yield address
    finally:
        process.terminate()  # it ends its own processes
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(address: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, "the Ray head ended"
        try:
            urllib.request.urlopen(f"{address}/api/version", timeout=2)
            return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("the Ray head did not come up")


def rvos_submit(head: str, *words: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "cli", "submit", "--address", head, *words]
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "AWS_SECRET_ACCESS_KEY": SECRET, **environment}
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def spell(*words: str) -> tuple[str, ...]:
    return canonical_command(main, words)


@pytest.mark.slow
def test_a_run_on_the_cluster_and_a_repeat_of_it(head, shapes, checkpoint, tmp_path):
    run = tmp_path / "run"
    words = ["segment", shapes[0], str(run), "--checkpoint", checkpoint, "--short-side", "64", "--window", "5"]
    done = rvos_submit(head, "--json", *words)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["submission_id"].startswith("rvos-segment-")
    assert (result["status"], result["job_exit_code"]) == ("SUCCEEDED", 0)
    assert "9 with masks, 0 failed" in done.stderr  # the job's own log
    assert "Ignoring upload" not in done.stderr
    assert len(list((run / "masks").glob("*.parquet"))) == 3
    again = rvos_submit(head, "--", *words)
    assert again.returncode == 0, again.stderr
    assert f"submitted {result['submission_id']}-2" in again.stderr  # an ended job is submitted again
    assert "9 were there before" in again.stderr
    info = submit.connect(head).get_job_info(result["submission_id"])
    assert SECRET not in str(info) + done.stderr + done.stdout
    assert info.runtime_env["working_dir"].startswith("gcs://")


@pytest.mark.slow
def test_the_exit_code_of_a_failing_job_is_passed_on(head, tmp_path, checkpoint):
    words = ["segment", str(tmp_path / "none.parquet"), str(tmp_path / "run"), "--checkpoint", checkpoint]
    failed = rvos_submit(head, *words)
    assert failed.returncode == 2
    assert "no manifest at" in failed.stderr
    assert failed.stdout.strip().endswith("failed, exit code 2")
    again = {"command": spell(*words), "address": head}
    assert submit.run(submit.SubmitConfig(**again, status=True)).exit_code == 2
    assert "no manifest at" in submit.run(submit.SubmitConfig(**again, logs=True)).text()


@pytest.mark.slow
def test_the_code_that_was_sent_is_what_runs(head, tmp_path):
    (tmp_path / "refervos.py").write_text(
        "import sys\ndef use_own_modules(): pass\ndef main(): print('sent:', *sys.argv[1:]); sys.exit(3)"
    )
    done = rvos_submit(head, "--working-dir", str(tmp_path), "check", "s3://b/m.parquet")
    assert done.returncode == 3
    assert "sent: check s3://b/m.parquet" in done.stderr


@pytest.mark.slow
def test_while_it_runs_it_is_followed_not_doubled_and_can_be_stopped(head, tmp_path):
    client = submit.connect(head)
    config = submit.SubmitConfig(command=spell("check", str(tmp_path / "m.parquet")), address=head, detach=True)
    client.submit_job(entrypoint="echo at work; sleep 600", submission_id=config.submission_id)
    shown: list[str] = []
    result = submit.run(config, shown.append)
    assert "".join(shown) == f"{config.submission_id} is already running; following it\n"
    assert (result.submission_id, result.exit_code) == (config.submission_id, 0)
    by_id = {"command": (config.submission_id,), "address": head}
    status = submit.run(submit.SubmitConfig(**by_id, status=True))
    assert status.text().removeprefix(f"{config.submission_id} on {head}: ") in ("pending", "running")
    stopped = rvos_submit(head, "--stop", config.submission_id)
    assert stopped.returncode == 130
    assert stopped.stdout == f"{config.submission_id} on {head}: stopped\n"


@pytest.mark.slow
def test_asking_for_a_job_that_is_not_there(head):
    with pytest.raises(InputError, match="no job rvos-check-00000000 on "):
        submit.run(submit.SubmitConfig(command=("rvos-check-00000000",), address=head, status=True))


def test_a_command_has_one_id_however_it_is_written():
    remote = ["s3://b/m.parquet", "s3://b/runs/first", "--checkpoint", "s3://b/c"]
    one = submit.SubmitConfig(
        command=spell("segment", *remote, "--window", "12", "--strict"), address="http://head:8265"
    )
    two = submit.SubmitConfig(command=spell("segment", "--strict", "--window=12", *remote), address="http://head:8265")
    other = submit.SubmitConfig(command=spell("segment", *remote), address="http://head:8265")
    assert one.submission_id == two.submission_id != other.submission_id
    assert one.submission_id.startswith("rvos-segment-first-")
    assert one.entrypoint == (
        'exec python -c "import refervos; refervos.main()" '
        "segment s3://b/m.parquet s3://b/runs/first --address auto --checkpoint s3://b/c --strict --window 12"
    )


def test_every_parameter_that_names_a_path_is_known():
    """A path that does not say so would be sent as it is, and mean something else on the cluster."""
    others = {"actors", "address", "by", "expression", "frames", "gpu", "measure", "metric", "name"}
    others |= {"on_finish", "rebase", "retry_errors", "rule", "shapes", "shard", "split", "window"}
    commands = [command for name, command in main.commands.items() if name != "submit"]
    commands += [inner for group in commands if isinstance(group, click.Group) for inner in group.commands.values()]
    commands = [command for command in commands if not isinstance(command, click.Group)]
    for command in commands:
        texts = {param.name for param in command.params if param.type is click.STRING}
        paths = {name for name, option in command.declared.items() if option.is_path}
        assert texts - others == paths, (
            f"{command.name}: say what they take (takes=...), or add them to the others here"
        )


def test_names_among_paths_stay_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("train", "--data", "s3://m", "--annotations", "s3://a", "--out", "s3://o", "--config")
    assert "joint" in spell(*words, "joint")
    assert f"file://{tmp_path}/recipe.toml" in spell(*words, "recipe.toml")


def test_words_are_quoted_for_the_shell():
    command = spell(
        "evaluate", "s3://b/run", "s3://b/a.parquet", "--out", "s3://b/o", "--by", "two words", "--by", "$X"
    )
    config = submit.SubmitConfig(command=command, address="http://head:8265")
    assert "--by 'two words' --by '$X' --out s3://b/o" in config.entrypoint


def test_commands_of_a_group_are_spelled_out_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert spell("leaderboard", "add", "--name", "mine", "board", "s3://b/scores") == (
        *("leaderboard", "add", f"file://{tmp_path}/board", "s3://b/scores", "--name", "mine"),
    )
    with pytest.raises(click.UsageError, match="a cluster cannot run 'ad'"):
        spell("leaderboard", "ad")
    with pytest.raises(click.UsageError, match="a cluster cannot run ''"):
        spell("leaderboard")


def test_a_command_that_would_be_refused_is_refused_here():
    def message(*words: str) -> str:
        result = CliRunner().invoke(main, ["submit", "--address", "http://head:8265", *words])
        assert result.exit_code == 2
        return result.output

    assert "No such option '--windw'" in message(
        "segment", "s3://m", "s3://r", "--checkpoint", "s3://c", "--windw", "3"
    )
    assert "a cluster cannot run 'segmnt'" in message("segmnt")
    assert "a cluster cannot run 'submit'" in message("submit", "segment")
    assert "Missing argument 'RUN'" in message("segment", "s3://m")


def test_the_checkpoint_in_the_box_is_that_of_the_cluster():
    words = spell("segment", "s3://m", "s3://r", "--checkpoint", "tiny")
    assert words == ("segment", "s3://m", "s3://r", "--address", "auto", "--checkpoint", "tiny")


def test_local_paths_are_refused_unless_the_cluster_has_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = spell("segment", "m.parquet", "s3://b/run", "--checkpoint", "../c")
    with pytest.raises(
        InputError, match=f"{tmp_path}/m.parquet, .*cannot read paths of this machine.*s3://.*--mounted"
    ):
        submit.SubmitConfig(command=command, address="http://head:8265")
    for config in (
        submit.SubmitConfig(command=command, address="http://head:8265", mounted=True),
        submit.SubmitConfig(command=command, address="http://127.0.0.1:8265"),
    ):
        assert f" {tmp_path}/m.parquet s3://b/run " in config.entrypoint


@pytest.mark.parametrize("address", ["head:8265", "auto", "ray://head:10001", "http://"])
def test_the_address_must_be_a_job_server(address):
    with pytest.raises(InputError, match="http://HOST:8265"):
        submit.SubmitConfig(command=("check", "s3://m"), address=address)


def test_two_questions_at_once_are_refused():
    with pytest.raises(InputError, match="got several of --status, --logs and --stop; give one"):
        submit.SubmitConfig(command=("rvos-x",), address="http://head:8265", logs=True, stop=True)


def test_nobody_there():
    (port,) = free_ports(1)
    with pytest.raises(InfrastructureError, match=f"no job server answers at http://127.0.0.1:{port} .*ray dashboard"):
        submit.connect(f"http://127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("status", "body", "error", "text"),
    [
        (200, {"version": "4", "ray_version": "2.40.0"}, InputError, "runs Ray 2.40.0, this is Ray "),
        (404, {}, InfrastructureError, "not a Ray job server"),
        (401, {"detail": "Unauthorized: Missing authentication token"}, InputError, "RAY_AUTH_TOKEN"),
    ],
)
def test_someone_else_there(status, body, error, text):
    with _server(status, json.dumps(body).encode()) as address, pytest.raises(error, match=text):
        submit.connect(address)


def test_what_is_sent_is_the_code_and_nothing_else(tmp_path):
    from ray._private.runtime_env.packaging import create_package

    code = submit._code(None)
    assert code == str(ROOT)
    package = tmp_path / "package.zip"
    create_package(code, package, include_gitignore=True, excludes=submit.EXCLUDES)
    names = zipfile.ZipFile(package).namelist()
    assert {name.partition("/")[0] for name in names} == {
        "refervos.py",
        "cli.py",
        "jobs",
        "model",
        "pipeline",
        "schemas",
    }
    assert {"pipeline/runs/plan.py", "model/referformer/network/backbones/swin.py"} <= set(names)
    assert not [name for name in names if "__pycache__" in name]


def test_another_folder_of_code_or_none(tmp_path):
    assert submit._code("none") is None
    with pytest.raises(InputError, match="has no refervos.py"):
        submit._code(str(tmp_path))
    (tmp_path / "refervos.py").touch()
    assert submit._code(str(tmp_path)) == str(tmp_path)


class _server:  # noqa: N801
    """An HTTP server on loopback that has one answer to everything."""

    def __init__(self, status: int, body: bytes):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> str:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}"

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
