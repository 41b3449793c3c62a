"""Runs an API workflow in ComfyUI without a browser, and copies the pictures that it saves to a folder.

python -m tools.workflows.run_workflow workflows/api/demo.json -o demo_output

ComfyUI is looked for in COMFYUI_PATH, ~/ComfyUI and ~/comfy/ComfyUI, and needs its requirements in the
Python that runs this. It sees the models of that folder, this pack, and no other nodes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.host.server import ComfyServer, Message, Prompt, add_models, find_comfyui, make_base


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workflow", type=Path, help="a file of workflows/api")
    parser.add_argument("-o", "--output", type=Path, default=Path("output"), help="folder for the pictures")
    parser.add_argument("-i", "--image", type=Path, help="picture in place of the one that the workflow loads")
    parser.add_argument("--gpu", action="store_true", help="let ComfyUI use the GPU, not the CPU")
    return parser.parse_args(arguments)


def load_instead(prompt: Prompt, image: Path, base: Path) -> None:
    """Let every Load Image of the workflow load another picture."""
    shutil.copy(image, base / "input")
    for node in prompt.values():
        if node["class_type"] == "LoadImage":
            node["inputs"]["image"] = image.name


def show(message: Message) -> None:
    """Say how far the sampling is."""
    if message["type"] == "progress":
        data = message["data"]
        print(f"\r{data['value']}/{data['max']}", end="", file=sys.stderr, flush=True)


def run_to_folder(server: ComfyServer, prompt: Prompt, folder: Path) -> list[Path]:
    """Run a workflow; the pictures it saved, in ``folder``.

    Raises:
        RuntimeError: a node failed; the message names it.
    """
    run = server.run(prompt, on_message=show)
    print(file=sys.stderr)
    if run.end != "execution_success":
        last = run.messages[-1]["data"]
        raise RuntimeError(f"{last['node_type']}: {last.get('exception_message', run.end)}")
    folder.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copy(picture, folder)) for picture in run.pictures]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the command line says."""
    options = read_options(arguments)
    comfyui = find_comfyui()
    if comfyui is None:
        raise SystemExit("no ComfyUI: set COMFYUI_PATH to its folder, or put it into ~/ComfyUI")
    prompt = json.loads(options.workflow.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "base"
        make_base(base, comfyui)
        flags = [*add_models(base, comfyui), *([] if options.gpu else ["--cpu"])]
        if options.image:
            load_instead(prompt, options.image, base)
        with ComfyServer(comfyui, base, flags) as server:
            try:
                pictures = run_to_folder(server, prompt, options.output)
            except (RuntimeError, ValueError) as error:
                raise SystemExit(str(error)) from error
    for picture in pictures:
        print(picture)


if __name__ == "__main__":
    main()
