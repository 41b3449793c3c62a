"""A workflow for a folder on several ComfyUI servers, which stubs of their interface stand in for."""

import io
import json
import threading
import urllib.parse
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image, ImageOps

from tools.workflows import farm, run_workflow

from .test_cli import make_picture

WORKFLOW = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
    "2": {"class_type": "SupirSaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "SUPIR/x"}},
}


class Stub(BaseHTTPRequestHandler):
    """What ComfyUI answers; its "workflow" inverts the picture. ``server.mood`` says how a prompt ends."""

    def log_message(self, *_):
        pass

    def answer(self, body, code=200):
        self.send_response(code)
        self.end_headers()
        self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

    def do_POST(self):
        server, body = self.server, self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/upload/image":
            form = message_from_bytes(b"Content-Type: " + self.headers["Content-Type"].encode() + b"\r\n\r\n" + body)
            (part,) = (part for part in form.get_payload() if part.get_filename())
            server.uploads[part.get_filename()] = part.get_payload(decode=True)
            return self.answer({"name": part.get_filename(), "subfolder": "", "type": "input"})
        if self.path != "/prompt":
            return self.answer(b"")
        if server.mood == "gone":
            threading.Thread(target=server.close).start()
            self.connection.close()
            return None
        if server.mood == "refuses":
            return self.answer({"error": {}, "node_errors": {"1": "no such model"}}, 400)
        name = f"{id(server)}-{len(server.prompts)}"
        server.prompts[name] = json.loads(body)["prompt"]["1"]["inputs"]["image"]
        return self.answer({"prompt_id": name, "node_errors": {}})

    def do_GET(self):
        server = self.server
        path = urllib.parse.urlparse(self.path)
        name = path.path.rpartition("/")[2]
        if path.path.startswith("/history/"):
            if server.mood == "forgets":
                return self.answer({})
            status = {"status_str": "success", "completed": True, "messages": []}
            if server.mood == "fails":
                error = ["execution_error", {"node_type": "SupirRestore", "exception_message": "no memory"}]
                status = {"status_str": "error", "completed": False, "messages": [error]}
            images = [{"filename": f"{name}.png", "subfolder": "SUPIR", "type": "output"}, {"type": "temp"}]
            return self.answer({name: {"outputs": {"2": {"images": images}}, "status": status}})
        if path.path == "/view":
            query = dict(urllib.parse.parse_qsl(path.query))
            assert (query["subfolder"], query["type"]) == ("SUPIR", "output")
            image = Image.open(io.BytesIO(server.uploads[server.prompts[query["filename"].removesuffix(".png")]]))
            out = io.BytesIO()
            ImageOps.invert(image).save(out, "PNG")
            return self.answer(out.getvalue())
        return self.answer({})  # /queue and /system_stats


class StubServer(ThreadingHTTPServer):
    def __init__(self, mood=""):
        super().__init__(("127.0.0.1", 0), Stub)
        self.mood, self.uploads, self.prompts = mood, {}, {}
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()


@pytest.fixture
def servers(monkeypatch):
    monkeypatch.setattr(farm, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(farm, "RETURN_SECONDS", 0.1)
    started = []

    def start(*moods):
        started.extend(StubServer(mood) for mood in moods)
        return started

    yield start
    for server in started:
        server.close()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(8):
        make_picture(tmp_path / "photos" / f"{number}.png", (8 + number, 8))
    make_picture(tmp_path / "photos" / "0.jpg", (30, 8))
    (tmp_path / "workflow.json").write_text(json.dumps(WORKFLOW))
    return tmp_path


def run(folder, servers, capsys):
    """Run the command; the exit code and what it says."""
    command = [folder / "workflow.json", "-i", folder / "photos", "-o", folder / "out"]
    command += [part for server in servers for part in ("--server", server.url)]
    code = 0
    try:
        run_workflow.main([str(part) for part in command])
    except SystemExit as end:
        code = end.code
    return code, capsys.readouterr().err


@pytest.mark.parametrize("other", ["", "gone", "refuses", "fails", "forgets"])
def test_every_picture_gets_its_result_whatever_becomes_of_one_server(folder, servers, capsys, other):
    assert run(folder, servers("", other), capsys)[0] == 0
    names = {"0.png.png", "0.jpg.png", *(f"{number}.png" for number in range(1, 8))}
    assert {path.name for path in (folder / "out").iterdir()} == names
    for number in range(1, 8):
        source, result = (Image.open(folder / name / f"{number}.png") for name in ("photos", "out"))
        assert ImageOps.invert(source).tobytes() == result.tobytes()


def test_what_is_done_is_not_done_again(folder, servers, capsys):
    (server,) = servers("")
    assert run(folder, [server], capsys)[0] == 0
    assert len(server.prompts) == 9
    (folder / "out" / "3.png").unlink()
    code, said = run(folder, [server], capsys)
    assert (code, "8 of 9 done already" in said) == (0, True)
    assert len(server.prompts) == 10


def test_a_picture_is_tried_on_three_servers_and_listed_with_its_reason(folder, servers, capsys):
    code, said = run(folder, servers("fails", "fails", "fails", "fails"), capsys)
    assert code == 1
    assert said.count("failed: ") == 9
    assert f"failed: {folder / 'photos' / '1.png'}: SupirRestore: no memory" in said
    assert sum(line.startswith(f"{folder / 'photos' / '1.png'}: http") for line in said.splitlines()) == 3


def test_where_no_server_answers_all_pictures_are_listed(folder, servers, capsys):
    (server,) = servers("")
    server.close()
    code, said = run(folder, [server], capsys)
    assert (code, said.count("failed: ")) == (1, 9)


@pytest.mark.parametrize(("image", "said"), [(None, "-i FOLDER, got None"), ("workflow.json", "a folder of pictures")])
def test_servers_need_a_folder(folder, image, said):
    command = [folder / "workflow.json", "--server", "http://127.0.0.1:1", *(["-i", folder / image] if image else [])]
    with pytest.raises(SystemExit, match=said):
        run_workflow.main([str(part) for part in command])
