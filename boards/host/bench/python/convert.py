"""Turns the reference U-Net into what the peers run: `convert.py FOLDER`, where model.safetensors and sampler.json are.

Writes unet.onnx and unet.tflite in f32, and both in int8, calibrated on the real sampler's trajectories; and
unet-dynamic.onnx, whose activations are quantised as it runs. It takes a minute, so what is up to date is kept.
"""

import hashlib
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxsim
import torch
from onnxruntime import quantization

import litert_torch
from ai_edge_quantizer import quantizer, recipe
from network import load
from sampler import Sampler

# Pictures whose trajectories calibrate.
PICTURES = 8


def trajectories(unet, sampler):
    """The inputs of every evaluation, `(x, sinusoid)`."""
    seen = []

    def network(x, sinusoid):
        seen.append((x.astype(np.float32), sinusoid))
        return unet(torch.from_numpy(seen[-1][0]), torch.from_numpy(sinusoid)).numpy()

    generator = np.random.default_rng(0)
    for _ in range(PICTURES):
        sampler.picture(network, generator.standard_normal((1, 1, 28, 28), np.float32))
    return seen


class Reader(quantization.CalibrationDataReader):
    def __init__(self, seen):
        self.seen = iter(seen)

    def get_next(self):
        pair = next(self.seen, None)
        return pair and {"x": pair[0], "sinusoid": pair[1]}


def to_onnx(unet, example, seen, folder):
    f32, int8 = str(folder / "unet.onnx"), str(folder / "unet-int8.onnx")
    torch.onnx.export(
        unet, example, f32, input_names=["x", "sinusoid"], output_names=["out"], opset_version=17, dynamo=False
    )
    simple, ok = onnxsim.simplify(onnx.load(f32))
    assert ok, "onnxsim changed the network"
    onnx.save(simple, f32)
    quantization.quantize_dynamic(f32, folder / "unet-dynamic.onnx", op_types_to_quantize=["Conv", "MatMul"])
    # With every op type that the default set names, the session fails to load. ONNX Runtime is a quarter faster on x86
    # with unsigned activations than with its default, and a little faster with one scale a tensor than one a channel.
    quantization.quantize_static(
        f32,
        int8,
        Reader(seen),
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=["Conv", "Gemm", "MatMul"],
        activation_type=quantization.QuantType.QUInt8,
    )


def to_litert(unet, example, seen, folder):
    f32 = folder / "unet.tflite"
    litert_torch.convert(unet, example).export(str(f32))
    quantize = quantizer.Quantizer(str(f32), recipe.static_wi8_ai8())
    samples = [{"args_0": x, "args_1": sinusoid} for x, sinusoid in seen]
    ranges = quantize.calibrate({"serving_default": samples}, num_threads=1)
    int8 = folder / "unet-int8.tflite"
    int8.unlink(missing_ok=True)
    quantize.quantize(ranges).export_model(str(int8))


@torch.inference_mode()
def convert(folder):
    unet, sampler = load(folder), Sampler(folder)
    seen = trajectories(unet, sampler)
    example = tuple(torch.from_numpy(value) for value in seen[0])
    to_onnx(unet, example, seen, folder)
    to_litert(unet, example, seen, folder)


def checksum(folder):
    """Of all that decides what is written."""
    here = Path(__file__).parent
    files = [folder / "model.safetensors", folder / "sampler.json"]
    files += [*sorted(here.glob("*.py")), here / "requirements.txt"]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    stamp, current = folder / "converted.sha256", checksum(folder)
    if not stamp.exists() or stamp.read_text() != current:
        convert(folder)
        stamp.write_text(current)
