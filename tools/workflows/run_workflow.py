r"""Runs an API workflow in ComfyUI without a browser, and copies the pictures that it saves to a folder.

python -m tools.workflows.run_workflow workflows/api/demo.json -o demo_output
python -m tools.workflows.run_workflow workflows/api/restore.json -i photos -o restored \
    --server http://10.0.0.5:8188 --server http://10.0.0.6:8188

With --server the workflow runs once for each picture of a folder, on servers that are there already.
Without it a ComfyUI is started, which is looked for in COMFYUI_PATH, ~/ComfyUI and ~/comfy/ComfyUI, and needs its requirements in the
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

from .farm import run_farm


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workflow", type=Path, help="a file of workflows/api")
    parser.add_argument("-o", "--output", type=Path, default=Path("output"), help="folder for the pictures")
    text = "picture in place of the one that the workflow loads; with --server, a folder of them"
    parser.add_argument("-i", "--image", type=Path, help=text)
    text = "address of a ComfyUI that runs; repeat it for several, which share the pictures"
    parser.add_argument("--server", action="append", metavar="URL", help=text)
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
    prompt = json.loads(options.workflow.read_text(encoding="utf-8"))
    if options.server:
        run_on_servers(options, prompt)
    else:
        run_here(options, prompt)


def run_on_servers(options: argparse.Namespace, prompt: Prompt) -> None:
    """Run the workflow for every picture of a folder."""
    if options.image is None or not options.image.is_dir():
        raise SystemExit(f"--server needs a folder of pictures: -i FOLDER, got {options.image}")
    failures = run_farm(
        options.server, prompt, options.image, options.output, lambda line: print(line, file=sys.stderr)
    )
    for picture, why in failures.items():
        print(f"failed: {picture}: {why}", file=sys.stderr)
    if failures:
        raise SystemExit(1)


def run_here(options: argparse.Namespace, prompt: Prompt) -> None:
    """Run the workflow once, in a ComfyUI that is started for it."""
    comfyui = find_comfyui()
    if comfyui is None:
        raise SystemExit("no ComfyUI: set COMFYUI_PATH to its folder, or put it into ~/ComfyUI")
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
