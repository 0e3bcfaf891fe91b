"""Plots of the pages as SVG files, for papers and slides."""

from collections.abc import Sequence

from pipeline.io import storage
from pipeline.report.page import environment
from pipeline.report.plots import Plot


def plot_svg(plot: Plot) -> bytes:
    """Render a plot as a file of its own, on white."""
    return environment().get_template("plot.svg.j2").render(p=plot).encode()


def write_plots(plots: Sequence[Plot], folder: str) -> list[str]:
    """Write each plot as FOLDER/<key>.svg. Returns the files."""
    written = []
    for plot in plots:
        written.append(storage.join(folder, f"{plot.key}.svg"))
        storage.write_bytes(written[-1], plot_svg(plot))
    return written
