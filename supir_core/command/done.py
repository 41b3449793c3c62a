"""Whether a picture is done: its result is whole, and its label says that it was made of this input in this way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from ..files.metadata import DESCRIPTION
from ..files.pictures import UnreadablePictureError, read_label
from .plan import Job
from .task import Task

NOT_IN_THE_PICTURE = ("vae_memory", "tiles_per_call", "same_noise")
"""Settings that change memory and speed, or other pictures of a batch, not a file's one picture."""


OURS = DESCRIPTION.partition("{")[0].encode()
"""What tells a damaged result from a damaged file of somebody else."""


class State(Enum):
    """What is where a result goes."""

    MISSING = "nothing"
    DONE = "the result"
    UNLABELLED = "a picture without a label, where none is asked for: taken for the result"
    DIFFERS = "a result of another input or made in another way, or a damaged one"
    FOREIGN = "a file that is not ours"


OPEN = (State.MISSING, State.DIFFERS)
"""Where there is something to do."""


class Verdict(NamedTuple):
    """What is where a result goes, and for those that are not done a word on why."""

    state: State
    why: str = ""

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self.state in (State.DONE, State.UNLABELLED)


def judge(job: Job, task: Task) -> Verdict:
    """Say what is where the files of a picture go.

    Raises:
        OSError: it cannot be looked at, such as a name that is too long.
    """
    present = [path for path in job.pictures if _there(path)]
    for path in present:
        if path.is_dir():
            return Verdict(State.FOREIGN, f"{path} is a folder; move it, or name another folder for the results")
    if task.overwrite or not present:
        return Verdict(State.MISSING)
    verdicts = {verdict.state: verdict for verdict in (_compare(path, job, task) for path in present)}
    for state in (State.FOREIGN, State.DIFFERS):
        if state in verdicts:
            return verdicts[state]
    for path in job.pictures:
        if path not in present:
            return Verdict(State.DIFFERS, f"{path.name} is missing")
    return verdicts.get(State.UNLABELLED, Verdict(State.DONE))


def _there(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _compare(path: Path, job: Job, task: Task) -> Verdict:
    if path.stat().st_size == 0:
        return Verdict(State.DIFFERS, f"{path.name} is empty")
    try:
        found = read_label(path)
    except UnreadablePictureError:
        if OURS in path.read_bytes():
            return Verdict(State.DIFFERS, f"{path.name} is damaged")
        return Verdict(State.FOREIGN, _keep(f"{path} cannot be read, and is not known to be a result", task))
    wanted = task.label(job)
    if found is None:
        if wanted is None:
            return Verdict(State.UNLABELLED)
        return Verdict(State.FOREIGN, _keep(f"{path} is there and carries no label of a result", task))
    if wanted is None:
        return Verdict(State.DIFFERS, f"{path.name} carries a label")
    text = wanted.text()
    if task.captioned and job.captions is None:  # any words that a model wrote will do
        text["supir.caption"] = found.get("supir.caption") or "of a model"
    difference = _difference(found, text)
    return Verdict(State.DIFFERS, f"{path.name} was made {difference}") if difference else Verdict(State.DONE)


def _keep(what: str, task: Task) -> str:
    return f"{what}; move it" + ("" if task.overwrite is None else ", or replace it with --overwrite")


def _difference(found: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    """How the label that was found differs from the one that is wanted, in words."""
    was, now = _facts(found), _facts(wanted)
    names = [name for name in sorted({*was, *now}) if was.get(name) != now.get(name)]
    return "with " + ", ".join(_words(name, was.get(name), now.get(name)) for name in names) if names else ""


def _words(name: str, was: Any, now: Any) -> str:
    if isinstance(was, (int, float)) and isinstance(now, (int, float)):
        return f"{name} {was} instead of {now}"
    return f"another {name}"


def _facts(text: Mapping[str, str]) -> dict[str, Any]:
    """What decides how a picture looks, by name."""
    plain = ("input", "caption", "positive", "negative")
    settings = json.loads(text.get("supir.settings", "{}"))
    return {
        **{name: text.get(f"supir.{name}") for name in plain},
        "weights": sorted(json.loads(text.get("supir.models", "{}")).values()),
        **{name: value for name, value in settings.items() if name not in NOT_IN_THE_PICTURE},
    }
