"""What reading a data set gives, whatever its form: one `ImportedVideo` at a time."""

from dataclasses import dataclass, field

import pyarrow as pa

from schemas.masks import ANNOTATIONS, VOID


@dataclass(slots=True)
class ImportedVideo:
    """One video of a data set.

    `pairs` are MANIFEST rows with absolute URIs, undeclared keys being attributes. `problems` forbid the import;
    `warnings` (what, where) do not.
    """

    video_id: str
    pairs: list[dict] = field(default_factory=list)
    annotations: pa.Table = field(default_factory=ANNOTATIONS.empty_table)
    void: pa.Table = field(default_factory=VOID.empty_table)
    problems: list[str] = field(default_factory=list)
    warnings: list[tuple[str, str]] = field(default_factory=list)
