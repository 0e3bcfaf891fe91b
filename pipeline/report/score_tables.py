"""Tables of scores for papers and pages: CSV, LaTeX and Markdown, with the numbers of the JSON output."""

import csv
import html
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from schemas.printable import one_line, printable

DIGITS = 4  # of LaTeX and Markdown; CSV has them all
# What Markdown reads, formulas and numbered lists among it, and the marks that make a link of a plain address.
_MARKDOWN = re.compile(r"(?i)([\\`*_{}\[\]()#+!|~$-]|:(?=//)|(?<=\bwww)\.|(?<=\d)\.(?=\s|$))")
# What makes a formula of a cell, at its start and after the marks at which some spreadsheets begin another cell.
_FORMULA = re.compile(r"(?:^|(?<=[;\t\r\n]))(?=[\s'\"]*[=+\-@＝＋－＠])|^(?=[\t\r\n])")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "×": r"$\times$",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    **{sign: f"{{{sign}}}" for sign in "[]*"},  # options of the command that ends the row above
}


@dataclass(frozen=True, slots=True)
class Measured:
    """A value with the ends of its 95 % interval, None where unknown."""

    value: float | None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, row: dict, metric: str) -> "Measured":
        """Take a metric of a row of summary.json."""
        return cls(row.get(metric), *((row.get("interval") or {}).get(metric) or (None, None)))


Cell = str | int | float | Measured | None


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """Rows of cells under `head`; a column of `Measured` has it in every row. `notes`: what the numbers mean."""

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()


def table_csv(table: ScoreTable) -> str:
    """Return comma-separated values with all digits; an interval has two columns of its own. Notes are left out."""
    wide = [any(isinstance(row[n], Measured) for row in table.rows) for n in range(len(table.head))]
    head = [
        name
        for title, measured in zip(table.head, wide, strict=True)
        for name in ([title, f"{title} low", f"{title} high"] if measured else [title])
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([escape_csv(name) for name in head])
    for row in table.rows:
        cells: list[object] = []
        for cell in row:
            cells += [cell.value, cell.low, cell.high] if isinstance(cell, Measured) else [cell]
        writer.writerow([escape_csv(cell) if isinstance(cell, str) else "" if cell is None else cell for cell in cells])
    return text.getvalue().rstrip("\n")


def table_markdown(table: ScoreTable) -> str:
    """Return a Markdown table with its notes below."""
    head, *rows = ([_text(cell, escape_markdown, "−") for cell in row] for row in (table.head, *table.rows))
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join([*lines, *(f"\n{escape_markdown(note)}" for note in table.notes)])


def table_latex(table: ScoreTable) -> str:
    """Return a tabular with the rules of the package booktabs, notes as comments above it."""
    texts = [[_text(cell, escape_latex, "$-$") for cell in row] for row in (table.head, *table.rows)]
    numbers = [not any(isinstance(row[n], str) for row in table.rows) for n in range(len(table.head))]
    head, *lines = (f"{' & '.join(row)} \\\\" for row in texts)
    return "\n".join(
        [
            *(f"% {one_line(note)}" for note in table.notes),
            "% needs \\usepackage{booktabs}",
            f"\\begin{{tabular}}{{{''.join('r' if number else 'l' for number in numbers)}}}",
            "\\toprule",
            head,
            "\\midrule",
            *lines,
            "\\bottomrule",
            "\\end{tabular}",
        ]
    )


TABLE_FORMATS = {"csv": table_csv, "latex": table_latex, "markdown": table_markdown}


def escape_csv(text: str) -> str:
    """Return text that no spreadsheet takes for a formula: with an apostrophe before it. Numbers stay as they are."""
    return text if _NUMBER.fullmatch(text) else _FORMULA.sub("'", printable(text))


def escape_markdown(text: str) -> str:
    """Return text that neither Markdown nor HTML changes, on one line."""
    return _MARKDOWN.sub(r"\\\1", html.escape(one_line(text), quote=False))


def escape_latex(text: str) -> str:
    """Return text that LaTeX prints as it is, on one line."""
    escaped = "".join(_LATEX.get(sign, sign) for sign in one_line(text))
    return re.sub(r"([-`',])(?=\1)|[?!](?=`)", r"\g<0>{}", escaped)  # or two become a dash, a quote, or ¿ and ¡


def _text(cell: Cell, escape: Callable[[str], str], minus: str) -> str:
    if isinstance(cell, str):
        return escape(cell)
    if isinstance(cell, Measured):
        known = [end for end in (cell.low, cell.high) if end is not None]
        ends = [_text(end, escape, minus) for end in known]
        return _text(cell.value, escape, minus) + (f" [{', '.join(ends)}]" if ends else "")
    text = "" if cell is None else f"{cell:.{DIGITS}f}" if isinstance(cell, float) else str(cell)
    return text.replace("-", minus)
