"""refervos: referring video object segmentation over large corpora. The command `rvos` is `main`."""

import sys
from pathlib import Path

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


def main() -> None:
    """Run the command `rvos` with the arguments of this process."""
    use_own_modules()
    from cli import main as command

    command(prog_name="rvos")
