"""Training recipes, one TOML file each: the published ones, and those of the bundled small model."""

from pathlib import Path

FOLDER = Path(__file__).parent
RECIPES = tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))
