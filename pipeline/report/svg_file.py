"""Plots of the pages as SVG files, for papers and slides."""

from collections.abc import Sequence

from pipeline.io import output_file, storage
from pipeline.report.page import environment
from pipeline.report.plots import Plot


def write_plots(plots: Sequence[Plot], folder: str, made_of: str) -> list[str]:
    """Write each plot as FOLDER/<key>.svg, on white. Returns the files.

    made_of: what the plots show. Raises InputError if a file of such a name shows anything else; nothing is written.
    """
    template = environment().get_template("plot.svg.j2")
    texts = {storage.join(folder, f"{plot.key}.svg"): template.render(p=plot, made_of=made_of) for plot in plots}
    for uri, text in texts.items():
        output_file.require_own(uri, next(line for line in text.splitlines() if line.startswith("<metadata>")))
    for uri, text in texts.items():
        storage.write_bytes(uri, text.encode())
    return list(texts)
