"""Helpers of the chaos tests: start a run in its own process, watch it, and prove that it is complete."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from jobs import audit
from pipeline.io import parquet, storage

ROOT = Path(__file__).resolve().parents[2]
HOOKS = ROOT / "tests" / "chaos" / "hooks"
OPTIONS = ("--short-side", "32", "--window", "4", "--unit-frames", "12")  # a unit is a video
ORDER = [("video_id", "ascending"), ("expression_id", "ascending"), ("frame_index", "ascending")]
VIDEOS = 16
WAIT = 600.0  # seconds to wait for an event, on a very busy machine
SECONDS_PER_VIDEO = "0.3"  # so that a run takes long enough to be disturbed
CONTROL_SECONDS = "10"  # instead of a minute


def environment(**more: str) -> dict[str, str]:
    """Environment of the processes to disturb; loads tests/chaos/hooks in each."""
    ours = {
        "PYTHONPATH": f"{HOOKS}:{ROOT}",
        "CHAOS_SECONDS_PER_VIDEO": SECONDS_PER_VIDEO,
        "CHAOS_CONTROL_SECONDS": CONTROL_SECONDS,
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",  # by default workers give way to other processes
        "RAY_prestart_worker_first_driver": "0",  # no workers that no run uses
    }
    return os.environ | ours | more


@dataclass(frozen=True, slots=True)
class Case:
    """A run to disturb. `address`: of its Ray cluster; `extra`: environment variables of its drivers.

    words: the command and its input, instead of "segment MANIFEST".
    """

    manifest: str
    checkpoint: str
    run: str
    address: str = "local"
    extra: dict[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    options: tuple[str, ...] = OPTIONS

    def but(self, **changes) -> "Case":
        return replace(self, **changes)

    def start(self, *options: str) -> subprocess.Popen:
        """Start a driver in its own process."""
        words = self.words or ("segment", self.manifest)
        command = [sys.executable, "-m", "cli", *words, self.run, "--checkpoint", self.checkpoint]
        return subprocess.Popen(
            [*command, "--address", self.address, *self.options, *options],
            env=environment(**self.extra),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(self, *options: str, code: int = 0) -> tuple[str, str]:
        """Run the command to its end; returns stdout and stderr."""
        return end_of(self.start(*options), code)

    def committed(self) -> set[str]:
        folder = storage.join(self.run, "masks")
        return set(storage.names(folder)) if storage.is_folder(folder) else set()

    def attempts(self) -> dict[str, dict]:
        """Markers of all attempts that are in flight or were killed, by URI."""
        folder = storage.join(self.run, "attempts")
        found = {}
        for unit in storage.names(folder) if storage.is_folder(folder) else []:
            for name in () if unit.startswith("_") else storage.names(storage.join(folder, unit), missing_ok=True):
                uri = storage.join(folder, unit, name)
                try:
                    found[uri] = json.loads(storage.read_bytes(uri)) | {"unit": unit}
                except FileNotFoundError:  # it ended meanwhile
                    continue
        return found

    def rows(self) -> pa.Table:
        """All rows and columns under RUN/masks, planned or not, sorted by ORDER."""
        uris = [storage.join(self.run, "masks", name) for name in sorted(self.committed())]
        return pa.concat_tables(parquet.read_table(uri) for uri in uris).sort_by(ORDER)

    def assert_whole(self, undisturbed: pa.Table, survived: str) -> None:
        """Assert a clean audit and exactly the rows of an undisturbed run: none lost, doubled or changed."""
        found = audit.run(audit.AuditConfig(run=self.run, manifest=self.manifest))
        assert found.exit_code == 0, found.text()
        rows = self.rows()
        assert rows.num_rows == undisturbed.num_rows
        assert rows.equals(undisturbed)
        print(f"\nsurvived {survived}: {rows.num_rows} rows, none lost, none doubled, none changed ({self.run})")


def end_of(driver: subprocess.Popen, code: int = 0) -> tuple[str, str]:
    """Wait for a driver and check its exit code; returns stdout and stderr."""
    out, messages = driver.communicate(timeout=WAIT)
    assert driver.returncode == code, messages
    assert "Traceback" not in messages
    return out, messages


def wait_until(reached: Callable[[], bool], driver: subprocess.Popen, seconds: float = WAIT) -> None:
    """Wait for a condition while the driver works."""
    for _ in polls(driver, seconds):
        if reached():
            return
    raise AssertionError(f"the driver ended before: {driver.communicate()}")


def polls(driver: subprocess.Popen, seconds: float = WAIT) -> Iterator[None]:
    """Yield every 20 ms until the driver ends."""
    deadline = time.monotonic() + seconds
    while driver.poll() is None:
        assert time.monotonic() < deadline, "the driver takes too long"
        yield
        time.sleep(0.02)
