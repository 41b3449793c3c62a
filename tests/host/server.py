"""ComfyUI in a process of its own that has this pack and nothing else: to run workflows, to test, to draw."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACK = "supir-restoration"
"""Name of the pack's folder in ComfyUI."""

PLACES = (os.environ.get("COMFYUI_PATH"), "~/ComfyUI", "~/comfy/ComfyUI")
WEIGHTS = {
    "checkpoints": (
        "sd_xl_base_1.0_0.9vae.safetensors",
        "juggernautXL_v9Rdphoto2Lightning.safetensors",
    ),
    "model_patches": (
        "SUPIR-v0Q_fp16.safetensors",
        "SUPIR-v0F_fp16.safetensors",
        "adapter.pt",
        "aggregator.pt",
        "previewer_lora_weights.pt",
    ),
    "upscale_models": ("RealESRGAN_x4plus.safetensors",),
    "clip_vision": ("model.safetensors",),
    "detection": ("mediapipe_face_fp32.safetensors",),
}
"""The files that the workflows name, by folder."""

VIDEO = "video.mp4"
"""The video that a workflow names."""

ENDS = ("execution_success", "execution_error", "execution_interrupted")
START_SECONDS, STOP_SECONDS, RUN_SECONDS = 300, 30, 3600
PREVIEW = b"\x00\x00\x00\x01"

Message = dict[str, Any]
Prompt = dict[str, Any]


def find_comfyui() -> Path | None:
    """The folder of ComfyUI: that of COMFYUI_PATH, else the usual ones."""
    paths = [Path(place).expanduser() for place in PLACES if place]
    return next((path for path in paths if (path / "comfy" / "sd.py").is_file()), None)


def make_base(base: Path, comfyui: Path) -> None:
    """Lay out a base folder with the pack, and with ComfyUI's example picture as input."""
    (base / "custom_nodes").mkdir(parents=True)
    (base / "custom_nodes" / PACK).symlink_to(ROOT, target_is_directory=True)
    (base / "input").mkdir()
    shutil.copy(comfyui / "input" / "example.png", base / "input")


def add_placeholders(base: Path) -> None:
    """Empty files of the names of weights and video, for workflows that are looked at and not run."""
    (base / "input" / VIDEO).touch()
    for folder, names in WEIGHTS.items():
        (base / "models" / folder).mkdir(parents=True, exist_ok=True)
        for name in names:
            (base / "models" / folder / name).touch()


def add_models(base: Path, comfyui: Path) -> list[str]:
    """Let a server see the models of ComfyUI's own folder; the flags that tell it so."""
    models = comfyui / "models"
    paths = {"base_path": str(models)} | {path.name: path.name for path in models.iterdir() if path.is_dir()}
    (base / "models.yaml").write_text(json.dumps({"comfyui": paths}))
    return ["--extra-model-paths-config", str(base / "models.yaml")]


@dataclass
class Run:
    """What came of a prompt.

    Attributes:
        id: of the prompt.
        messages: the server's, in order; the last one says how it ended.
        previews: pictures of the sampling as it went, as files.
        pictures: files that were saved.
    """

    id: str
    messages: list[Message] = field(default_factory=list)
    previews: list[bytes] = field(default_factory=list)
    pictures: list[Path] = field(default_factory=list)

    @property
    def end(self) -> str:
        """One of ``ENDS``."""
        return self.messages[-1]["type"]

    def of_type(self, kind: str) -> list[Message]:
        """The data of the messages of a type."""
        return [message["data"] for message in self.messages if message["type"] == kind]


class ComfyServer:
    """A server to enter with ``with``; ``base`` is laid out by ``make_base``."""

    def __init__(self, comfyui: Path, base: Path, flags: Iterable[str] = ("--cpu",)):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.comfyui, self.base = comfyui, base
        self.url = f"http://127.0.0.1:{port}"
        self.command = [sys.executable, "main.py", "--base-directory", str(base), "--port", str(port)]
        self.command += ["--listen", "127.0.0.1", "--disable-auto-launch", "--disable-api-nodes"]
        self.command += ["--database-url", "sqlite:///:memory:", "--preview-method", "latent2rgb", *flags]

    def __enter__(self) -> ComfyServer:
        """Start, and wait until it answers.

        Raises:
            RuntimeError: it does not; the message ends with its log.
        """
        with (self.base / "log.txt").open("w") as log:
            self.process = subprocess.Popen(self.command, cwd=self.comfyui, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                raise RuntimeError(f"ComfyUI in {self.comfyui} did not start; its log ends\n{self.log[-3000:]}")
            time.sleep(0.2)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, without violence where that is enough."""
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @property
    def log(self) -> str:
        """What the server has written so far."""
        return (self.base / "log.txt").read_text(errors="replace")

    def answers(self) -> bool:
        """Whether the server is up."""
        try:
            return bool(self.get("/system_stats"))
        except OSError:
            return False

    def fetch(self, path: str) -> bytes:
        """What the server has under an address."""
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return answer.read()

    def get(self, path: str) -> Any:
        """The same as JSON."""
        return json.loads(self.fetch(path))

    def post(self, path: str, data: Any) -> Any:
        """Send JSON; the answer, where there is one, whether it is a refusal or not."""
        body = json.dumps(data).encode()
        request = urllib.request.Request(self.url + path, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                text = answer.read()
        except urllib.error.HTTPError as refusal:
            text = refusal.read()
        return json.loads(text) if text else None

    def validate(self, prompt: Prompt) -> Any:
        """The server's answer to a prompt, which is then taken back."""
        answer = self.post("/prompt", {"prompt": prompt})
        if "prompt_id" in answer:
            self.post("/queue", {"delete": [answer["prompt_id"]]})
            while self.get("/queue")["queue_running"]:  # it may have begun
                self.post("/interrupt", {"prompt_id": answer["prompt_id"]})
                time.sleep(0.1)
        return answer

    def run(
        self,
        prompt: Prompt,
        workflow: Any = None,
        on_message: Callable[[Message], None] | None = None,
    ) -> Run:
        """Run a prompt to its end; ``workflow`` goes into the pictures saved.

        Raises:
            ValueError: the server refuses the prompt.
            RuntimeError: the server went away.
        """
        listening = self._run(prompt, {"workflow": workflow} if workflow else {}, on_message)
        return asyncio.run(asyncio.wait_for(listening, RUN_SECONDS))

    async def _run(self, prompt: Prompt, png_info: dict[str, Any], on_message: Callable[[Message], None] | None) -> Run:
        import aiohttp  # ComfyUI's own; the rest of this file works without

        client = uuid.uuid4().hex
        async with (
            aiohttp.ClientSession(self.url) as session,
            session.ws_connect(f"/ws?clientId={client}", max_msg_size=0) as socket,
        ):
            told = {"prompt": prompt, "client_id": client, "extra_data": {"extra_pnginfo": png_info}}
            answer = self.post("/prompt", told)
            if answer.get("error") or answer.get("node_errors"):
                raise ValueError(f"ComfyUI refuses the workflow. {_refusal(answer)}")
            run = Run(answer["prompt_id"])
            async for frame in socket:
                if frame.type is aiohttp.WSMsgType.BINARY:
                    if frame.data.startswith(PREVIEW):
                        run.previews.append(frame.data[8:])
                    continue
                message = json.loads(frame.data)
                if message["data"].get("prompt_id") != run.id:
                    continue
                run.messages.append(message)
                if on_message:
                    on_message(message)
                if message["type"] in ENDS:
                    run.pictures = [self._path(image) for image in _saved(run)]
                    return run
        raise RuntimeError(f"ComfyUI went away; its log ends\n{self.log[-3000:]}")

    def _path(self, image: dict[str, str]) -> Path:
        return self.base / "output" / image["subfolder"] / image["filename"]


def _refusal(answer: Any) -> str:
    """What the server says of each node."""
    nodes = answer["node_errors"].values()
    said = [
        f"{node['class_type']}: {error['message']}: {error['details']}" for node in nodes for error in node["errors"]
    ]
    return "\n".join(said) or answer["error"]["message"]


def _saved(run: Run) -> list[dict[str, str]]:
    """The entries of pictures in the output folder, not those of previews."""
    outputs = [data["output"] or {} for data in run.of_type("executed")]
    return [image for output in outputs for image in output.get("images", ()) if image["type"] == "output"]
