"""Lay the wheel out: one name in site-packages, `refervos/`, with `refervos.py` as its `__init__.py`."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class WheelLayout(BuildHookInterface):
    """Leave editable installs alone: a copy in site-packages would hide the checkout."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":
            build_data["force_include"] |= {"refervos.py": "refervos/__init__.py", "cli.py": "refervos/cli.py"}
