"""Everything that this project measures on a GPU: the tests marked `gpu`, then the throughput of the nine backbones.

python -m benchmarks.gpu run --out DIR [--minutes 9] [--device cuda]
python -m benchmarks.gpu table DIR/throughput.jsonl

`run` starts each step as a process of its own, with the time that is left, so that a step that fails or hangs costs
itself. It writes what each one printed to DIR, one JSON object per measurement to DIR/throughput.jsonl, and ends with
exit code 1 if a step failed or was not reached. `table` turns these objects into the table of RESULTS.md.

The order is by worth: tests, then fp32 and bf16 of each backbone with 1 and with 5 expressions, then compiled models.
Each measurement runs `published_way` on the same card beside it.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import click
import torch

ROOT = Path(__file__).resolve().parents[1]
BACKBONES = (
    "resnet50",
    "video_swin_t_p4w7",
    "video_swin_b_p4w7",
    "swin_l_p4w7",
    "resnet101",
    "video_swin_s_p4w7",
    "swin_t_p4w7",
    "swin_s_p4w7",
    "swin_b_p4w7",
)
COMPILED = ("resnet50", "video_swin_b_p4w7")
TESTS_SECONDS = 150  # at most, of the time for all
COLUMNS = (
    "backbone",
    "precision",
    "compile",
    "expressions",
    "refervos",
    "published_way",
    "ratio",
    "decode_share",
    "peak_gib",
)


@click.group()
def main() -> None:
    """Measure on a GPU."""


@main.command()
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="folder for what is found")
@click.option("--minutes", default=9.0, show_default=True, help="end after so many")
@click.option(
    "--device", default="cuda", show_default=True, type=click.Choice(["cuda", "cpu"]), help="cpu: a rehearsal"
)
@click.option("--frames", default=16, show_default=True, help="frames of the window")
def run(out: Path, minutes: float, device: str, frames: int) -> None:
    """Run the tests and all measurements."""
    if device == "cuda" and not torch.cuda.is_available():
        raise click.UsageError("torch finds no GPU on this machine")
    out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * minutes
    measured = out / "throughput.jsonl"
    measured.write_text("")
    failed: list[str] = []
    if device == "cuda":
        failed += step(
            "tests", ["-m", "pytest", "-m", "gpu", "tests/model"], out, min(end, seconds_from_now(TESTS_SECONDS))
        )
    for backbone, precision, compiled in measurements():
        name = "-".join((backbone, precision, *(["compiled"] if compiled else [])))
        words = ["benchmarks/throughput.py", "--backbone", backbone, "--device", device, "--frames", str(frames)]
        words += ["--precision", precision, "--expressions", "1", "5", "--baseline", "1", "--json"]
        failed += step(name, words + ["--compile"] * compiled, out, end)
        objects = [line for line in (out / f"{name}.txt").read_text().splitlines() if line.startswith("{")]
        with measured.open("a") as file:
            file.writelines(f"{line}\n" for line in objects)
    click.echo(table_of(measured))
    if failed:
        raise SystemExit(f"failed, or not reached in {minutes:g} minutes: {', '.join(failed)}; see {out}")


@main.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def table(file: Path) -> None:
    """Print the measurements of FILE as a Markdown table."""
    click.echo(table_of(file))


def measurements() -> list[tuple[str, str, bool]]:
    """Return backbone, precision and whether the model is compiled, most wanted first."""
    plain = [(backbone, precision, False) for backbone in BACKBONES for precision in ("fp32", "bf16")]
    return plain + [(backbone, "bf16", True) for backbone in COMPILED]


def seconds_from_now(seconds: float) -> float:
    return time.monotonic() + seconds


def step(name: str, words: list[str], out: Path, end: float) -> list[str]:
    """Run Python with WORDS until `end` at most, its output in NAME.txt. Return the name if it failed."""
    left = end - time.monotonic()
    with (out / f"{name}.txt").open("w") as log:
        try:
            if left < 1:
                raise subprocess.TimeoutExpired(words, 0)
            code = subprocess.run(
                [sys.executable, *words], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, timeout=left
            ).returncode
        except subprocess.TimeoutExpired:
            code = -1
            log.write("\nno time was left\n")
    click.echo(f"{name}: {'passed' if code == 0 else 'FAILED'} ({time.monotonic() + left - end:.0f} s)")
    return [] if code == 0 else [name]


def table_of(file: Path) -> str:
    """Return the measurements as Markdown; rates in pair-frames per second, memory in GiB."""
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    if not rows:
        return "nothing was measured"
    devices = ", ".join(sorted({row["device"] for row in rows}))
    lines = [f"{devices}; {rows[0]['frames']} frames of 360x640.", "", "| " + " | ".join(COLUMNS) + " |"]
    lines.append("| --- " * len(COLUMNS) + "|")
    for row in rows:
        seconds = row["expressions"] * row["frames"] / row["refervos"]
        row["decode_share"] = f"{row['decode_seconds'] / seconds:.0%}"
        row["ratio"] = f"**{row['refervos'] / row['published_way']:.2f}**"
        cells = (f"{row[name]:.1f}" if isinstance(row[name], float) else str(row[name]) for name in COLUMNS)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
