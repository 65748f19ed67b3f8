"""Small sound files of every kind that Snowmelt reads, as bytes: what the fuzzer damages."""

from __future__ import annotations

import io
import json
import struct
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

HEIGHT, WIDTH = 24, 32
CLASSES = ("background", "thing")
RUNS = "S3<<0000000000000000000000000]:"  # a box, in the letters of COCO
ENCODER = "tu-mobilenetv3_small_050"
NETWORK = {
    "architecture": "unet", "encoder": ENCODER, "depth": 5, "decoder_channels": [16, 8, 8, 8, 8], "out_channels": 1,
}  # fmt: skip
TEACHER = "0123456789abcdef" * 4


@dataclass(frozen=True)
class Seed:
    """A file that is damaged, and the sound ones around it.

    Attributes:
        path: of the damaged file, below the folder that the way in is shown.
        form: its format, which decides how it can be damaged.
        around: the other files by their paths.
    """

    path: str
    form: str
    content: bytes
    around: dict[str, bytes] = field(default_factory=dict)


# ------------------------------------------------------------------------------------------------- pictures


def pixels(seed: int = 0, channels: int = 3) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, channels), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))


def encoded(picture: Image.Image, form: str, **options: Any) -> bytes:
    written = io.BytesIO()
    picture.save(written, form, **options)
    return written.getvalue()


def mask_pixels() -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[6:15, 8:20] = 1
    return mask


def pictures() -> dict[str, tuple[str, bytes]]:
    """(format, content) by file name: modes and formats that cameras and programs write."""
    colour = Image.fromarray(pixels())
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "camera"
    upright = Image.fromarray(np.ascontiguousarray(pixels().transpose(1, 0, 2)))
    frames = [Image.fromarray(pixels(seed)).quantize(16) for seed in range(3)]
    deep = Image.fromarray(pixels()[..., 0].astype(np.uint16) * 257)
    found = {
        "colour.png": ("png", encoded(colour, "PNG")),
        "alpha.png": ("png", encoded(colour.convert("RGBA"), "PNG")),
        "palette.png": ("png", encoded(colour.quantize(32), "PNG")),
        "deep.png": ("png", encoded(deep, "PNG")),
        "bits.png": ("png", encoded(colour.convert("1"), "PNG")),
        "frames.png": ("png", encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])),
        "photo.jpg": ("jpeg", encoded(colour, "JPEG")),
        "turned.jpg": ("jpeg", encoded(upright, "JPEG", exif=exif, progressive=True)),
        "cmyk.jpg": ("jpeg", encoded(colour.convert("CMYK"), "JPEG")),
        "plain.bmp": ("bmp", encoded(colour, "BMP")),
        "raw.tif": ("tiff", encoded(colour, "TIFF")),
        "packed.tif": ("tiff", encoded(colour, "TIFF", compression="tiff_lzw")),
        "deflated.tif": ("tiff", encoded(deep, "TIFF", compression="tiff_adobe_deflate")),
        "frames.tif": ("tiff", encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:])),
        "lossless.webp": ("webp", encoded(colour, "WEBP", lossless=True)),
        "frames.webp": ("webp", encoded(colour, "WEBP", save_all=True, append_images=[upright.resize(colour.size)])),
        "frames.gif": ("gif", encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], loop=0)),
        "plain.ppm": ("ppm", encoded(colour, "PPM")),
        "grey.pgm": ("ppm", encoded(colour.convert("L"), "PPM")),
    }
    return found


def masks() -> dict[str, tuple[str, bytes]]:
    labels = mask_pixels()
    palette = Image.fromarray(labels, mode=None).convert("P")
    palette.putpalette([0, 0, 0, 255, 0, 0] + [0] * 750)
    return {
        "ids.png": ("png", encoded(Image.fromarray(labels), "PNG")),
        "palette.png": ("png", encoded(palette, "PNG")),
        "bits.png": ("png", encoded(Image.fromarray(labels * 255).convert("1"), "PNG")),
        "deep.png": ("png", encoded(Image.fromarray(labels.astype(np.uint16)), "PNG")),
        "equal.png": ("png", encoded(Image.fromarray(np.repeat(labels[..., None], 3, axis=2)), "PNG")),
        "ids.tif": ("tiff", encoded(Image.fromarray(labels), "TIFF", compression="packbits")),
        "ids.gif": ("gif", encoded(palette, "GIF")),
        "ids.bmp": ("bmp", encoded(palette, "BMP")),
    }


def pairs() -> dict[str, bytes]:
    """Two sound pairs of picture and mask."""
    mask = encoded(Image.fromarray(mask_pixels()), "PNG")
    found = {}
    for name in ("one", "two"):
        found[f"images/{name}.png"] = encoded(Image.fromarray(pixels(len(name))), "PNG")
        found[f"masks/{name}.png"] = mask
    found["images/two.png"] = encoded(Image.fromarray(pixels(9)), "PNG")
    return found


def picture_seeds() -> list[Seed]:
    mask = encoded(Image.fromarray(mask_pixels()), "PNG")
    return [
        Seed(f"images/bad_{name}", form, content, {**pairs(), f"masks/bad_{name.partition('.')[0]}.png": mask})
        for name, (form, content) in pictures().items()
    ]


def mask_seeds() -> list[Seed]:
    picture = encoded(Image.fromarray(pixels(5)), "PNG")
    return [
        Seed(f"masks/bad_{name}", form, content, {**pairs(), f"images/bad_{name.partition('.')[0]}.png": picture})
        for name, (form, content) in masks().items()
    ]


# ------------------------------------------------------------------------------------------------- text


def coco() -> dict[str, Any]:
    runs = [WIDTH * HEIGHT // 2, 20, WIDTH * HEIGHT // 2 - 20]
    return {
        "categories": [{"id": 1, "name": "thing"}, {"id": 7, "name": "other"}],
        "images": [
            {"id": number, "file_name": f"{name}.png", "height": HEIGHT, "width": WIDTH}
            for number, name in enumerate(("one", "two"), start=1)
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[2, 2, 20, 3, 12.5, 15]], "iscrowd": 0},
            {"id": 2, "image_id": 1, "category_id": 7, "segmentation": {"size": [HEIGHT, WIDTH], "counts": runs}},
            {"id": 3, "image_id": 2, "category_id": 1, "segmentation": {"size": [HEIGHT, WIDTH], "counts": RUNS}},
            {"id": 4, "image_id": 2, "category_id": 7, "segmentation": [[1, 1, 5, 1, 5, 9], [7, 7, 9, 7, 9, 9]],
             "iscrowd": 1, "bbox": [1, 1, 8, 8], "area": 20.5},
        ],
    }  # fmt: skip


def coco_seeds() -> list[Seed]:
    around = {name: content for name, content in pairs().items() if name.startswith("images/")}
    return [Seed("bad.json", "json", json.dumps(coco()).encode(), around)]


def settings() -> dict[str, Any]:
    return {
        "base": "auto",
        "name": "mine",
        "seed": 3,
        "data": {"source": "scenes:8", "image_size": 64, "augmentation": "light", "val_fraction": 0.2, "workers": 0},
        "student": {"encoder": ENCODER, "weights": "none", "decoder_channels": [16, 8, 8, 8, 8]},
        "teacher": {"source": "none", "network": {"encoder": ENCODER, "weights": "none"}, "cache_stride": 2},
        "distillation": {"alpha": 0.5, "weight_schedules": {}},
        "temperature": {"kind": "piecewise", "initial": 4.0, "final": 1.0, "milestones": {0: 4.0, 10: 3.5, 49: 1.0}},
        "thaw": {"start": 10, "every": 5, "lr_scale": 0.1},
        "task": {"ce_weight": 1.0, "class_weights": [1.0, 2.0]},
        "optimizer": {"lr": 1e-3, "schedule": "cosine", "warmup": 1.0},
        "training": {"epochs": 20, "batch_size": 4, "device": "cpu", "precision": "32"},
    }


def settings_seeds() -> list[Seed]:
    ten = ["temp_scheduling", "true", "4.0", "1.0", "cosine", "progressive_unfreeze", "true", "10", "5", "0.1"]
    listed = {"base": "plain", "distillation": {"enabled": True, "feature_match_layers": ten}}
    return [Seed("bad.yaml", "yaml", yaml.safe_dump(each, sort_keys=False).encode()) for each in (settings(), listed)]


# ------------------------------------------------------------------------------------------------- weights


def small_network() -> torch.nn.Module:
    """What teaches and what a run saved."""
    import segmentation_models_pytorch as smp

    torch.manual_seed(0)
    return smp.Unet(ENCODER, encoder_weights=None, decoder_channels=NETWORK["decoder_channels"], classes=1).half()


def saved(content: Any, **options: Any) -> bytes:
    written = io.BytesIO()
    torch.save(content, written, **options)
    return written.getvalue()


def weight_seeds(run_file: bytes) -> list[Seed]:
    """Files of other programs, and Snowmelt's own."""
    state = small_network().state_dict()
    nested = {"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}, "args": {"lr": 0.1}}
    return [
        Seed("bad.pth", "zip", saved(state)),
        Seed("bad.ckpt", "zip", saved(nested)),
        Seed("bad.pt", "pickle", saved(state, _use_new_zipfile_serialization=False)),
        Seed("bad.bin", "zip", saved(state)),
        Seed("bad.safetensors", "safetensors", run_file),
    ]


def run_seeds(run_file: bytes, config: bytes) -> list[Seed]:
    folder = {"run/config.yaml": config, "run/checkpoints/best.safetensors": run_file}
    return [
        Seed("run/checkpoints/best.safetensors", "safetensors", run_file, folder),
        Seed("run/config.yaml", "yaml", config, folder),
    ]


def onnx_seeds() -> list[Seed]:
    """A file of another program, and one as ``snowmelt export`` writes it."""
    import onnx

    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(4, 1, 1))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "model.onnx"
        axes = {"image": {0: "b", 2: "h", 3: "w"}, "logits": {0: "b", 2: "h", 3: "w"}}
        names = {"input_names": ["image"], "output_names": ["logits"], "dynamic_axes": axes, "dynamo": False}
        torch.onnx.export(network, (torch.rand(1, 3, 32, 32),), path, **names)
        model = onnx.load(path)
    theirs = model.SerializeToString()
    facts = {
        "format": 1, "classes": list(CLASSES), "mean": [0.5] * 3, "std": [0.2] * 3, "normalised_inside": True,
        "image_size": 32, "stride": 32, "task": "binary", "source_run": "toy", "snowmelt_version": "0",
    }  # fmt: skip
    onnx.helper.set_model_props(model, {"snowmelt": json.dumps(facts)})
    return [Seed("bad.onnx", "onnx", content) for content in (theirs, model.SerializeToString())]


# ------------------------------------------------------------------------------------------------- stored answers


def files_of(write: Callable[[Path], Any]) -> dict[str, bytes]:
    """What ``write`` leaves in a folder."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(Path(folder).rglob("*"))
            if path.is_file()
        }


def seeds_among(files: dict[str, bytes], forms: dict[str, str]) -> list[Seed]:
    """Each file whose suffix has a format, with all others around it."""
    return [
        Seed(name, forms[Path(name).suffix], content, files)
        for name, content in files.items()
        if Path(name).suffix in forms
    ]


def cache_encoding() -> Any:
    from snowmelt.teachers.cache import Encoding

    return Encoding("uint8", 2, None, 2, 16)


def write_cache(root: Path) -> None:
    from snowmelt.teachers.cache import open_cache

    encoding = cache_encoding()
    cache = open_cache(root, TEACHER, encoding, classes=CLASSES)
    for shard in range(2):
        logits = [torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(shard * 3 + n)) for n in range(3)]
        digests = [f"{shard}{number}" * 16 for number in range(3)]
        cache.write(digests, [encoding.encode(each, (16, 12)) for each in logits])


def map_seeds() -> list[Seed]:
    def array(values: np.ndarray) -> bytes:
        written = io.BytesIO()
        np.save(written, values)
        return written.getvalue()

    rng = np.random.default_rng(0)
    floats = {f"maps/{name}.npy": array(rng.normal(size=(2, 12, 16)).astype(np.float32)) for name in ("one", "two")}
    labels = {f"maps/{name}.png": encoded(Image.fromarray(mask_pixels()), "PNG") for name in ("one", "two")}
    pictures_ = {name: content for name, content in pairs().items()}
    return [
        Seed("maps/one.npy", "npy", floats["maps/one.npy"], {**floats, **pictures_}),
        Seed("maps/one.png", "png", labels["maps/one.png"], {**labels, **pictures_}),
    ]


def header_of(run_file: bytes) -> dict[str, Any]:
    """The description in a safetensors file."""
    return json.loads(run_file[8 : 8 + struct.unpack_from("<Q", run_file)[0]])
