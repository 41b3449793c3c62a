"""Damaged, altered and hostile copies of small checkpoints, each of a few megabytes at most."""

import io
import json
import math
import pickle
import random
import re
import struct
import zipfile

import torch
from safetensors.torch import save

from .pickles import Trap

FLIPS, CUTS = 40, 12


def mutations(tensors, folder):
    """``(name, content)`` of about 90 files made from a state dict, most of them of no use."""
    whole = save(tensors)
    yield from header_bits(whole)
    yield from cut("safetensors", whole)
    yield from altered_headers(whole)
    for name, changed in altered_tensors(tensors):
        yield name, save({key: value.contiguous() for key, value in changed.items()})
    yield from pickles(tensors, folder)


def header_bits(whole):
    """A bit of the header, or of its length, is another."""
    (length,) = struct.unpack("<Q", whole[:8])
    for seed in range(FLIPS):
        chance, content = random.Random(seed), bytearray(whole)
        place = chance.randrange(8) if seed % 8 == 0 else chance.randrange(8, 8 + length)
        content[place] ^= 1 << chance.randrange(8)
        yield f"bit {seed}", bytes(content)


def cut(kind, whole):
    for part in range(CUTS):
        yield f"{kind} cut at {part}", whole[: len(whole) * part // CUTS]
    yield f"{kind} and more", whole + b"\0" * 100


def altered_headers(whole):
    """Shapes, offsets and types that the numbers do not have."""
    (length,) = struct.unpack("<Q", whole[:8])
    header, numbers = json.loads(whole[8 : 8 + length]), whole[8 + length :]
    sizes = {key: math.prod(entry["shape"]) for key, entry in header.items() if len(entry["shape"]) == 4}
    keys = sorted(sizes, key=lambda key: -sizes[key])
    key = keys[0]
    entry = header[key]

    def with_entry(**changes):
        encoded = json.dumps({**header, key: {**entry, **changes}}).encode()
        return struct.pack("<Q", len(encoded)) + encoded + numbers

    start, end = entry["data_offsets"]
    for name, changes in {
        "terabytes": {"shape": [10**6, 10**6], "data_offsets": [0, 2 * 10**12]},
        "overflowing": {"shape": [2**40, 2**40, 2**40, 2**40]},
        "negative": {"shape": [-1, *entry["shape"][1:]]},
        "no size": {"shape": []},
        "a size of zero": {"shape": [2**60, 0], "data_offsets": [start, start]},
        "words for sizes": {"shape": ["a"]},
        "shifted": {"data_offsets": [start + 2, end + 2]},
        "backwards": {"data_offsets": [end, start]},
        "beyond the end": {"data_offsets": [len(numbers), len(numbers) + end - start]},
        "another tensor's": {"data_offsets": header[keys[-1]]["data_offsets"]},
        "turned": {"shape": entry["shape"][::-1]},
        "flat": {"shape": [entry["shape"][0] * entry["shape"][1] * entry["shape"][2] * entry["shape"][3]]},
        "of 32 bits": {"dtype": "F32"},
        "of whole numbers": {"dtype": "I16"},
        "of the other 16 bits": {"dtype": "BF16"},
        "of no type": {"dtype": "F17"},
        "without a type": {"dtype": None},
    }.items():
        yield f"header {name}", with_entry(**changes)
    text = whole[8 : 8 + length]
    yield "all of the other 16 bits", _with_header(text.replace(b'"F16"', b'"BF16"'), numbers)
    yield "header of a list", _with_header(b"[]", numbers)
    yield "header of depth", _with_header(b'{"a":' + b"[" * 100_000, numbers)
    yield "length of everything", b"\xff" * 8 + whole[8:]


def _with_header(text, numbers):
    return struct.pack("<Q", len(text)) + text + numbers


def altered_tensors(tensors):
    """Whole files whose contents are others."""
    keys = sorted(tensors)
    for seed in range(12):
        chance = random.Random(seed)
        key = chance.choice(keys)
        value = tensors[key]
        spoiled = value.clone()
        spoiled.view(-1)[chance.randrange(value.numel())] = chance.choice((float("nan"), float("inf"), -float("inf")))
        rest = {other: tensor for other, tensor in tensors.items() if other != key}
        yield f"{key} not finite", {**tensors, key: spoiled}
        yield f"{key} missing", rest
        yield f"{key} renamed", {**rest, f"{key}_old": value}
        yield f"{key} numbered anew", {**rest, re.sub(r"\d+", "99999999999", key, count=1) + "x": value}
        yield f"{key} a number", {**tensors, key: value.view(-1)[0].clone()}
        yield f"{key} longer", {**tensors, key: torch.cat([value, value])}
        yield (
            f"{key} of whole numbers",
            {**tensors, key: value.to(chance.choice((torch.int8, torch.bool, torch.int64)))},
        )
    yield "half zeros", {key: tensors[key] * (number < len(keys) // 2) for number, key in enumerate(keys)}
    yield "all zeros", {key: torch.zeros_like(value) for key, value in tensors.items()}
    yield "more", {**tensors, "optimizer.state": torch.ones(3)}
    yield "averaged", {**tensors, "model_ema.decay": torch.ones(1)}
    yield "wrapped", {f"module.{key}": value for key, value in tensors.items()}
    yield "twice", {**tensors, **{f"module.{key}": value.clone() for key, value in tensors.items()}}
    yield "nothing", {}


def pickles(tensors, folder):
    """Torch's files of both forms, damaged, hostile, and with what is no state dict in them."""
    sprung = folder / "sprung"
    with zipfile.ZipFile(io.BytesIO(saved(tensors, True))) as file:
        reach = max(
            entry.file_size for entry in file.infolist() if entry.filename.endswith(".pkl")
        )  # weights come after it
    for form, zipped in (("zip", True), ("old", False)):
        whole = saved(tensors, zipped)
        yield f"{form} whole", whole
        yield from cut(form, whole)
        for seed in range(20):
            chance, content = random.Random(seed), bytearray(whole)
            content[chance.randrange(reach)] ^= 1 << chance.randrange(8)
            yield f"{form} bit {seed}", bytes(content)
        for name, content in {
            "code": {"state_dict": tensors, "x": Trap(sprung)},
            "code in a name": {Name(sprung): torch.ones(1), **tensors},
            "module": torch.nn.Linear(2, 2),
            "numbers": dict(enumerate(tensors.values())),
            "list": list(tensors.values()),
            "text": "weights",
            "nothing": None,
            "deep": {"state_dict": {"state_dict": {"state_dict": {"state_dict": {"state_dict": tensors}}}}},
            "itself": itself(),
            "claim": {**tensors, next(iter(tensors)): torch.ones(1).expand(1 << 45)},
            "meta": {key: value.to("meta") for key, value in tensors.items()},
            "sparse": {key: value.float().to_sparse() for key, value in list(tensors.items())[:3]},
            "quantised": {k: torch.quantize_per_tensor(v.float(), 0.1, 0, torch.qint8) for k, v in tensors.items()},
            "parameters": {key: torch.nn.Parameter(value) for key, value in tensors.items()},
        }.items():
            yield f"{form} {name}", saved(content, zipped)
    yield "plain pickle", pickle.dumps(Trap(sprung))
    yield "plain pickle, old", pickle.dumps(Trap(sprung), protocol=2)
    yield "allocates", b"\x80\x02cbuiltins\nbytearray\n\x8a\x06\0\0\0\0\0\x40\x85R."
    yield "zip compressed", zipped_anew(saved(tensors, True), zipfile.ZIP_DEFLATED)
    yield "zip stored", zipped_anew(saved(tensors, True), zipfile.ZIP_STORED)
    yield "bomb", zipped_anew(saved({"a": torch.zeros(1)}, True), zipfile.ZIP_DEFLATED, bytes(1 << 28))


class Name:
    """A name that makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return Trap(self.folder).__reduce__()


def itself():
    content = {"a": torch.ones(1)}
    content["state_dict"] = content
    return content


def saved(content, zipped):
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def zipped_anew(content, how, bomb=b""):
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w", how) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
        if bomb:
            new.writestr("archive/data/1", bomb)
    return file.getvalue()
