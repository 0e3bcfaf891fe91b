"""Stop a command before any of its changes of a storage: for ever, as a kill would, or while another one runs.

A change is a file or folder that is created, linked, renamed or removed below a folder, or a request to S3 that does
that. The commands run in this process, a fork for each; a loop takes the place of Ray, and its actor that of a node.
"""

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
STOPPED = 77  # exit code
CHANGES = {"os.link", "os.rename", "os.remove", "os.rmdir", "os.mkdir"}  # audit events
CREATES = os.O_CREAT | os.O_TMPFILE & ~os.O_DIRECTORY
SLOW_IMPORTS = (
    "jobs.evaluate", "jobs.export", "jobs.import_masks", "jobs.segment", "pipeline.segment.actor", "ray",
    "ray.data", "ray.util.metrics", "s3fs", "torch", "transformers", "duckdb", "av", "PIL.Image", "pycocotools.mask",
    "scipy.optimize", "scipy.stats", "pyarrow.dataset", "model.referformer.checkpoint",
    "model.referformer.inference.segmenter", "aiobotocore.session", "matplotlib",
)  # fmt: skip
REQUESTS = {
    "put_object", "delete_object", "delete_objects", "create_multipart_upload", "upload_part",
    "complete_multipart_upload", "abort_multipart_upload",
}  # fmt: skip


class Steps:
    """Count the changes below `base`, and end or suspend the process before number `stop` (from 1 on; 0: never)."""

    def __init__(self, base: str, stop: int, suspend: bool):
        self.base, self.stop, self.suspend, self.count = base, stop, suspend, 0
        if base.startswith("s3://"):
            self._watch_requests()
        else:
            sys.addaudithook(self._watch)

    def _step(self) -> None:
        self.count += 1
        if self.count == self.stop and self.suspend:
            os.kill(os.getpid(), signal.SIGSTOP)
        elif self.count == self.stop:
            os._exit(STOPPED)

    def _watch(self, event: str, arguments: Sequence[Any]) -> None:
        creates = event == "open" and isinstance(arguments[2], int) and arguments[2] & CREATES
        if (creates or event in CHANGES) and any(str(each).startswith(self.base) for each in arguments):
            self._step()

    def _watch_requests(self) -> None:
        from s3fs import S3FileSystem

        def counted(call: Callable) -> Callable:
            def step_and_call(fs: Any, method: str, *arguments: Any, **options: Any) -> Any:
                if method in REQUESTS:
                    self._step()
                return call(fs, method, *arguments, **options)

            return step_and_call

        for name in ("call_s3", "_call_s3"):  # neither calls the other
            setattr(S3FileSystem, name, counted(getattr(S3FileSystem, name)))


class Zygote:
    """A process that has imported everything and done nothing: each run of a job is a fork of it."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.chaos.steps"]
        path = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def run(self, job: Callable[[str], None], base: str, stop: int = 0, kind: str = "") -> bool:
        """Run job(base). Returns True if it came to its end, False if it was stopped before its change `stop`.

        kind: "parts" for S3 with uploads in parts.
        """
        code, _ = self._ask(job, None, base, stop, kind)
        assert code in (0, STOPPED), f"{job.__name__} ended with {code}"
        return code == 0

    def run_two(
        self, job: Callable[[str], None], other: Callable[[str], None], base: str, stop: int, kind: str = ""
    ) -> tuple[int, int] | None:
        """Suspend job(base) before its change `stop`, run other(base), and let the first go on.

        Returns the exit codes of both; None if the first has fewer changes.
        """
        code, code_of_other = self._ask(job, other, base, stop, kind)
        return None if code_of_other < 0 else (code, code_of_other)

    def _ask(self, job: Callable, other: Callable | None, base: str, stop: int, kind: str) -> tuple[int, int]:
        assert self._process.stdin
        assert self._process.stdout
        jobs = [[each.__module__, each.__name__] for each in (job, other) if each]
        wanted = {"jobs": jobs, "base": base, "stop": stop, "kind": kind}
        print(json.dumps(wanted), file=self._process.stdin, flush=True)
        code, code_of_other = self._process.stdout.readline().split()
        return int(code), int(code_of_other)


def serve() -> None:
    """Run jobs as the lines of stdin ask, and answer with their exit codes."""
    for name in SLOW_IMPORTS:
        importlib.import_module(name)

    for line in sys.stdin:
        wanted, code_of_other = json.loads(line), -1
        first, *others = wanted["jobs"]
        child = forked(first, wanted, wanted["stop"], suspend=bool(others))
        _, status = os.waitpid(child, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            _, ended = os.waitpid(forked(others[0], wanted, 0), 0)
            code_of_other = os.waitstatus_to_exitcode(ended)
            os.kill(child, signal.SIGCONT)
            _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), code_of_other, flush=True)


def forked(job: list[str], wanted: dict, stop: int, *, suspend: bool = False) -> int:
    """Run a job in a child of this process. Returns the id of the child."""
    module, name = job
    function = getattr(importlib.import_module(module), name)
    child = os.fork()
    if child == 0:
        os._exit(_code_of(function, wanted["base"], wanted["kind"], stop, suspend=suspend))
    return child


def _code_of(job: Callable[[str], None], base: str, kind: str, stop: int, *, suspend: bool) -> int:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    try:
        if kind == "parts":
            from pipeline.io import s3

            s3.SINGLE_PUT_BYTES = -1
        Steps(base, stop, suspend)
        job(base)
    except BaseException as error:
        traceback.print_exc()
        return getattr(error, "exit_code", 1)
    return 0


@contextlib.contextmanager
def without_ray() -> Iterator[None]:
    """Let units be segmented by an actor in this process."""
    import pyarrow as pa
    import ray

    from jobs import segment
    from pipeline.segment import turns
    from pipeline.segment.actor import UnitAnswer, UnitSegmenter
    from pipeline.segment.model_options import ModelOptions
    from tests.pipeline.segment.fake import FakeSegmenter

    nodes = [{"NodeID": "node", "Alive": True, "Resources": {"CPU": 1.0}}]
    context = SimpleNamespace(get_node_id=lambda: "node", get_accelerator_ids=dict)
    ray.nodes, ray.get_runtime_context = lambda: nodes, lambda: context  # pyright: ignore[reportAttributeAccessIssue]

    def in_turn(units: list, _resources: Any, _selector: Any, arguments: tuple) -> Iterator[UnitAnswer]:
        actor = UnitSegmenter(*arguments)
        for unit in units:
            for row in actor(pa.Table.from_pylist([asdict(unit)])).to_pylist():
                yield UnitAnswer(**row)

    ModelOptions.load = lambda options: FakeSegmenter()
    turns._segment_in_turn = in_turn  # pyright: ignore[reportAttributeAccessIssue]
    segment.connect_to_ray = lambda _: contextlib.nullcontext({"CPU": 1.0, "memory": 1e12})  # pyright: ignore
    yield


if __name__ == "__main__":
    serve()
