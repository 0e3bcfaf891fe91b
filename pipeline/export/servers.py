"""Evaluation servers that take zips of masks: pure data, so that the command line can list them at once."""

from dataclasses import dataclass

from schemas.errors import InputError


@dataclass(frozen=True, slots=True)
class Server:
    """Layout that a server expects, ROOT/VIDEO/EXPRESSION/FRAME.png, and the size of its published set."""

    name: str
    title: str
    root: str  # "": the folders of the videos are at the top of the zip
    videos: int
    pairs: int

    def size_notes(self, videos: int, pairs: int) -> list[str]:
        """Return a note if these counts differ from those of the published set."""
        if (videos, pairs) == (self.videos, self.pairs):
            return []
        published = f"{self.videos} videos and {self.pairs} expressions"
        return [f"the published set ({self.title}) has {published}, this zip {videos} and {pairs}"]


# Layouts: docs/Ref-Youtube-VOS.md of wjn922/ReferFormer; README of henghuiding/MeViS, submission guideline.
SERVERS = {
    server.name: server
    for server in (
        Server("ref-youtube-vos", "Ref-YouTube-VOS, valid", "Annotations", 202, 834),
        Server("mevis", "MeViS, valid", "", 140, 2236),
        Server("mevis-v2", "MeViS v2 (2024), valid", "", 140, 2523),
    )
}


def find_server(name: str) -> Server:
    """Return the server with this name. Raises InputError for any other name."""
    if name not in SERVERS:
        raise InputError(f"unknown server '{name}'; choose from {', '.join(SERVERS)}")
    return SERVERS[name]
