"""refervos: referring video object segmentation over large corpora.

The command `rvos` is `main`. The names in `__all__` are the Python interface; docs/python.md shows their use. Modules
behind them are imported when a name is first used.
"""

import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.notebook.one_video import Model, VideoMasks, load_model
    from pipeline.notebook.results import decode_masks, read_masks, read_pairs, read_scores
    from schemas.errors import RvosError
    from schemas.version import __version__

__all__ = [
    "Model",
    "RvosError",
    "VideoMasks",
    "__version__",
    "decode_masks",
    "load_model",
    "read_masks",
    "read_pairs",
    "read_scores",
]

MODULES = {
    "Model": "pipeline.notebook.one_video",
    "RvosError": "schemas.errors",
    "VideoMasks": "pipeline.notebook.one_video",
    "__version__": "schemas.version",
    "decode_masks": "pipeline.notebook.results",
    "load_model": "pipeline.notebook.one_video",
    "read_masks": "pipeline.notebook.results",
    "read_pairs": "pipeline.notebook.results",
    "read_scores": "pipeline.notebook.results",
}
LAST_STREAM = 2  # number of stderr
SHORTAGES = "can't start new thread", "not enough memory", "failed to map segment", "annot allocate memory"
OWN_FOLDER = str(Path(__file__).resolve().parent)
OWN_MODULES = ("cli", "jobs", "model", "pipeline", "schemas")


def use_own_modules() -> None:
    """Import `model`, `pipeline` and the other modules of refervos from its own folder, in this process.

    PYTHONPATH or the working folder may hold other modules of these names. Ray calls this in each worker. Raises
    ImportError if another module of one of these names is already imported.
    """
    for name in OWN_MODULES:
        module = sys.modules.get(name)
        places = [*getattr(module, "__path__", []), getattr(module, "__file__", None)]
        foreign = [place for place in places if place and OWN_FOLDER not in map(str, Path(place).resolve().parents)]
        if foreign:
            raise ImportError(
                f"refervos needs its own module {name!r}, but {foreign[0]} is imported under that name in this "
                "process; rename that one, or use refervos in another process"
            )
    if OWN_FOLDER not in sys.path[:1]:
        sys.path.insert(0, OWN_FOLDER)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used. Raises ImportError as `use_own_modules`."""
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    use_own_modules()
    value = globals()[name] = getattr(importlib.import_module(MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


def main() -> None:
    """Run the command `rvos` with the arguments of this process."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= LAST_STREAM:
        pass  # a closed stream: its number would go to the next file that is opened, and libraries print to it
    os.close(number)
    if sys.stderr is None:  # closed by the caller (2>&-)
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - as long as the process
    try:
        use_own_modules()
        from cli import main as command
        from jobs.terminal.output import guard_streams

        guard_streams()
        command(prog_name="rvos")
    except (MemoryError, RuntimeError, ImportError, OSError) as error:
        reason = str(error).partition("\n")[0]
        if not isinstance(error, MemoryError) and not any(text in reason for text in SHORTAGES):
            raise
        print(
            f"Error: not enough memory or threads for this process{f' ({reason})' if reason else ''}; close other "
            "programs, use a larger machine, or raise its limits (see ulimit -a), then repeat the command",
            file=sys.stderr,
        )
        sys.exit(3)
