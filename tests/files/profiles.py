"""Small ICC profiles, made of nothing but their numbers."""

import struct

import numpy as np

D50 = (0.9642, 1.0, 0.8249)
PROPHOTO = ((0.7976749, 0.2880402, 0.0), (0.1351917, 0.7118741, 0.0), (0.0313534, 0.0000857, 0.8252100))
SRGB = ((0.4360747, 0.2225045, 0.0139322), (0.3850649, 0.7168786, 0.0971045), (0.1430804, 0.0606169, 0.7141733))


def profile(space, tags, connection=b"XYZ ", kind=b"mntr"):
    tags = {b"wtpt": xyz(D50), b"desc": b"desc" + bytes(4) + struct.pack(">I", 2) + b"x\0" + bytes(78), **tags}
    body, table, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += struct.pack(">4sII", name, start + len(body), len(data))
        body += data
    head = struct.pack(
        ">I4sI4s4s4s12s4s", start + len(body), bytes(4), 0x02400000, kind, space, connection, bytes(12), b"acsp"
    )
    head = (head + bytes(28)).ljust(68, b"\0") + struct.pack(">3i", *(round(value * 65536) for value in D50))
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def xyz(values):
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))


def gamma(value):
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(value * 256)) + bytes(2)


def table(values):
    return b"curv" + bytes(4) + struct.pack(">I", len(values)) + np.asarray(values, ">u2").tobytes()


def parametric(kind, *values):
    return (
        b"para"
        + bytes(4)
        + struct.pack(">HH", kind, 0)
        + struct.pack(f">{len(values)}i", *(round(v * 65536) for v in values))
    )


def rgb_profile(columns, curve):
    colorants = {name + b"XYZ": xyz(column) for name, column in zip((b"r", b"g", b"b"), columns, strict=True)}
    return profile(b"RGB ", {**colorants, **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)})


def grey_profile(curve):
    return profile(b"GRAY", {b"kTRC": curve})


def lut_profile(space, lab):
    """A profile of a table with two points an axis: ``lab`` gives L, a and b of ink, or light, of 0 or 1 each."""
    inputs = {b"CMYK": 4, b"RGB ": 3}[space]
    corners = [lab(*(index >> (inputs - 1 - axis) & 1 for axis in range(inputs))) for index in range(2**inputs)]
    grid = np.array([(l * 2.55, a + 128, b + 128) for l, a, b in corners]).round().clip(0, 255).astype(np.uint8)
    linear = bytes(range(256))
    matrix = struct.pack(">9i", *(np.eye(3).ravel() * 65536).astype(int))
    tag = b"mft1" + bytes(4) + bytes([inputs, 3, 2, 0]) + matrix + linear * inputs + grid.tobytes() + linear * 3
    return profile(space, {b"A2B0": tag}, connection=b"Lab ", kind=b"prtr")
