"""The README's settings table is the settings class."""

from __future__ import annotations

from pathlib import Path

from consilium_live.settings import LiveSettings


def test_every_setting_stands_in_the_readme_with_its_default_and_meaning() -> None:
    text = (Path(__file__).parents[3] / "services" / "live" / "README.md").read_text(encoding="utf-8")
    for name, field in LiveSettings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = "unset" if default is None else default
        assert f"| `CONSILIUM_LIVE_{name.upper()}` | `{shown}` | {field.description} |" in text
