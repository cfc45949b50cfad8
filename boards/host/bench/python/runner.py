"""Runs one Python peer, on one thread, at a driver's word: `runner.py NAME FOLDER`.

It prints its version when it is ready, then answers each line of standard input with one line: `evaluate N` and
`picture N` with nanoseconds of processor time for each of N, `output` with the network's output at the first step.
"""

import importlib.metadata
import sys
import time
from pathlib import Path

import numpy as np

from sampler import Sampler


def torch_f32(folder):
    import torch

    from network import load

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    unet = load(folder)
    return lambda x, sinusoid: unet(torch.from_numpy(x), torch.from_numpy(sinusoid)).numpy()


def onnxruntime(file):
    def make(folder):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(folder / file, options, providers=["CPUExecutionProvider"])
        return lambda x, sinusoid: session.run(None, {"x": x, "sinusoid": sinusoid})[0]

    return make


def to_type(tensor, value):
    """What LiteRT's tensor holds for a value: an int8 network's inputs are int8."""
    if tensor["dtype"] == np.float32:
        return value
    scale, zero_point = tensor["quantization"]
    return np.clip(np.rint(value / scale) + zero_point, -128, 127).astype(np.int8)


def to_f32(tensor, value):
    """The reverse."""
    if tensor["dtype"] == np.float32:
        return value
    scale, zero_point = tensor["quantization"]
    return np.float32(scale) * (value.astype(np.float32) - zero_point)


def litert(file):
    def make(folder):
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(folder / file), num_threads=1)
        interpreter.allocate_tensors()
        # In the order of the exported function's arguments.
        inputs = sorted(interpreter.get_input_details(), key=lambda tensor: tensor["name"])
        (output,) = interpreter.get_output_details()

        def network(x, sinusoid):
            for tensor, value in zip(inputs, (x, sinusoid)):
                interpreter.set_tensor(tensor["index"], to_type(tensor, value))
            interpreter.invoke()
            return to_f32(output, interpreter.get_tensor(output["index"]))

        return network

    return make


# By name: the package and how its network is made.
PEERS = {
    "pytorch-f32": ("torch", torch_f32),
    "onnxruntime-f32": ("onnxruntime", onnxruntime("unet.onnx")),
    "onnxruntime-int8": ("onnxruntime", onnxruntime("unet-int8.onnx")),
    "litert-f32": ("ai-edge-litert", litert("unet.tflite")),
    "litert-int8": ("ai-edge-litert", litert("unet-int8.tflite")),
}


def main(name, folder):
    package, make = PEERS[name]
    network, sampler = make(folder), Sampler(folder)
    x, sinusoid = sampler.inputs(sampler.noise)
    work = {
        "evaluate": lambda: network(x, sinusoid),
        "picture": lambda: sampler.picture(network, sampler.noise),
    }
    print(importlib.metadata.version(package), flush=True)
    for line in sys.stdin:
        match line.split():
            case [what, n] if what in work:
                start = time.process_time_ns()
                for _ in range(int(n)):
                    work[what]()
                print((time.process_time_ns() - start) / int(n), flush=True)
            case ["output"]:
                print(*network(x, sinusoid).ravel().tolist(), flush=True)
            case _:
                sys.exit(f"{name}: unknown request `{line.strip()}`")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
