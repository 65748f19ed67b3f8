"""Ways to damage a file: on its bytes, and on what the format means by them. Each is a function of a seeded generator.

A mutation of a format takes the whole file apart, changes one thing and puts it together again with right lengths and
checksums, so that the damage gets past the first look of a decoder.
"""

from __future__ import annotations

import contextlib
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import yaml

Mutation = Callable[[bytes, Random], bytes]

EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF)
STRANGE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, -(2**31), 2**63, 10**40, 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", " ", "a\nb", "\x00", "../up.png", "/etc/passwd", "..\\up.png", "C:\\x.png", "a" * 5000, "\ud800", "<script>"),
    *([], {}, [[]], [None], {"": None}, [0] * 500, {"size": [1, 1], "counts": "1"}),
)


# ------------------------------------------------------------------------------------------------- any file


def truncate(content: bytes, random: Random) -> bytes:
    return content[: random.choice([0, 1, 2, len(content) // 2, len(content) - 1, random.randrange(len(content) + 1)])]


def flip_bits(content: bytes, random: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(random.choice([1, 1, 2, 8, 64])):
        if changed:
            changed[_early(len(changed), random)] ^= 1 << random.randrange(8)
    return bytes(changed)


def insert_bytes(content: bytes, random: Random) -> bytes:
    place = _early(len(content) + 1, random)
    return content[:place] + random.randbytes(random.choice([1, 3, 17, 1000])) + content[place:]


def delete_bytes(content: bytes, random: Random) -> bytes:
    place = _early(len(content) + 1, random)
    return content[:place] + content[place + random.choice([1, 2, 15, 200]) :]


def repeat_bytes(content: bytes, random: Random) -> bytes:
    first, last = sorted(random.randrange(len(content) + 1) for _ in range(2))
    return content[:last] + content[first:last] * random.choice([1, 2, 5]) + content[last:]


def extreme_field(content: bytes, random: Random) -> bytes:
    width = random.choice([1, 2, 4, 8])
    place = _early(max(1, len(content) - width), random)
    value = random.choice(EXTREMES) % (1 << 8 * width)
    return content[:place] + value.to_bytes(width, random.choice(["little", "big"])) + content[place + width :]


def noise(content: bytes, random: Random) -> bytes:
    return content[: random.choice([0, 4, 16])] + random.randbytes(random.randrange(1, 2000))


BYTES: tuple[Mutation, ...] = (
    truncate, flip_bits, flip_bits, insert_bytes, delete_bytes, repeat_bytes, extreme_field, extreme_field, noise,
)  # fmt: skip


def splice(content: bytes, random: Random, other: bytes) -> bytes:
    """The beginning of one file and the end of another."""
    return content[: random.randrange(len(content) + 1)] + other[random.randrange(len(other) + 1) :]


def _early(length: int, random: Random) -> int:
    """A position, in half of the cases among the first 200, where most formats keep what they say of themselves."""
    return random.randrange(max(1, min(length, 200) if random.random() < 0.5 else length))


# ------------------------------------------------------------------------------------------------- trees


def change_tree(value: Any, random: Random) -> Any:
    """A tree of lists and mappings with one place changed: another value, gone, doubled, renamed, deep, or long."""
    places = list(_places(value))
    if not places:
        return random.choice(STRANGE)
    parent, key = random.choice(places)
    what = random.randrange(8)
    if what == 0:
        del parent[key]
    elif what == 1 and isinstance(parent, list):
        parent.insert(key, parent[key])
    elif what == 1:
        parent[random.choice(["id", "name", "x" * 300, "__class__", "base"])] = parent.pop(key)
    elif what == 2:
        parent[key] = nest(random.choice([3, 60, 900]), random.random() < 0.5)
    elif what == 3:
        other, other_key = random.choice(places)
        with contextlib.suppress(IndexError, KeyError):
            other[other_key], parent[key] = parent[key], other[other_key]
    elif what == 4 and isinstance(parent[key], int | float):
        parent[key] = parent[key] * random.choice([-1, 1000, 10**12, 0.5])
    else:
        parent[key] = random.choice(STRANGE)
    return value


def nest(depth: int, mapping: bool = False) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = {"a": value} if mapping else [value]
    return value


def _places(value: Any) -> Any:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(pairs):
        yield value, key
        yield from _places(item)


def change_json(content: bytes, random: Random) -> bytes:
    value = json.loads(content)
    for _ in range(random.choice([1, 1, 1, 2, 4])):
        value = change_tree(value, random)
    try:
        return _endless(json.dumps(value), random).encode(errors="surrogatepass")
    except RecursionError:  # a branch that was put into itself
        return b"[" * 5000


def _endless(text: str, random: Random) -> str:
    """Now and then a number of thousands of digits, or brackets that never end, in place of a number."""
    if random.random() > 0.08:
        return text
    digits = [place for place, sign in enumerate(text) if sign.isdigit()]
    if not digits:
        return text
    place = random.choice(digits)
    return text[:place] + random.choice(["9" * 6000, "[" * 3000, '{"a":' * 3000, "1e999", "-", '"']) + text[place + 1 :]


YAML_PIECES = (
    "!!python/object/apply:os.system ['touch {canary}']",
    "!!python/object/new:os.system ['touch {canary}']",
    "!!python/name:os.system",
    "!!python/module:os",
    "!!binary aGVsbG8=",
    "!!timestamp 2020-99-99",
    "!!set {a, b}",
    "!!omap [a: 1]",
    "&a [*a, *a]",
    "[&x [1,1,1,1,1,1,1,1], &y [*x,*x,*x,*x,*x,*x,*x,*x], &z [*y,*y,*y,*y,*y,*y,*y,*y], [*z,*z,*z,*z,*z,*z,*z,*z]]",
    "{<<: {a: 1}, b: 2}",
    "*nobody",
    "? [a, b]",
    "1:30:59",
    "0b" + "1" * 9000,
    "9" * 5000,
    ".inf",
    "'",
    "|\n  text",
    "\t",
    "%TAG ! tag:x,2000:",
    "\u2028",
    "\x07",
)


def change_yaml(content: bytes, random: Random) -> bytes:
    if random.random() < 0.5:
        value = yaml.safe_load(content)
        for _ in range(random.choice([1, 1, 2])):
            value = change_tree(value, random)
        try:
            return yaml.safe_dump(value, sort_keys=False, allow_unicode=random.random() < 0.5).encode(errors="replace")
        except (yaml.YAMLError, RecursionError):
            return b"- " * 3000
    lines = content.decode().splitlines()
    row = random.randrange(len(lines))
    piece = random.choice(YAML_PIECES)
    key, colon, _ = lines[row].partition(":")
    what = random.randrange(5)
    if what == 0 and colon:
        lines[row] = f"{key}: {piece}"
    elif what == 1:
        lines.insert(row, piece)
    elif what == 2:
        lines[row] = " " * random.choice([1, 2, 7]) + lines[row]
    elif what == 3:
        lines.insert(row, lines[row])
    else:
        lines[row] = f"{key}: " + random.choice(["[" * 2000, "{a: " * 1500, "&n " * 50, bomb()])
    return "\n".join(lines).encode(errors="replace")


def bomb(levels: int = 9) -> str:
    """A list that is 9 ** levels long once its aliases are followed."""
    parts = ["&a0 [x,x,x,x,x,x,x,x,x]"]
    parts += [f"&a{level} [{','.join([f'*a{level - 1}'] * 9)}]" for level in range(1, levels)]
    return "[" + ", ".join(parts) + "]"


# ------------------------------------------------------------------------------------------------- pictures


def change_png(content: bytes, random: Random) -> bytes:
    chunks = _png_chunks(content)
    what = random.randrange(9)
    if what <= 2:  # the header: size, depth, colour, interlace
        values = list(struct.unpack(">IIBBBBB", chunks[0][1]))
        place = random.randrange(7)
        values[place] = random.choice(EXTREMES) % (1 << (32 if place < 2 else 8))
        chunks[0] = (b"IHDR", struct.pack(">IIBBBBB", *values))
    elif what == 3:
        del chunks[random.randrange(len(chunks))]
    elif what == 4:
        chunks.insert(random.randrange(len(chunks) + 1), random.choice(chunks))
    elif what == 5:
        random.shuffle(chunks)
    elif what == 6:  # texts and profiles that unpack to 200 MB
        packed = zlib.compress(bytes(200_000_000), 1)
        name = random.choice([b"zTXt", b"iCCP"])
        chunks.insert(1, (name, b"name\0\0" + packed))
    elif what == 7:  # other data than the header promises
        data = zlib.compress(random.randbytes(random.choice([0, 10, 10**4])) + bytes(random.choice([0, 5 * 10**7])), 1)
        chunks = [(name, data if name == b"IDAT" else body) for name, body in chunks]
    else:
        extra = random.choice([b"acTL", b"fcTL", b"tRNS", b"PLTE", b"eXIf", b"gAMA", b"sBIT", b"tEXt"])
        chunks.insert(1, (extra, random.randbytes(random.choice([0, 1, 4, 26, 800]))))
    return content[:8] + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


def _png_chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    chunks, place = [], 8
    while place + 8 <= len(content):
        length = struct.unpack_from(">I", content, place)[0]
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    return chunks


def change_jpeg(content: bytes, random: Random) -> bytes:
    """One of the segments before the scan: gone, doubled, with other content or another length."""
    places = [
        place for place in range(2, len(content) - 4) if content[place] == 0xFF and content[place + 1] not in (0, 0xFF)
    ]
    place = random.choice(places[:12])
    length = struct.unpack_from(">H", content, place + 2)[0]
    segment = content[place : place + 2 + length]
    what = random.randrange(5)
    if what == 0:
        segment = b""
    elif what == 1:
        segment = segment * random.choice([2, 40])
    elif what == 2:
        segment = segment[:4] + random.randbytes(max(0, len(segment) - 4))
    elif what == 3:
        segment = segment[:2] + struct.pack(">H", random.choice(EXTREMES) % 65536) + segment[4:]
    else:  # of a frame header: the two sides
        segment = segment[:5] + struct.pack(">HH", *(random.choice(EXTREMES) % 65536 for _ in range(2))) + segment[9:]
    return content[:place] + segment + content[place + 2 + length :]


# ------------------------------------------------------------------------------------------------- containers


def change_zip(content: bytes, random: Random) -> bytes:
    """The archive anew, with one entry changed, gone, doubled or under a name that leads elsewhere."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = [(info.filename, archive.read(info)) for info in archive.infolist()]
    place = random.randrange(len(entries)) if random.random() < 0.5 else 0  # the first is the pickle
    name, body = entries[place]
    what = random.randrange(6)
    if what == 0:
        del entries[place]
    elif what == 1:
        entries[place] = (random.choice(["../../up", "/absolute", "a\\..\\b", "", "x" * 4000]), body)
    elif what == 2:
        entries.append((f"{name.split('/')[0]}/../../canary", b"x"))
    elif what == 3:
        entries[place] = (name, bytes(50_000_000))
    else:
        entries[place] = (name, random.choice(BYTES)(body, random) if body else b"\x80")
    written = io.BytesIO()
    packing = random.choice([zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    with zipfile.ZipFile(written, "w", packing) as archive:
        for name, body in entries:
            archive.writestr(zipfile.ZipInfo(name), body, packing)
    return written.getvalue()


def change_safetensors(content: bytes, random: Random) -> bytes:
    length = struct.unpack_from("<Q", content)[0]
    header, data = content[8 : 8 + length], content[8 + length :]
    what = random.randrange(5)
    if what == 0:
        return struct.pack("<Q", random.choice(EXTREMES)) + header + data
    if what == 1:
        return content[: 8 + length] + data[: random.randrange(len(data))]
    if what == 2:  # what Snowmelt says of its network
        parsed = json.loads(header)
        about = parsed.get("__metadata__", {})
        if "snowmelt" in about:
            about["snowmelt"] = change_json(about["snowmelt"].encode(), random).decode(errors="replace")
            header = json.dumps(parsed).encode()
            return struct.pack("<Q", len(header)) + header + data
    header = change_json(header, random)
    return struct.pack("<Q", len(header)) + header + data


def change_npy(content: bytes, random: Random) -> bytes:
    """Another header: shape, type (objects too) or order, with the right length."""
    shapes = ["(0,)", "()", "(-1, 4)", f"({2**40}, {2**30})", "(1, 7, 9)", "(4, 2000000000)", "(7, 9, 3)", "(True, 3)"]
    types = ["|O", "<f8", "<f2", ">u2", "|S9", "<U4", "<c16", "<i8", "|b1", "<M8[s]", "V5", "f4,i2", "x"]
    shape, kind = random.choice(shapes), random.choice(types)
    text = random.choice(
        [
            f"{{'descr': '{kind}', 'fortran_order': False, 'shape': (4, 12, 16), }}",
            f"{{'descr': '<f4', 'fortran_order': {random.choice(['True', '1', 'None'])}, 'shape': {shape}, }}",
            f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}",
            "{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (3,), }",
            "{" * 3000,
            "__import__('os').system('true')",
            "",
        ]
    )
    header = text.encode() + b"\n"
    length = random.choice([len(header), len(header), 0, 65535])
    return (
        b"\x93NUMPY" + bytes([random.choice([1, 1, 1, 2, 9]), 0]) + struct.pack("<H", length) + header + content[128:]
    )


def change_onnx(content: bytes, random: Random) -> bytes:
    """The model anew with one field of the graph changed."""
    import onnx

    model = onnx.load_from_string(content)
    graph = model.graph
    what = random.randrange(12)
    tensor = random.choice(graph.initializer)
    node = random.choice(graph.node)
    if what == 0:
        tensor.dims[random.randrange(len(tensor.dims))] = random.choice([0, -1, 7, 2**31, 2**40])
    elif what == 1:
        tensor.raw_data = tensor.raw_data[: random.randrange(len(tensor.raw_data) + 1)]
    elif what == 2:
        tensor.data_type = random.choice([0, 1, 2, 7, 8, 9, 10, 16, 99])
    elif what == 3:
        node.op_type = random.choice(["Nothing", "Loop", "If", "Softmax", "Conv", "ConstantOfShape", "Tile", "Expand"])
    elif what == 4:
        node.input[random.randrange(len(node.input))] = random.choice(["", "nobody", node.output[0], "x" * 2000])
    elif what == 5:
        sides = random.choice([graph.input, graph.output])[0].type.tensor_type.shape.dim
        sides[random.randrange(len(sides))].dim_value = random.choice([0, 1, 5, 64, 2**20, 2**31, -3])
    elif what == 6:
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        place = random.choice(["../outside.bin", "/etc/passwd", "..\\outside.bin", "missing.bin", "", "model.onnx"])
        for key, value in (("location", place), ("offset", random.choice(["0", "-1", "99999999999"]))):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value
    elif what == 7:
        model.opset_import[0].version = random.choice([0, 1, 6, 99, 2**31])
    elif what == 8:
        del random.choice([graph.node, graph.initializer, graph.input, graph.output])[0]
    elif what == 9:
        for attribute in node.attribute:
            attribute.ints[:] = [random.choice([0, -1, 1, 2**20, 2**40]) for _ in attribute.ints]
    elif what == 10:
        onnx.helper.set_model_props(
            model, {"classes": random.choice(['["a"]', "[" * 5000, "7", '[""]']), "mean": "[1]"}
        )
    else:
        graph.node.append(node)
    return model.SerializeToString()


def change_array(content: bytes, random: Random) -> bytes:
    """A float array with other values: none of them finite, huge, or of another sign."""
    array = np.load(io.BytesIO(content), allow_pickle=False).copy()
    flat = array.reshape(-1)
    if array.dtype.kind == "f" and flat.size:
        flat[random.randrange(flat.size)] = random.choice([np.nan, np.inf, -np.inf, 1e30, -5.0])
    written = io.BytesIO()
    np.save(written, array if random.random() < 0.7 else array.T)
    return written.getvalue()
