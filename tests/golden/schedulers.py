"""Writes schedulers.json: trajectories of diffusers' DDPMScheduler, DDIMScheduler, DPMSolverMultistepScheduler and
LCMScheduler on given inputs.

    pip install numpy torch diffusers
    python3 tests/golden/schedulers.py

Eight numbers stand for a picture. The network's outputs and the noise are fixed lists, one row a step
(row i mod 50), so that only the scheduler's arithmetic is at work; they and x_T are f32.

Every case runs twice. `trajectory` is diffusers with its betas and everything after them in float64,
rounded to f32 at the end: what its formulas mean. `float32_distance` is how far diffusers as it comes, in
float32, strays from that, relative to max(1, max |x|) of the step: up to 5e-5, because its float32 betas
and their running product lose what 1 - alpha_bar then subtracts.

DPM-Solver++(2M) runs with final_sigmas_type "zero" on explicit time indices, "listed", and on trailing ones; its own
leading and linspace are spaced for n + 1 steps. Its dynamic thresholding with both bounds 1 is a clip to 1.

LCMScheduler, consistency sampling, mixes x into x_0 by a share that falls with the time index times timestep_scaling;
that is so large here that no share is left.
"""

import json
import platform
from itertools import product
from pathlib import Path
from unittest.mock import patch

import diffusers
import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, LCMScheduler
from diffusers.schedulers import scheduling_ddpm, scheduling_dpmsolver_multistep, scheduling_lcm
from diffusers.schedulers.scheduling_ddpm import betas_for_alpha_bar

T, WIDTH, ROWS = 1000, 8, 50
SEED = 20240607
BETA_START, BETA_END = 1e-4, 0.02


def numbers(array):
    """f32 values as the shortest decimals that read back to the same bits."""
    return [float(str(np.float32(x))) for x in array]


def float64_betas(schedule):
    """The library's schedules, without its rounding to float32."""
    if schedule == "linear":
        return torch.linspace(BETA_START, BETA_END, T, dtype=torch.float64)
    with patch.object(scheduling_ddpm.torch, "float32", torch.float64):
        return betas_for_alpha_bar(T)


def dpm(case, dtype):
    """DPM-Solver++(2M), ready to step."""
    scheduler = DPMSolverMultistepScheduler(
        num_train_timesteps=T,
        beta_schedule=case["schedule"],
        beta_start=BETA_START,
        beta_end=BETA_END,
        prediction_type=case["prediction"],
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        final_sigmas_type="zero",
        timestep_spacing="trailing",
        thresholding=case["clip"] is not None,
        sample_max_value=1.0,
    )
    if case["spacing"] == "listed":
        scheduler.set_timesteps(timesteps=case["timesteps"])
    else:
        scheduler.set_timesteps(case["steps"])
    if dtype == torch.float64:
        alpha_bars = torch.cumprod(1.0 - float64_betas(case["schedule"]), dim=0)[scheduler.timesteps]
        scheduler.sigmas = torch.cat([((1.0 - alpha_bars) / alpha_bars).sqrt(), torch.zeros(1, dtype=dtype)])
    return scheduler


def run_dpm(case, inputs, dtype):
    scheduler = dpm(case, dtype)
    # The library's thresholding wants a shape of its own for every sample.
    x = torch.tensor(inputs["x_T"], dtype=dtype)[None, None]
    trajectory = []
    # Within a step the library converts to torch.float32 by name.
    with patch.object(scheduling_dpmsolver_multistep.torch, "float32", dtype):
        for i, t in enumerate(scheduler.timesteps):
            out = torch.tensor(inputs["outputs"][i % ROWS], dtype=dtype)[None, None]
            x = scheduler.step(out, t, x).prev_sample
            assert x.dtype == dtype
            trajectory.append(x[0, 0].numpy())
    return scheduler.timesteps.tolist(), np.array(trajectory)


def run(case, inputs, dtype):
    if case["scheduler"] == "dpm":
        return run_dpm(case, inputs, dtype)
    scheduler_class = {"ddpm": DDPMScheduler, "ddim": DDIMScheduler, "lcm": LCMScheduler}[case["scheduler"]]
    config = dict(
        num_train_timesteps=T,
        beta_schedule=case["schedule"],
        beta_start=BETA_START,
        beta_end=BETA_END,
        timestep_spacing=case["spacing"],
        steps_offset=case["offset"],
        clip_sample=case["clip"] is not None,
        clip_sample_range=case["clip"] or 1.0,
        prediction_type=case["prediction"],
    )
    if case["scheduler"] == "ddpm":
        config["variance_type"] = case["variance"]
    if case["scheduler"] == "lcm":
        config |= dict(original_inference_steps=T, timestep_scaling=1e9)
    scheduler = scheduler_class(**config)
    if dtype == torch.float64:
        scheduler.betas = float64_betas(case["schedule"])
        scheduler.alphas = 1.0 - scheduler.betas
        scheduler.alphas_cumprod = torch.cumprod(scheduler.alphas, dim=0)
        scheduler.one = scheduler.final_alpha_cumprod = torch.tensor(1.0, dtype=dtype)
    scheduler.set_timesteps(case["steps"])
    x = torch.tensor(inputs["x_T"], dtype=dtype)[None]
    trajectory = []
    for i, t in enumerate(scheduler.timesteps):
        out = torch.tensor(inputs["outputs"][i % ROWS], dtype=dtype)[None]
        z = torch.tensor(inputs["noise"][i % ROWS], dtype=dtype)[None]
        if case["scheduler"] == "ddpm":
            with patch.object(scheduling_ddpm, "randn_tensor", lambda *_, **__: z):
                x = scheduler.step(out, t, x).prev_sample
        elif case["scheduler"] == "lcm":
            with patch.object(scheduling_lcm, "randn_tensor", lambda *_, **__: z):
                x = scheduler.step(out, t, x).prev_sample
        else:
            x = scheduler.step(
                out, t, x, eta=case["eta"], use_clipped_model_output=case["recomputed"], variance_noise=z
            ).prev_sample
        assert x.dtype == dtype
        trajectory.append(x[0].numpy())
    return scheduler.timesteps.tolist(), np.array(trajectory)


EPSILON, VELOCITY = dict(prediction="epsilon"), dict(prediction="v_prediction")


def cases():
    methods = [
        dict(scheduler="ddpm", variance="fixed_small"),
        dict(scheduler="ddpm", variance="fixed_large"),
        dict(scheduler="ddim", eta=0.0, recomputed=False),
        dict(scheduler="ddim", eta=0.5, recomputed=False),
    ]
    spacings = [("leading", 0), ("trailing", 0)]
    for method, (spacing, offset), clip, schedule, steps in product(
        methods, spacings, [1.0, None], ["linear", "squaredcos_cap_v2"], [10, 20, 50]
    ):
        yield method | EPSILON | dict(spacing=spacing, offset=offset, clip=clip, schedule=schedule, steps=steps)
    # Corners: epsilon recomputed, eta 1, another clip, counts that do not divide T, an offset, linspace.
    recomputed = [dict(scheduler="ddim", eta=eta, recomputed=True) for eta in (0.0, 0.5, 1.0)]
    for method, (spacing, offset, steps) in product(
        methods + recomputed, [("leading", 1, 10), ("trailing", 0, 7), ("trailing", 0, 64), ("linspace", 0, 16)]
    ):
        yield method | EPSILON | dict(
            spacing=spacing, offset=offset, clip=1.5, schedule="squaredcos_cap_v2", steps=steps
        )
    for method, clip in product(methods + recomputed, [1.0, None]):
        yield method | VELOCITY | dict(spacing="trailing", offset=0, clip=clip, schedule="squaredcos_cap_v2", steps=10)
    for prediction, clip, schedule, steps in product(
        [EPSILON, VELOCITY], [1.0, None], ["linear", "squaredcos_cap_v2"], [1, 2, 8, 20]
    ):
        case = dict(scheduler="dpm", offset=0, clip=clip, schedule=schedule, steps=steps) | prediction
        yield case | dict(spacing="trailing")
        yield case | dict(spacing="listed", timesteps=[(2 * i + 1) * T // (2 * steps) for i in reversed(range(steps))])
    uneven = [957, 900, 640, 601, 300, 77, 3]
    yield dict(scheduler="dpm", offset=0, clip=1.0, schedule="squaredcos_cap_v2", steps=7) | EPSILON | dict(
        spacing="listed", timesteps=uneven
    )
    for prediction, clip, schedule, steps in product(
        [EPSILON, VELOCITY], [1.0, None], ["linear", "squaredcos_cap_v2"], [1, 2, 4]
    ):
        yield dict(scheduler="lcm", spacing="trailing", offset=0, clip=clip, schedule=schedule, steps=steps) | prediction


def timestep_sums():
    """For every count n of steps, sum over i of (i + 1) * timesteps[i]: a fingerprint of the whole list."""
    sums = {}
    for spacing in ("leading", "trailing", "linspace"):
        scheduler = DDIMScheduler(num_train_timesteps=T, timestep_spacing=spacing)
        sums[spacing] = []
        for n in range(1, T + 1):
            scheduler.set_timesteps(n)
            # np.arange(T, 0, -T / n) rounds to n + 1 entries for some n, the last one time index -1.
            timesteps = scheduler.timesteps.numpy()[:n]
            sums[spacing].append(int((np.arange(1, len(timesteps) + 1) * timesteps).sum()))
    return sums


def main():
    random = np.random.default_rng(SEED)
    inputs = {
        "x_T": numbers(random.standard_normal(WIDTH)),
        "outputs": [numbers(row) for row in random.standard_normal((ROWS, WIDTH))],
        "noise": [numbers(row) for row in random.standard_normal((ROWS, WIDTH))],
    }
    done = []
    for case in cases():
        timesteps, exact = run(case, inputs, torch.float64)
        _, plain = run(case, inputs, torch.float32)
        scale = np.maximum(1.0, np.abs(exact).max(axis=1, keepdims=True))
        distance = float((np.abs(plain - exact) / scale).max())
        done.append(
            case
            | dict(
                float32_distance=float(f"{distance:.2g}"),
                timesteps=timesteps,
                trajectory=[numbers(x) for x in exact],
            )
        )
    header = {
        "made_by": {
            "script": "tests/golden/schedulers.py",
            "seed": SEED,
            "diffusers": diffusers.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "T": T,
        "beta_start": BETA_START,
        "beta_end": BETA_END,
        **inputs,
        "timestep_sums": timestep_sums(),
    }
    lines = [f"{json.dumps(key)}: {json.dumps(value, separators=(',', ':'))}" for key, value in header.items()]
    rows = ",\n".join(json.dumps(case, separators=(",", ":")) for case in done)
    text = "{\n" + ",\n".join(lines) + ',\n"cases": [\n' + rows + "\n]\n}\n"
    Path(__file__).with_suffix(".json").write_text(text)


if __name__ == "__main__":
    main()
