"""Put `refervos.py` into the wheel as `refervos/__init__.py`, so that site-packages gets one name."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class WheelLayout(BuildHookInterface):
    """Add the modules at top level to the wheel, except in editable installs: a copy would hide the checkout."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":
            build_data["force_include"] |= {"refervos.py": "refervos/__init__.py", "cli.py": "refervos/cli.py"}
