"""benchmarks/gpu.py: its table, and its end where time runs out."""

import json

from click.testing import CliRunner

from benchmarks import gpu

MEASURED = {
    "backbone": "resnet50",
    "precision": "bf16",
    "compile": False,
    "device": "NVIDIA X",
    "frames": 16,
    "expressions": 5,
    "refervos": 200.0,
    "published_way": 50.0,
    "decode_seconds": 0.1,
    "peak_gib": 2.0,
    "differ": "3 of 9 pixels differ",
}


def test_the_table_has_a_row_for_each_measurement(tmp_path):
    file = tmp_path / "throughput.jsonl"
    file.write_text(json.dumps(MEASURED) + "\n")
    done = CliRunner().invoke(gpu.main, ["table", str(file)])
    assert done.exit_code == 0
    assert done.output.startswith("NVIDIA X; 16 frames of 360x640.")
    assert "| resnet50 | bf16 | False | 5 | 200.0 | 50.0 | **4.00** | 25% | 2.0 |" in done.output


def test_steps_that_fail_or_are_not_reached_are_named(tmp_path):
    end = gpu.seconds_from_now(60)
    assert gpu.step("good", ["-c", "print(1)"], tmp_path, end) == []
    assert (tmp_path / "good.txt").read_text() == "1\n"
    assert gpu.step("bad", ["-c", "raise SystemExit(3)"], tmp_path, end) == ["bad"]
    assert gpu.step("late", ["-c", "print(1)"], tmp_path, gpu.seconds_from_now(0)) == ["late"]
    assert "no time was left" in (tmp_path / "late.txt").read_text()


def test_a_run_without_a_result_has_no_exit_code_0(tmp_path):
    done = CliRunner().invoke(gpu.main, ["run", "--out", str(tmp_path), "--minutes", "0", "--device", "cpu"])
    assert done.exit_code == 1
    assert "not reached in 0 minutes: resnet50-fp32" in done.output
