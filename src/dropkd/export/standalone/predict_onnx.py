"""Name the classes of images by an exported student: python predict_onnx.py student.onnx photo.jpg ...

It needs numpy, Pillow and onnxruntime, nothing else: a start for a program of your own.
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def show(path: str, height: int, width: int) -> np.ndarray:
    """Return the largest centred part of an image with this shape, at this size: (height, width, 3) bytes."""
    image: Image.Image = Image.open(path)
    if image.format != "JPEG":
        image = ImageOps.exif_transpose(image)
    elif image.getexif().get(0x0112, 1) > 4:
        height, width = width, height
    (whole_width, whole_height), scale = image.size, min(image.width / width, image.height / height)
    left, top = (whole_width - scale * width) / 2, (whole_height - scale * height) / 2
    if max(image.size) > 128:
        # Large JPEGs are decoded at no more than what twice the frame's size needs.
        image.draft(None, (2 * width, 2 * height))
    shrunk = round(whole_width / image.width)
    box = (left / shrunk, top / shrunk, (whole_width - left) / shrunk, (whole_height - top) / shrunk)
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR, box)
    return np.asarray(ImageOps.exif_transpose(image))


def main(model: str, *paths: str) -> None:
    """Print the five likeliest classes of each image."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    classes, several, given = (json.loads(about[key]) for key in ("classes", "multi_label", "input"))
    (frame_height, frame_width), (height, width) = given["frame"], given["crop"]
    top, left = (frame_height - height) // 2, (frame_width - width) // 2
    for path in paths:
        pixels = show(path, frame_height, frame_width)[top : top + height, left : left + width]
        if given["dtype"] != "uint8":
            pixels = ((pixels / 255 - given["mean"]) / given["std"]).astype(np.float32)
        logits = session.run(None, {session.get_inputs()[0].name: pixels.transpose(2, 0, 1)[None]})[0][0]
        odds = np.exp(logits - logits.max())
        shares = 1 / (1 + np.exp(-logits)) if several else odds / odds.sum()
        best = np.argsort(-shares, kind="stable")[:5]
        print(path, *(f"{classes[k] if classes else k} {shares[k]:.4f}" for k in best), sep="\t")


if __name__ == "__main__":
    main(*sys.argv[1:])
