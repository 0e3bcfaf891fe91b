"""Write the masks of a run in the formats that servers, viewers and trainers read: one module for each format.

Every format has one writer, and all writers have the same signature:

    def write_x(source: MaskSource, out: str, **options) -> Exported

source: `source.videos()` yields the pairs of one video after the other, each with its manifest row and its masks.
out: absolute path or URI of the file to write, or of the folder, which exists and is empty or holds the same export.
options: the fields of the format's config other than `run`, `out` and `manifest`, by keyword.

A writer holds the masks of one video at a time, writes the same bytes for the same masks, and makes a file visible
only when it is complete (`storage.commit`). For a broken mask it raises InputError that names the pair and the frame.

To add a format, write its module and add a line to the table of formats of `rvos export`.
"""
