"""A leaderboard: a folder, local or S3, with one Parquet file for each entry and the rule that all entries share.

    STORE/leaderboard.json       the rule: written with the first entry, never changed
    STORE/entries/NAME.parquet   scores by pair; its footer holds the entry's summary and provenance

Both are created atomically and only if absent, so the first writer wins. To withdraw an entry, remove its file.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from pipeline.evaluation.protocols import MEAN_WEIGHT, PROTOCOLS, Protocol
from pipeline.evaluation.scoring.collect import SCORE_IDS
from pipeline.evaluation.scoring.score_pairs import NOT_PREDICTED
from pipeline.evaluation.summary.protocol_mean import VideoSums, strata_of, weights_of
from pipeline.evaluation.summary.ranking import pairwise_p, tied_groups
from pipeline.evaluation.summary.score_folder import ScoreFolder, plain_scores, read_json
from pipeline.evaluation.summary.summary_document import summary_problem
from pipeline.io import output_folder, parquet, storage
from pipeline.io.parallel import bounded_map
from schemas.errors import InputError
from schemas.json_text import parse

RULE = ("protocol", "missing_rule", "void_pixels", "truth_hash")  # equal in all entries
KEPT = ("version", "protocol_confirmed", *RULE, "run_fingerprint", "predictions_hash", "pairs", "frames", "overall")
FORM = 1  # of leaderboard.json and of the footers
FOOTER = b"refervos.entry"
MAX_RULE_BYTES = 2**24
ENTRY_READERS = 8
MEAN_TOLERANCE = 1e-9  # for another order of summation


@dataclass(frozen=True, slots=True)
class LeaderboardEntry:
    """One result. `document`: name, added (UTC), and the keys KEPT of the summary; `uri`: its file."""

    uri: str
    document: dict

    @property
    def name(self) -> str:
        return self.document["name"]

    def mean(self, metric: str) -> float:
        """Return the overall value of a metric; -inf if it has none."""
        value = self.document["overall"].get(metric)
        return float("-inf") if value is None else value

    def scores(self, metric: str) -> Any:
        """Return the rows of a metric, with the ids as index."""
        rows: Any = plain_scores(parquet.read_table(self.uri), self.uri)
        return rows[rows["metric"] == metric].set_index(list(SCORE_IDS)).sort_index()


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """A ranking of results of one `rule`: the RULE keys with their values."""

    folder: str
    rule: dict

    @classmethod
    def open(cls, folder: str) -> "Leaderboard":
        """Raises InputError if `folder` is not a leaderboard, or one that this version cannot read."""
        folder = storage.absolute(folder)
        uri = storage.join(folder, "leaderboard.json")
        absent = f"{folder} is not a leaderboard; 'rvos leaderboard add' creates one"
        document = read_json(uri, MAX_RULE_BYTES, absent)
        if not isinstance(document, dict) or document.get("form") != FORM or set(RULE) - set(document):
            raise InputError(f"{uri} has another form; use the version of rvos that wrote it")
        if document["protocol"] not in [*PROTOCOLS]:  # a list: the value may be of any type
            raise InputError(f"{uri}: this version of rvos does not know the protocol {document['protocol']!r}")
        if document.get("decay_8bit"):
            text = (
                "its entries have a decay with 8-bit frame numbers (--decay-8bit), which this version does not support"
            )
            raise InputError(f"{uri}: {text}; start a leaderboard in a new folder")
        return cls(folder, {name: document[name] for name in RULE})

    @classmethod
    def add(cls, folder: str, name: str, scored: ScoreFolder) -> LeaderboardEntry:
        """Add scores under a name; create the leaderboard if `folder` is empty.

        Raises InputError if the scores follow another rule (the text lists the differences), exclude pairs or are
        inconsistent, or if the name is taken or cannot be a file name.
        """
        folder, summary = storage.absolute(folder), scored.summary
        file, plain = f"{name}.parquet", name.isprintable() and name == name.strip() and not name.startswith(".")
        if not name or not plain or set("/\\") & set(name) or len(file.encode()) > storage.MAX_NAME_BYTES:
            most = storage.MAX_NAME_BYTES - len(".parquet")
            raise InputError(
                f"--name {name!r}: give printable text of at most {most} bytes, without / and \\, that starts with no "
                "dot, and neither starts nor ends with a blank"
            )
        storage.safe_name(file)
        absent = [key for key in KEPT if key not in summary]
        if absent:
            text = f"summary.json has no {', '.join(absent)}, since an older version wrote it"
            raise InputError(f"{scored.folder}: {text}; repeat 'rvos evaluate'")
        rule = {key: summary[key] for key in RULE}
        exists = output_folder.has_marker(folder, "leaderboard.json")
        if exists:
            cls.open(folder).require_same_rule(rule, scored.folder)
        _check_scores(scored)
        if not exists:
            document = json.dumps({"form": FORM} | rule, indent=2) + "\n"
            storage.write_bytes(storage.join(folder, "leaderboard.json"), document.encode(), replace=False)
        board = cls.open(folder)
        board.require_same_rule(rule, scored.folder)
        added = datetime.now(UTC).isoformat(timespec="seconds")
        entry = {"form": FORM, "name": name, "added": added} | {key: summary[key] for key in KEPT}
        table = parquet.read_table(storage.join(scored.folder, "scores.parquet"))
        columns = [*SCORE_IDS, "metric", "value", scored.protocol.mean_over, MEAN_WEIGHT]
        table = table.select([name for name in dict.fromkeys(columns) if name in table.column_names])
        uri = storage.join(folder, "entries", f"{name}.parquet")
        table = table.replace_schema_metadata({FOOTER: json.dumps(entry).encode()})
        if not parquet.write_table(uri, table, replace=False):
            raise InputError(f"{folder} already has an entry {name!r}; choose another --name, or remove {uri}")
        return LeaderboardEntry(uri, entry)

    @property
    def protocol(self) -> Protocol:
        return PROTOCOLS[self.rule["protocol"]]

    def require_same_rule(self, rule: dict, source: str) -> None:
        """Raise InputError with the differences if `rule`, of `source`, is another one."""
        differences = [
            f"{name} is {rule.get(name)!r} here and {own!r} there"
            for name, own in self.rule.items()
            if rule.get(name) != own
        ]
        if differences:
            way_out = "evaluate with that rule and those annotations, or start another leaderboard"
            raise InputError(f"{source} does not fit {self.folder}: {'; '.join(differences)}; {way_out}")

    def entries(self) -> list[LeaderboardEntry]:
        """Return all entries, by name. Raises InputError if a file is not an entry of this leaderboard."""
        folder = storage.join(self.folder, "entries")
        if not storage.is_folder(folder):
            return []
        uris = [storage.join(folder, name) for name in storage.names(folder) if name.endswith(".parquet")]
        entries = list(bounded_map(_read_entry, uris, ENTRY_READERS))
        for entry in entries:
            self.require_same_rule(entry.document, entry.uri)
        return entries

    def standings(self) -> list[dict]:
        """Return the documents of all entries, the best by the main metric first, with rank, p and groups.

        Equal values share a `rank`. `p_against_first` is that of `pairwise_p`, None for the first entry; `groups` are
        the letters of `tied_groups`. Raises InputError if an entry lacks what the protocol averages by.
        """
        metric = self.protocol.metrics[0]
        entries = sorted(self.entries(), key=lambda entry: (-entry.mean(metric), entry.name))
        if not entries:
            return []
        p = pairwise_p(self._sums(entries, metric))
        return [
            {
                "rank": 1 + sum(other.mean(metric) > entry.mean(metric) for other in entries),
                **entry.document,
                "p_against_first": float(p[0, n]) if n else None,
                "groups": groups,
            }
            for n, (entry, groups) in enumerate(zip(entries, tied_groups(p), strict=True))
        ]

    def _sums(self, entries: list[LeaderboardEntry], metric: str) -> VideoSums:
        """Return the sums of the entries, one column each. Raises InputError if a mean is not that of the entry."""
        tables = [entry.scores(metric) for entry in entries]
        pairs = tables[0].index
        values, weights = np.zeros((2, len(pairs), len(entries)))
        for n, (entry, rows) in enumerate(zip(entries, tables, strict=True)):
            rows = rows.assign(weight=weights_of(self.protocol, rows, entry.uri)).reindex(pairs)
            values[:, n], weights[:, n] = rows["value"].to_numpy(), rows["weight"].fillna(0.0).to_numpy()
        first = tables[0].reset_index()
        sums = VideoSums.of(values, weights, first["video_id"].to_numpy(str), strata_of(self.protocol, first))
        for entry, mean in zip(entries, sums.means().tolist(), strict=True):
            if not abs(mean - entry.mean(metric)) <= MEAN_TOLERANCE:  # NaN too
                text = f"its pairs have the mean {metric} {mean:.6f}, its summary has {entry.mean(metric):.6f}"
                raise InputError(f"{entry.uri}: {text}; remove the file and add the scores again")
        return sums


def _check_scores(scored: ScoreFolder) -> None:
    """Raise InputError if the scores are incomplete, or the summary and the table are of different evaluations."""
    summary = scored.summary
    if summary["missing_rule"] == "skip" and any(summary["pairs"].get(s) for s in NOT_PREDICTED):
        text = "pairs without predictions were skipped (--missing skip), so the means are not comparable"
        raise InputError(f"{scored.folder}: {text}; evaluate with another --missing")
    metric, table = scored.metrics[0], scored.table()
    rows: Any = table[table["metric"] == metric]
    if len(table.drop_duplicates(list(SCORE_IDS))) != summary["overall"]["n"] or not len(rows):
        text = "scores.parquet and summary.json are of two evaluations"
        raise InputError(f"{scored.folder}: {text}; repeat 'rvos evaluate'")
    weights = weights_of(scored.protocol, rows, f"scores.parquet of {scored.folder}")
    strata = strata_of(scored.protocol, rows)
    sums = VideoSums.of(rows[["value"]].to_numpy(), weights[:, None], rows["video_id"].to_numpy(str), strata)
    stated = summary["overall"][metric]
    if stated is None or not abs(sums.means()[0] - stated) <= MEAN_TOLERANCE:  # NaN too
        text = f"scores.parquet has another mean {metric} than summary.json"
        raise InputError(f"{scored.folder}: {text}; repeat 'rvos evaluate'")


def _read_entry(uri: str) -> LeaderboardEntry:
    with parquet.open_file(uri) as file:
        footer = (file.schema_arrow.metadata or {}).get(FOOTER)
    try:
        document = parse(footer or b"")
    except ValueError:
        raise InputError(f"{uri} is not an entry of a leaderboard; remove it") from None
    if not isinstance(document, dict) or {"form", "name", "added", *KEPT} - set(document) or document["form"] != FORM:
        raise InputError(f"{uri} has another form; use the version of rvos that wrote it")
    texts = {name: document[name] for name in ("name", "added")}
    problem = summary_problem(document) or next((name for name in texts if not isinstance(texts[name], str)), None)
    if problem:
        raise InputError(f"{uri} is not an entry of a leaderboard ({problem} cannot be used); remove it")
    if not uri.endswith(f"/{document['name']}.parquet"):
        raise InputError(f"{uri} is the file of an entry {document['name']!r}; restore that file name, or remove it")
    return LeaderboardEntry(uri, document)
