"""Settings of a method: a preset or the published ones, with those that were given in their place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ..files.mapping import read_mapping
from ..instantir.settings import InstantSettings
from ..supir.settings import DEFAULT_PRESET, PRESETS, Settings

AnySettings = Settings | InstantSettings


def base_settings(method: str, preset: str | None, demo: bool) -> AnySettings:
    """SUPIR's of a preset, by default the one for the weights; InstantIR's as published."""
    return InstantSettings() if method == "instantir" else PRESETS[preset or ("demo" if demo else DEFAULT_PRESET)]


def with_given(base: AnySettings, given: Mapping[str, Any]) -> AnySettings:
    """Settings with some in their place, by name: one that goes from a value to another is two numbers, or one for both.

    Raises:
        ValueError: there is no such setting, or its value is none for it.
    """
    known = {field.name for field in fields(base)}
    if unknown := set(given) - known:
        raise ValueError(f"settings: expected some of {', '.join(sorted(known))}, got {', '.join(sorted(unknown))}")
    return replace(base, **given)


def settings_named(method: str, how: str, demo: bool) -> AnySettings:
    """Settings by the name of a preset, or in a JSON file, which may name a preset too.

    Raises:
        ValueError: there is no such preset, or the file has no settings of the method.
    """
    given: dict[str, Any] = {}
    if how.endswith(".json"):
        given = read_mapping(Path(how))
        how = given.pop("preset", "")
    if method == "instantir" and how:
        raise ValueError(f'--method instantir: expected a file of settings (.json), got "{how}"')
    if how and how not in tuple(PRESETS):  # in a file it may be anything
        raise ValueError(f'--method supir: expected {", ".join(PRESETS)}, or a file of settings, got "{how}"')
    return with_given(base_settings(method, how, demo), given)
