"""Pictures in a store that speaks S3, and in one that knows no whole objects: read, restored, resumed, never cut."""

import json
import logging
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import fsspec
import pytest
from PIL import Image

from supir_core.command import cli
from supir_core.command.costs import REQUESTS
from supir_core.files import objects
from supir_core.files.metadata import read_label
from supir_core.files.objects import Address, place
from supir_core.restoration.canvas import Restored

from ..command.stub import stub
from ..command.test_cli import make_picture


@pytest.fixture(scope="module")
def server():
    """A local server that speaks S3; gives what fsspec is told of it."""
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(server, monkeypatch):
    """An empty bucket."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "FSSPEC_S3_ENDPOINT_URL": server,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": server})
    store = fsspec.filesystem("s3", skip_instance_cache=True)
    store.mkdir("photos")
    yield store
    store.invalidate_cache()
    for key in store.find("photos"):
        store.rm(key)
    store.rmdir("photos")


@pytest.fixture
def run_stub(monkeypatch, capsys):
    monkeypatch.setattr("supir_core.command.weights.Weights.restorer", lambda _: stub)
    monkeypatch.setattr("supir_core.command.weights.Weights.hashes", {"weights": "0"})

    def run(*arguments):
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        code = cli.main(["restore", *map(str, arguments), "--demo", "--scale", "1", "--json"])
        shown = capsys.readouterr()
        return code, [json.loads(line) for line in shown.out.splitlines()], shown.err

    return run


def put(store, tmp_path, *keys):
    for key in keys:
        store.put_file(str(make_picture(tmp_path / "a.png", (24, 16))), key)


def test_addresses_make_names_as_paths_do():
    address = place("s3://bucket/folder/a.jpg")
    assert isinstance(address, Address)
    assert str(address.with_suffix(".png")) == "s3://bucket/folder/a.png"
    assert str(address.parent / "below" / "b.png") == "s3://bucket/folder/below/b.png"
    assert not isinstance(place("folder/a.jpg"), Address)
    assert place("file:///folder/a.jpg") == Path("/folder/a.jpg")


def test_a_bucket_is_restored_to_a_bucket_and_resumed(run_stub, bucket, tmp_path):
    put(bucket, tmp_path, "photos/in/a.png", "photos/in/june/a.png", "photos/in/b.png")
    bucket.pipe("photos/in/b.txt", b"a boat")
    bucket.pipe("photos/in/notes.md", b"no picture")
    bucket.pipe("photos/in/june/bad.png", b"no picture")
    command = ("s3://photos/in", "-o", "s3://photos/out", "-r")
    code, lines, said = run_stub(*command)
    assert code == 1
    assert "passed over: .md: 1" in said
    assert "failed: s3://photos/in/june/bad.png: not a picture" in said
    assert {line["result"]: line["state"] for line in lines} == {
        "s3://photos/out/a.png": "restored",
        "s3://photos/out/b.png": "restored",
        "s3://photos/out/june/a.png": "restored",
        "s3://photos/out/june/bad.png": "failed",
    }
    bucket.invalidate_cache()
    assert bucket.find("photos/out") == ["photos/out/a.png", "photos/out/b.png", "photos/out/june/a.png"]
    with bucket.open("photos/out/b.png") as file:
        (tmp_path / "b.png").write_bytes(file.read())
    assert read_label(tmp_path / "b.png")["supir.caption"] == "a boat"
    before = {key: entry["LastModified"] for key, entry in bucket.find("photos/out", detail=True).items()}
    assert [line["state"] for line in run_stub(*command)[1]].count("done") == 3
    bucket.invalidate_cache()
    assert {key: entry["LastModified"] for key, entry in bucket.find("photos/out", detail=True).items()} == before


def test_a_mask_beside_a_picture_in_a_bucket_counts(bucket, monkeypatch, run_stub, tmp_path):
    put(bucket, tmp_path, "photos/in/a.png", "photos/in/a.mask.png")
    monkeypatch.setattr(
        "supir_core.command.batch.restore_masked", lambda _, picture, mask, *__, **___: Restored(picture, picture)
    )
    code, lines, said = run_stub("s3://photos/in", "-o", "s3://photos/out")
    assert (code, "passed over: masks: 1" in said, len(lines)) == (0, True, 1)
    bucket.invalidate_cache()
    bucket.get_file("photos/out/a.png", str(tmp_path / "b.png"))
    assert len(json.loads(read_label(tmp_path / "b.png")["supir.settings"])["mask"]) == 64


def test_a_picture_takes_the_requests_that_are_planned_for(run_stub, bucket, tmp_path, caplog):
    put(bucket, tmp_path, "photos/in/a.png")
    caplog.set_level(logging.INFO, "werkzeug")
    caplog.clear()
    assert run_stub("s3://photos/in", "-o", "s3://photos/out")[0] == 0
    asked = [
        re.search(r"(GET|HEAD|PUT|POST|DELETE) /photos/(in|out)/a\.", record.getMessage()) for record in caplog.records
    ]
    kinds = {"GET": "GET", "PUT": "PUT and POST", "POST": "PUT and POST"}
    assert Counter(kinds[found[1]] for found in asked if found) == REQUESTS


def test_pictures_go_from_a_disk_to_a_bucket_and_back(run_stub, bucket, tmp_path):
    source = make_picture(tmp_path / "a.png", (24, 16))
    assert run_stub(source, "-o", "s3://photos/out", "--stage1")[0] == 0
    bucket.invalidate_cache()
    assert bucket.find("photos/out") == ["photos/out/a.png", "photos/out/a_stage1.png"]
    assert run_stub("s3://photos/out/a.png", "-o", tmp_path / "again")[0] == 0
    assert Image.open(tmp_path / "again" / "a.png").size == (24, 16)


def test_a_picture_of_somebody_else_in_a_bucket_stays(run_stub, bucket, tmp_path):
    put(bucket, tmp_path, "photos/in/a.png", "photos/out/a.png")
    before = bucket.cat("photos/out/a.png")
    code, _, said = run_stub("s3://photos/in", "-o", "s3://photos/out")
    assert (code, "s3://photos/out/a.png is there and carries no label" in said) == (1, True)
    assert bucket.cat("photos/out/a.png") == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("s3://photos/in", "-o", "s3://photos/in/out", "-r"), "name another folder for the results"),
        (("s3://photos/none", "-o", "s3://photos/out"), "s3://photos/none: no such object or folder"),
        (("s3://photos/in", "-o", "s3://nobody/out"), "s3://nobody/out: results cannot be written there"),
        (("wrong://photos/in", "-o", "s3://photos/out"), "wrong"),
    ],
)
def test_mistakes_are_one_clear_line(run_stub, bucket, tmp_path, arguments, said):
    put(bucket, tmp_path, "photos/in/a.png", "photos/in/out/b.png")
    code, _, told = run_stub(*arguments)
    assert (code, told.count("\n")) == (1, 1), told
    assert said in told


CUT = """
import os, sys
import s3fs
from fsspec.asyn import sync_wrapper
from pathlib import Path
from supir_core.command.costs import REQUESTS
from supir_core.files import objects

class Cut(s3fs.S3FileSystem):
    async def _call_s3(self, method, *arguments, **named):
        given = await super()._call_s3(method, *arguments, **named)
        if method == "upload_part":
            os._exit(9) if sys.argv[2] == "killed" else None
            raise OSError(5, "the line is cut")
        return given

    call_s3 = sync_wrapper(_call_s3)

import fsspec
fsspec.register_implementation("s3", Cut, clobber=True)
objects.store(Path(sys.argv[1]), objects.place("s3://photos/out/a.bin"))
"""


@pytest.mark.parametrize(("how", "code"), [("killed", 9), ("broken", 1)])
def test_a_cut_upload_leaves_nothing(bucket, tmp_path, how, code):
    (tmp_path / "a.bin").write_bytes(bytes(2**27))  # goes up in parts
    done = subprocess.run([sys.executable, "-c", CUT, tmp_path / "a.bin", how], check=False, capture_output=True)
    assert done.returncode == code, done.stderr
    bucket.invalidate_cache()
    assert bucket.find("photos") == []
    assert len(bucket.list_multipart_uploads("photos")) == (how == "killed")  # invisible, and charged for


def test_what_is_cut_leaves_what_was_there(tmp_path, monkeypatch):
    target, source = place("memory://out/below/a.png"), tmp_path / "a.png"
    where, key = objects.open_store(target)
    source.write_bytes(b"whole")
    objects.store(source, target)
    assert where.cat(key) == b"whole"

    def cut(given, taken, _):
        taken.write(given.read(3))
        raise OSError(5, "the line is cut")

    monkeypatch.setattr("supir_core.files.objects.shutil.copyfileobj", cut)
    source.write_bytes(b"another")
    with pytest.raises(OSError, match="cut"):
        objects.store(source, target)
    assert where.cat(key) == b"whole"
    assert len(where.find(key.rpartition("/")[0])) == 1


def test_without_fsspec_an_address_says_which_package(run_stub, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(RuntimeError, match=r'pip install -e "\.\[cloud\]"'):
        objects.open_store(place("s3://photos/in"))
