"""A leaderboard: a folder, local or S3, with one Parquet file for each entry and the rule that all entries share.

    STORE/leaderboard.json       what is scored, and how: written with the first entry, never changed
    STORE/entries/NAME.parquet   scores by pair; its footer holds the entry's summary and provenance

Both are created if absent, in one step, first writer wins: an entry is there if and only if its file is. To withdraw an
entry, remove its file.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow.compute as pc

from pipeline.evaluation.protocols import PROTOCOLS, Protocol
from pipeline.evaluation.scoring.collect import SCORE_IDS
from pipeline.evaluation.summary.score_folder import ScoreFolder
from pipeline.evaluation.summary.statistics import holm, paired_difference
from pipeline.io import output_folder, storage
from pipeline.io.parallel import bounded_map
from schemas.errors import InputError, StorageError

RULE = ("protocol", "missing_rule", "void_pixels", "truth_hash")  # equal in all entries
KEPT = ("version", "protocol_confirmed", *RULE, "run_fingerprint", "predictions_hash", "pairs", "frames", "overall")
FORM = 1  # of leaderboard.json and of the footers
FOOTER = b"refervos.entry"
MAX_BYTES = 2**24  # of leaderboard.json
READERS = 8
NOT_ALIKE = 1e-9  # means of one set of scores differ by less, whatever the order of sums


@dataclass(frozen=True, slots=True)
class LeaderboardEntry:
    """One result. `document`: name, added (UTC), and what KEPT names of the summary; `uri`: its file."""

    uri: str
    document: dict

    @property
    def name(self) -> str:
        return self.document["name"]

    def values(self, metric: str) -> Any:
        """One metric by pair: a Series with the ids as index."""
        table = storage.read_table(self.uri, [*SCORE_IDS, "metric", "value"])
        rows: Any = table.filter(pc.equal(table["metric"], metric)).to_pandas()
        return rows.fillna(dict.fromkeys(SCORE_IDS, "")).set_index(list(SCORE_IDS))["value"].sort_index()


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """`rule` is what its entries share, RULE by name."""

    folder: str
    rule: dict

    @classmethod
    def open(cls, folder: str) -> "Leaderboard":
        """Raises InputError if there is none in `folder`, or one of another form."""
        folder = storage.absolute(folder)
        uri = storage.join(folder, "leaderboard.json")
        try:
            document = json.loads(storage.read_bytes(uri, limit=MAX_BYTES))
        except FileNotFoundError:
            raise InputError(f"{folder} is no leaderboard; 'rvos leaderboard add' starts one") from None
        except StorageError:
            raise  # not the file's fault
        except (ValueError, OSError) as error:
            raise InputError(f"{uri} cannot be read: {error}") from None
        if not isinstance(document, dict) or document.get("form") != FORM or set(RULE) - set(document):
            raise InputError(f"{uri} is of another form; it needs another version of rvos")
        if document["protocol"] not in PROTOCOLS:
            raise InputError(f"{uri}: protocol {document['protocol']!r} is not known to this version of rvos")
        return cls(folder, {name: document[name] for name in RULE})

    @classmethod
    def add(cls, folder: str, name: str, scored: ScoreFolder) -> LeaderboardEntry:
        """Add scores under a name, and start the leaderboard if `folder` is empty.

        Raises InputError if they follow another rule (the text says what differs), left out pairs, do not belong
        together, or if the name is taken or no file name.
        """
        folder, summary = storage.absolute(folder), scored.summary
        _check_name(name)
        _check_scores(scored)
        rule = {key: summary[key] for key in RULE}
        _start(folder, rule)
        board = cls.open(folder)
        _refuse_another_rule(board, rule, scored.folder)
        added = datetime.now(UTC).isoformat(timespec="seconds")
        document = {"form": FORM, "name": name, "added": added} | {key: summary[key] for key in KEPT}
        table = storage.read_table(storage.join(scored.folder, "scores.parquet"))
        table = table.select([*SCORE_IDS, "metric", "value"])
        table = table.replace_schema_metadata({FOOTER: json.dumps(document).encode()})
        uri = storage.join(folder, "entries", f"{name}.parquet")
        if not storage.write_table(uri, table, replace=False):
            raise InputError(f"{folder} has an entry {name!r} already; choose another --name, or remove {uri}")
        return LeaderboardEntry(uri, document)

    @property
    def protocol(self) -> Protocol:
        return PROTOCOLS[self.rule["protocol"]]

    def entries(self) -> list[LeaderboardEntry]:
        """All entries, by name. Raises InputError if one is no entry of this leaderboard."""
        folder = storage.join(self.folder, "entries")
        if not storage.is_folder(folder):
            return []
        uris = [storage.join(folder, name) for name in storage.names(folder) if name.endswith(".parquet")]
        found = list(bounded_map(_read_entry, uris, READERS))
        for entry in found:
            _refuse_another_rule(self, entry.document, entry.uri)
        return found

    def standings(self) -> list[dict]:
        """What each entry is and has, the best by the main metric first, with `rank` and `p_against_first`.

        Equal values share a rank. p: how often chance alone would set two such results so far apart, over all pairs
        that both have, by video, corrected (Holm) for there being several; None for the first, and where every frame
        weighs the same, so that the mean is not over pairs.
        """
        entries = self.entries()
        if not entries:
            return []
        metric = self.protocol.metrics[0]
        entries.sort(key=lambda entry: (-_mean(entry, metric), entry.name))
        means = [_mean(entry, metric) for entry in entries]
        compared = len(entries) > 1 and not self.protocol.per_frame
        p = [None, *(holm(_p_values(entries, metric)) if compared else [None] * (len(entries) - 1))]
        return [
            {"rank": 1 + sum(mean > own for mean in means), **entry.document, "p_against_first": chance}
            for entry, own, chance in zip(entries, means, p, strict=True)
        ]


def _check_name(name: str) -> None:
    storage.safe_name(f"{name}.parquet")
    if name != name.strip() or name.startswith(".") or not name.isprintable() or not name:
        raise InputError(f"--name {name!r}: give printable text that does not start with a dot or a space")


def _check_scores(scored: ScoreFolder) -> None:
    """Whether there is all that an entry needs, and whether summary and table are of one evaluation."""
    summary = scored.summary
    lacking = [key for key in KEPT if key not in summary]
    if lacking:
        text = f"its summary.json does not say {', '.join(lacking)}: it is of an older version"
        raise InputError(f"{scored.folder}: {text}; repeat 'rvos evaluate'")
    if summary["missing_rule"] == "skip" and any(summary["pairs"].get(s) for s in ("failed", "missing", "misshaped")):
        text = "pairs that are not predicted were left out (--missing skip), so its means are not over the same pairs"
        raise InputError(f"{scored.folder}: {text}; evaluate with another --missing")
    metric, pairs = scored.metrics[0], scored.pairs()
    if len(pairs) != summary["overall"]["n"] or metric not in pairs:
        raise InputError(f"{scored.folder}: scores.parquet and summary.json are of two evaluations; repeat it")
    by = scored.protocol.mean_over
    values: Any = pairs[metric] if by is None or by not in pairs else pairs.groupby(by)[metric].mean()
    if not scored.protocol.per_frame and abs(values.mean() - summary["overall"][metric]) > NOT_ALIKE:
        raise InputError(f"{scored.folder}: scores.parquet has another mean {metric} than summary.json; evaluate anew")


def _start(folder: str, rule: dict) -> None:
    if not output_folder.has_marker(folder, "leaderboard.json"):
        document = json.dumps({"form": FORM} | rule, indent=2) + "\n"
        storage.create_bytes(storage.join(folder, "leaderboard.json"), document.encode())


def _refuse_another_rule(board: Leaderboard, other: dict, source: str) -> None:
    differences = [
        f"{name} is {other.get(name)!r} here and {board.rule[name]!r} there"
        for name in RULE
        if other.get(name) != board.rule[name]
    ]
    if differences:
        way_out = "evaluate by its rule and on its truth, or start another leaderboard"
        raise InputError(f"{source} does not fit {board.folder}: {'; '.join(differences)}; {way_out}")


def _read_entry(uri: str) -> LeaderboardEntry:
    with storage.open_parquet(uri) as file:
        footer = (file.schema_arrow.metadata or {}).get(FOOTER)
    try:
        document = json.loads(footer or b"")
    except ValueError:
        raise InputError(f"{uri} is no entry of a leaderboard; remove it") from None
    if not isinstance(document, dict) or {"form", "name", "added", *KEPT} - set(document) or document["form"] != FORM:
        raise InputError(f"{uri} is of another form; it needs another version of rvos")
    if not uri.endswith(f"/{document['name']}.parquet"):
        raise InputError(f"{uri} is the file of an entry {document['name']!r}; give it that name again, or remove it")
    return LeaderboardEntry(uri, document)


def _mean(entry: LeaderboardEntry, metric: str) -> float:
    value = entry.document["overall"].get(metric)
    return float("-inf") if value is None else value


def _p_values(entries: Sequence[LeaderboardEntry], metric: str) -> list[float]:
    """Of each entry against the first."""
    first = entries[0].values(metric)
    videos = first.index.get_level_values("video_id").to_numpy(str)

    def p_value(entry: LeaderboardEntry) -> float:
        change = (entry.values(metric).reindex(first.index) - first).to_numpy()
        known = change == change
        return paired_difference(change[known], videos[known]).p if known.any() else 1.0

    return [p_value(entry) for entry in entries[1:]]
