"""DDIM as grano's table has it: a row a step, shared by every program so that all draw the same picture."""

import json

import numpy as np


class Sampler:
    def __init__(self, folder):
        table = json.loads((folder / "sampler.json").read_text())
        self.clip = np.float32(table["clip"])
        self.noise = np.array(table["noise"], np.float32).reshape(1, 1, 28, 28)
        self.steps = table["steps"]
        self.sinusoids = [np.array([step["sinusoid"]], np.float32) for step in self.steps]

    def inputs(self, x):
        """What the network is given at the first step."""
        return np.float32(self.steps[0]["c_in"]) * x, self.sinusoids[0]

    def picture(self, network, x):
        """x after all steps."""
        for step, sinusoid in zip(self.steps, self.sinusoids):
            out = network(np.float32(step["c_in"]) * x, sinusoid)
            k0, k1, a, b, e = (np.float32(step[name]) for name in ("k0", "k1", "a", "b", "e"))
            clean = np.clip(k0 * x - k1 * out, -self.clip, self.clip)
            x = a * clean + b * x + e * out
        return x
