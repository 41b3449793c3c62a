"""Runs a workflow for many pictures on several ComfyUI servers, by their HTTP interface alone."""

from __future__ import annotations

import copy
import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

from supir_core.command.plan import Job, Order, make_plan
from supir_core.files.writing import SUFFIX_FORMATS, write_whole

MOST_SERVERS = 3
"""On how many servers a picture is tried before it is given up."""

POLL_SECONDS, ANSWER_SECONDS, RETURN_SECONDS = 1.0, 60.0, 300.0
"""Between two looks; until an answer is given up; until a server that does not answer is."""

FAULTS = (OSError, HTTPException, ValueError, RuntimeError, LookupError, TypeError)
"""A server that is gone or answers nonsense, a workflow that it refuses, a node that failed."""

Prompt = dict[str, Any]


class Server:
    """A ComfyUI server at an address such as http://10.0.0.5:8188."""

    def __init__(self, url: str):
        self.url = url.rstrip("/")

    def run(self, prompt: Prompt, picture: Path) -> list[tuple[str, bytes]]:
        """Run a workflow on a picture; names and bytes of the pictures that it saves.

        Raises:
            OSError: the server does not answer.
            ValueError: it refuses the workflow.
            RuntimeError: a node failed, or the server was started again meanwhile.
        """
        answer = self._post("/prompt", {"prompt": loading(prompt, self._upload(picture))})
        if "prompt_id" not in answer:
            raise ValueError(f"{self.url} refuses the workflow: {json.dumps(answer.get('node_errors') or answer)}")
        name = answer["prompt_id"]
        try:
            entry = self._wait(name)
        except BaseException:
            self._cancel(name)
            raise
        images = [image for output in entry["outputs"].values() for image in output.get("images", ())]
        saved = [image for image in images if image["type"] == "output"]
        if not saved:
            raise RuntimeError("the workflow saves no picture")
        return [(image["filename"], self._fetch(f"/view?{urllib.parse.urlencode(image)}")) for image in saved]

    def answers(self) -> bool:
        """Whether the server is up."""
        try:
            self._fetch("/system_stats")
        except OSError:
            return False
        return True

    def _wait(self, name: str) -> dict[str, Any]:
        while True:
            waiting = self._fetch("/queue").decode()  # asked first: between the two it may be done
            entry = json.loads(self._fetch(f"/history/{name}")).get(name)
            if entry:
                status = entry["status"]
                if status["status_str"] != "success":
                    raise RuntimeError(_failure(status))
                return entry
            if name not in waiting:
                raise RuntimeError(
                    f"{self.url} knows nothing of it any more; it was started again, or its queue cleared"
                )
            time.sleep(POLL_SECONDS)

    def _cancel(self, name: str) -> None:
        try:
            self._post("/queue", {"delete": [name]})
            self._post("/interrupt", {"prompt_id": name})
        except (OSError, ValueError):
            return

    def _upload(self, picture: Path) -> str:
        edge = uuid.uuid4().hex
        parts = [("overwrite", "", b"true"), ("image", f'; filename="{edge}{picture.suffix}"', picture.read_bytes())]
        body = b"".join(
            f'--{edge}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + data + b"\r\n"
            for name, more, data in parts
        )
        body += f"--{edge}--\r\n".encode()
        answer = json.loads(self._fetch("/upload/image", body, f"multipart/form-data; boundary={edge}"))
        return "/".join(filter(None, (answer.get("subfolder"), answer["name"])))

    def _post(self, path: str, data: Any) -> Any:
        try:
            text = self._fetch(path, json.dumps(data).encode(), "application/json")
        except urllib.error.HTTPError as refusal:
            text = refusal.read()
        return json.loads(text) if text else {}

    def _fetch(self, path: str, body: bytes | None = None, kind: str = "") -> bytes:
        request = urllib.request.Request(self.url + path, body, {"Content-Type": kind} if body else {})
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
            return answer.read()


def loading(prompt: Prompt, name: str) -> Prompt:
    """The workflow with another picture in every Load Image.

    Raises:
        ValueError: it loads none.
    """
    prompt = copy.deepcopy(prompt)
    nodes = [node for node in prompt.values() if node["class_type"] == "LoadImage"]
    if not nodes:
        raise ValueError("the workflow has no Load Image, so it would do the same for every picture")
    for node in nodes:
        node["inputs"]["image"] = name
    return prompt


def _failure(status: Any) -> str:
    for kind, data in status.get("messages", ()):
        if kind == "execution_error":
            return f"{data.get('node_type')}: {data.get('exception_message')}"
    return status["status_str"]


@dataclass
class Pictures:
    """The pictures that are left, and by whom each has been tried.

    Attributes:
        waiting: for a server.
        failures: why those that are given up could not be done.
    """

    waiting: list[Job]
    failures: dict[Job, str] = field(default_factory=dict)
    _tried: dict[Job, set[str]] = field(default_factory=dict)
    _in_hand: int = 0
    _news: threading.Condition = field(default_factory=threading.Condition)

    def take(self, url: str) -> Job | None:
        """A picture for a server that has not tried it, as soon as there is one; nothing where there will be none."""
        with self._news:
            while True:
                for job in self.waiting:
                    if url not in self._tried.get(job, ()):
                        self.waiting.remove(job)
                        self._in_hand += 1
                        return job
                if not self._in_hand:
                    return None
                self._news.wait()

    def end(self, job: Job, url: str, error: Exception | None = None) -> None:
        """Say what became of a picture; one that failed waits for other servers, if there are any left for it."""
        with self._news:
            self._in_hand -= 1
            if error is not None:
                self._tried.setdefault(job, set()).add(url)
                self.failures[job] = str(error) or type(error).__name__
                if len(self._tried[job]) < MOST_SERVERS:
                    self.waiting.insert(0, job)
            else:
                self.failures.pop(job, None)
            self._news.notify_all()


def run_farm(
    urls: Sequence[str], prompt: Prompt, folder: Path, output: Path, tell: Callable[[str], None]
) -> dict[Path, str]:
    """Run a workflow for every picture of a folder, each on whichever server is free, and write what it saves.

    A result is named as its picture, further ones with a number. A picture whose result is there is passed over.

    Returns:
        Why pictures could not be done, by picture.
    """
    jobs = make_plan(Order([folder], output)).jobs
    pictures = Pictures([job for job in jobs if not _is_done(job)])
    tell(f"{len(jobs) - len(pictures.waiting)} of {len(jobs)} done already")
    threads = [threading.Thread(target=_serve, args=(Server(url), prompt, pictures, tell), daemon=True) for url in urls]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():  # an interrupt is not seen in a wait without end
            thread.join(POLL_SECONDS)
    left = {job: pictures.failures.get(job, "no server answers") for job in pictures.waiting}
    return {job.source: why for job, why in {**pictures.failures, **left}.items()}


def _serve(server: Server, prompt: Prompt, pictures: Pictures, tell: Callable[[str], None]) -> None:
    while (job := pictures.take(server.url)) is not None:
        try:
            for number, (name, data) in enumerate(server.run(prompt, job.source), start=1):
                write_whole(_named(job, name, number), lambda file, data=data: file.writelines([data]))
        except FAULTS as error:  # of this picture or of this server; another one may do it
            tell(f"{job.source}: {server.url}: {error}")
            pictures.end(job, server.url, error)
            if not _answers_again(server):
                tell(f"{server.url} does not answer any more; it is left out")
                return
        else:
            tell(f"{job.source}: done by {server.url}")
            pictures.end(job, server.url)


def _answers_again(server: Server) -> bool:
    end = time.monotonic() + RETURN_SECONDS
    while not server.answers():
        if time.monotonic() > end:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _named(job: Job, name: str, number: int) -> Path:
    suffix = Path(name).suffix
    return job.result.with_name(f"{job.result.stem}{f'_{number}' if number > 1 else ''}{suffix}")


def _is_done(job: Job) -> bool:
    return any(job.result.with_name(job.result.stem + suffix).is_file() for suffix in SUFFIX_FORMATS)
