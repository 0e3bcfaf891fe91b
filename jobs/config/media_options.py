"""Options of all commands that open videos."""

from jobs.config.options import command_config, option


@command_config
class MediaOptions:
    """Limits on the addresses and paths that the rows of a manifest may open."""

    allow_private: bool = option(
        default=False,
        heading="Access",
        help="Read http:// and https:// videos also from loopback, link-local and private addresses. Applies to "
        "addresses in manifest rows. Servers that you name on the command line are always allowed.",
    )
    allow_local: bool = option(
        default=False, heading="Access", help="Allow local paths in a remote manifest, run or folder of scores."
    )
