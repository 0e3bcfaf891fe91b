"""Plots of the pages as SVG files, for papers and slides."""

from collections.abc import Sequence

from pipeline.io import storage
from pipeline.report.page import environment
from pipeline.report.plots import Plot


def write_plots(plots: Sequence[Plot], folder: str) -> list[str]:
    """Write each plot as FOLDER/<key>.svg, on white. Returns the files."""
    template, written = environment().get_template("plot.svg.j2"), []
    for plot in plots:
        written.append(storage.join(folder, f"{plot.key}.svg"))
        storage.write_bytes(written[-1], template.render(p=plot).encode())
    return written
