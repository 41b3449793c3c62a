"""Pickles: what loads of them, and what is refused in one line."""

import os
import zipfile

import numpy as np
import pytest
import torch

from supir_core.files.checkpoint import UnsupportedCheckpointError, open_checkpoint
from supir_core.files.kinds import SUPIR

from .pickles import save_with_training_state, trap
from .variants import assert_equal, loaded


def test_a_pickle_from_training_loads(supir, tmp_path):
    save_with_training_state(supir, tmp_path / "last.ckpt")
    assert b"ModelCheckpoint" in (tmp_path / "last.ckpt").read_bytes()
    assert_equal(tmp_path / "last.ckpt", SUPIR, supir, tmp_path)


def zipped_anew(tensors, path, how):
    torch.save(tensors, path.with_suffix(".old"))
    with zipfile.ZipFile(path.with_suffix(".old")) as old, zipfile.ZipFile(path, "w", how) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))


def test_a_zip_without_compression_loads(supir, tmp_path):
    zipped_anew(supir, tmp_path / "again.ckpt", zipfile.ZIP_STORED)
    assert_equal(tmp_path / "again.ckpt", SUPIR, supir, tmp_path)


def itself():
    content = {"state_dict": None, "a": torch.ones(1)}
    content["state_dict"] = content
    return content


def of_quantised(t):
    key = "model.control_model.time_embed.0.weight"
    return t | {key: torch.quantize_per_tensor(t[key].float(), 0.1, 0, torch.qint8)}


PICKLES = {
    "compressed": (
        lambda t, p: zipped_anew(t, p, zipfile.ZIP_DEFLATED),
        r"zipped anew, with compression.*Unpack it and zip it without compression \(zip -0 -r\)",
    ),
    "code": (
        lambda t, p: torch.save({"state_dict": t, "x": trap(p)}, p),
        r"asks for code to be run, which was refused \(posix.mkdir\)",
    ),
    "whole module": (
        lambda t, p: torch.save(torch.nn.Linear(2, 2), p),
        r"code .* refused \(torch.nn.modules.linear.Linear\)",
    ),
    "damaged pickle": (lambda t, p: flipped(t, p), "a damaged torch file"),
    "a zip of something else": (
        lambda t, p: zipfile.ZipFile(p, "w").writestr("a.txt", "b"),
        "is no torch file. Unpack it",
    ),
    "TorchScript": (
        lambda t, p: (torch.save(t, p), zipfile.ZipFile(p, "a").writestr("a/constants.pkl", b"")),
        "a TorchScript file, a program with its weights, which is not run",
    ),
    "holds itself": (lambda t, p: torch.save(itself(), p), "this is a file of unknown content"),
    "numbers for names": (lambda t, p: torch.save(dict(enumerate(t.values())), p), "but one is called 0"),
    "quantised": (lambda t, p: torch.save(of_quantised(t), p), r"time_embed.0.weight is quantised \(qint8\)"),
    "sparse": (lambda t, p: torch.save(t | {"x": torch.eye(3).to_sparse()}, p), "x is no plain tensor"),
    "expanded": (
        lambda t, p: torch.save(t | {"model.control_model.time_embed.0.bias": torch.ones(1).expand(1 << 40)}, p),
        "time_embed.0.bias claims to be .1099511627776,., more numbers than the file has of it",
    ),
    "a list": (lambda t, p: torch.save([1, 2], p), "this is a pickled list"),
    "empty": (lambda t, p: p.write_bytes(b""), "an empty file"),
    "zeros": (lambda t, p: p.write_bytes(bytes(4096)), "a file of zeros, which a download that broke off leaves"),
    "GGUF": (lambda t, p: p.write_bytes(b"GGUF" + bytes(99)), "a GGUF file, quantised for other programs"),
}


def flipped(tensors, path):
    torch.save(tensors, path)
    content = bytearray(path.read_bytes())
    at = content.index(b"model.control_model")
    content[at - 5 : at] = b"\xff" * 5
    path.write_bytes(content)


@pytest.mark.parametrize("variant", PICKLES)
def test_a_pickle_is_refused_in_one_line(variant, supir, tmp_path):
    write, said = PICKLES[variant]
    write(supir, tmp_path / "a.ckpt")
    with pytest.raises(UnsupportedCheckpointError, match=said) as refusal:
        loaded(tmp_path / "a.ckpt", SUPIR)
    assert "\x1b" not in str(refusal.value) and "\n" not in str(refusal.value)
    assert not (tmp_path / "sprung").exists()


def test_what_is_no_file_is_said(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, said in (
        (tmp_path / "pipe", "a device or a pipe"),
        ("/dev/zero", "a device or a pipe"),
        (tmp_path, "a folder"),
    ):
        with pytest.raises(FileNotFoundError, match=f"but it is {said}"):
            open_checkpoint(path)


def test_numpy_is_not_asked(tmp_path):
    """What stands for numpy's number makes none."""
    torch.save({"state_dict": {"a": torch.ones(1)}, "score": np.float64(0.5)}, tmp_path / "a.ckpt")
    assert open_checkpoint(tmp_path / "a.ckpt").shapes == {"a": (1,)}
