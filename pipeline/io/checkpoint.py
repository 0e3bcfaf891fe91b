"""Find and check the checkpoint that an option `--checkpoint` names."""

from contextlib import AbstractContextManager, nullcontext

from model.bundled import BUNDLED, FOLDER
from model.errors import CheckpointError
from model.families import check_checkpoint, check_refiner
from model.segmenter import CheckpointInfo
from pipeline.io.local_copy import local_folder
from schemas.errors import InputError
from schemas.shown import shown


def checkpoint_folder(checkpoint: str) -> AbstractContextManager[str]:
    """Yield a local path of a checkpoint: of a folder, of a copy of a remote folder, or of the bundled checkpoint."""
    return nullcontext(str(FOLDER)) if checkpoint == BUNDLED else local_folder(checkpoint)


def read_checkpoint_info(checkpoint: str, *, refines: bool = False) -> CheckpointInfo:
    """Check a checkpoint, one that refines masks or not, without loading its weights into memory.

    Raises InputError if it is incomplete, damaged or of another kind.
    """
    with checkpoint_folder(checkpoint) as folder:
        try:
            return check_refiner(folder) if refines else check_checkpoint(folder)
        except CheckpointError as error:
            raise InputError(checkpoint_problem(checkpoint, folder, error)) from None


def checkpoint_problem(checkpoint: str, folder: str, error: Exception) -> str:
    """Return the text of an error about a checkpoint whose local path is `folder`. The path is printed once."""
    reason = str(error).replace(f"{folder}/", "").removeprefix(f"{folder}: ")
    return f"--checkpoint {shown(checkpoint)}: {reason}"
