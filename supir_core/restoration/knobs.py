"""What a setting may be and what it does, said once: for validation, the command, the nodes and their help."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

from .denoiser import LinearSchedule


@dataclass(frozen=True)
class Knob:
    """A number or a choice that a user may set.

    Attributes:
        text: what it does and which way, in a sentence or two.
        default: its value where nobody sets it.
        least: smallest value allowed.
        most: largest value allowed.
        step: how finely a number widget moves; whole numbers must be multiples of it.
        choices: the values allowed, for words.
    """

    text: str
    default: Any = None
    least: float = -math.inf
    most: float = math.inf
    step: float = 1
    choices: tuple[str, ...] = ()

    def check(self, name: str, value: Any) -> None:
        """Refuse a value that the knob does not allow.

        Raises:
            ValueError: it is not among the choices, not a number, or out of range.
        """
        if value is None and self.default is None:
            return
        if isinstance(self.default, bool):
            if not isinstance(value, bool):
                raise ValueError(f"{name} must be True or False, got {value!r}")
        elif self.choices:
            if value not in self.choices:
                words = " or ".join(f'"{choice}"' for choice in self.choices)
                raise ValueError(f'{name} must be {words}, got "{value}"')
        elif isinstance(self.default, str):
            if not isinstance(value, str):
                raise ValueError(f"{name} must be text, got {value!r}")
        elif isinstance(self.default, LinearSchedule):
            if not isinstance(value, LinearSchedule):
                raise ValueError(f"{name} must be one number, or two for start and end, {self.range()}, got {value!r}")
            self._check_number(name, value.start)
            self._check_number(name, value.end)
        else:
            self._check_number(name, value)

    def range(self) -> str:
        """The values allowed, in words."""
        if self.choices:
            return ", ".join(self.choices)
        multiple = f"a multiple of {self.step} " if self._whole() and self.step > 1 else ""
        return f"{multiple}within {_short(self.least)} to {_short(self.most)}"

    def _whole(self) -> bool:
        return self.step >= 1

    def _check_number(self, name: str, number: Any) -> None:
        if isinstance(number, bool) or not isinstance(number, int if self._whole() else (int, float)):
            kind = "a whole number (int)" if self._whole() else "a number (int or float)"
            raise ValueError(f"{name} must be {self.range()}, {kind}, got {number!r}")
        if not self.least <= number <= self.most or (self._whole() and number % self.step):
            raise ValueError(f"{name} must be {self.range()}, got {number}")


def _short(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


def knob(default: Any, text: str, **limits: Any) -> Any:
    """A dataclass field that carries its knob."""
    return field(default=default, metadata={"knob": Knob(text, default, **limits)})


def knobs(settings: Any) -> dict[str, Knob]:
    """The knobs of a settings class or object by their names, with the class's own defaults."""
    return {entry.name: entry.metadata["knob"] for entry in fields(settings) if "knob" in entry.metadata}


class Checked:
    """What a dataclass of knobs begins with: it refuses values that they do not allow.

    What goes from a value to another may be given as two numbers, or as one for both.

    Raises:
        ValueError: a value is out of its range, or not among the choices.
    """

    def __post_init__(self) -> None:
        for name, described in knobs(self).items():
            if isinstance(described.default, LinearSchedule):
                object.__setattr__(self, name, LinearSchedule.of(getattr(self, name)))
            described.check(name, getattr(self, name))


SCALE = Knob("Enlargement of the result; 1 keeps the size.", 2.0, least=0.1, most=16.0, step=0.05)
"""Of every picture, unless an exact size is asked for."""
