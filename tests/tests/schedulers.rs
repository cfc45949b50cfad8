//! Step tables against diffusers, step for step: `golden/schedulers.json`, made by the script beside it.

use grano_codegen::forward::{NoiseSchedule, ScheduleKind};
use grano_codegen::schedule::{Epsilon, Method, Prediction, SamplerSpec, Spacing, Variance};
use serde::Deserialize;

/// Times max(1, max |x|) of the step. Ours is f32 arithmetic on f64 tables, the golden values f64; the worst
/// measured is 1.4e-6. diffusers itself, in float32, strays up to 5e-5 (`float32_distance`).
const TOLERANCE: f32 = 1e-5;

#[derive(Deserialize)]
struct Golden {
    #[serde(rename = "T")]
    train_steps: usize,
    beta_start: f64,
    beta_end: f64,
    #[serde(rename = "x_T")]
    x_t: Vec<f32>,
    /// The network's output at step i is row i mod 50; the noise likewise.
    outputs: Vec<Vec<f32>>,
    noise: Vec<Vec<f32>>,
    timestep_sums: TimestepSums,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct TimestepSums {
    leading: Vec<usize>,
    trailing: Vec<usize>,
    linspace: Vec<usize>,
}

#[derive(Deserialize)]
struct Case {
    scheduler: String,
    prediction: String,
    variance: Option<String>,
    eta: Option<f64>,
    recomputed: Option<bool>,
    spacing: String,
    offset: usize,
    clip: Option<f64>,
    schedule: String,
    steps: usize,
    timesteps: Vec<usize>,
    trajectory: Vec<Vec<f32>>,
}

impl Case {
    fn spec(&self) -> SamplerSpec {
        let method = match (self.scheduler.as_str(), self.variance.as_deref(), self.eta) {
            ("ddpm", Some("fixed_small"), None) => Method::Ancestral { variance: Variance::FixedSmall },
            ("ddpm", Some("fixed_large"), None) => Method::Ancestral { variance: Variance::FixedLarge },
            ("ddim", None, Some(eta)) => {
                let recomputed = self.recomputed.expect("DDIM cases say it");
                Method::Ddim { eta, epsilon: if recomputed { Epsilon::Recomputed } else { Epsilon::Kept } }
            }
            ("dpm", None, None) => Method::Dpm,
            ("lcm", None, None) => Method::Consistency,
            other => panic!("unknown scheduler {other:?}"),
        };
        let spacing = match self.spacing.as_str() {
            "leading" => Spacing::Leading { offset: self.offset },
            "trailing" => Spacing::Trailing,
            "linspace" => Spacing::Linspace,
            "listed" => Spacing::Listed(self.timesteps.clone()),
            other => panic!("unknown spacing {other}"),
        };
        let name = format!(
            "{}-{} {} {} {} {} clip {:?}",
            self.scheduler,
            self.steps,
            self.prediction,
            self.variance.clone().unwrap_or_else(|| format!("eta {:?}", self.eta)),
            self.spacing,
            self.schedule,
            self.clip
        );
        SamplerSpec { name, method, steps: self.steps, spacing, clip: self.clip, travel: None }
    }
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../golden/schedulers.json")).expect("the script wrote it")
}

#[test]
fn trajectories_equal_diffusers() {
    let golden = golden();
    let mut worst = (0.0, String::new());
    for case in &golden.cases {
        let spec = case.spec();
        let kind = match case.schedule.as_str() {
            "linear" => ScheduleKind::Linear { beta_start: golden.beta_start, beta_end: golden.beta_end },
            "squaredcos_cap_v2" => ScheduleKind::Cosine,
            other => panic!("unknown schedule {other}"),
        };
        let prediction = match case.prediction.as_str() {
            "epsilon" => Prediction::Epsilon,
            "v_prediction" => Prediction::Velocity,
            other => panic!("unknown prediction {other}"),
        };
        let schedule = NoiseSchedule { kind, steps: golden.train_steps };
        let table = spec.table(&schedule, prediction).expect("a valid sampler");
        assert_eq!(table.rows.iter().map(|row| row.t).collect::<Vec<_>>(), case.timesteps, "{}", spec.name);
        let clip = table.clip.map_or(f32::INFINITY, |clip| clip as f32);
        let mut x = golden.x_t.clone();
        let mut previous = vec![0.0; x.len()];
        for (step, (row, expected)) in table.rows.iter().zip(&case.trajectory).enumerate() {
            // As the engine computes: coefficients rounded to f32, sums from left to right.
            let [k0, k1, a, b, c, d, e] = [row.k0, row.k1, row.a, row.b, row.c, row.d, row.e].map(|k| k as f32);
            let (outputs, noise) =
                (&golden.outputs[step % golden.outputs.len()], &golden.noise[step % golden.noise.len()]);
            for (((x, previous), out), z) in x.iter_mut().zip(&mut previous).zip(outputs).zip(noise) {
                let x0 = (k0 * *x - k1 * out).clamp(-clip, clip);
                *x = a * x0 + b * *x + c * z + d * *previous + e * out;
                *previous = x0;
            }
            let scale = expected.iter().fold(1.0_f32, |scale, y| scale.max(y.abs()));
            let error = x.iter().zip(expected).fold(0.0_f32, |error, (x, y)| error.max((x - y).abs())) / scale;
            assert!(error <= TOLERANCE, "{}, step {step}: {error:e}", spec.name);
            if error > worst.0 {
                worst = (error, format!("{}, step {step}", spec.name));
            }
        }
    }
    println!("{} cases, largest error {:e}: {}", golden.cases.len(), worst.0, worst.1);
}

#[test]
fn time_indices_equal_diffusers_for_every_count() {
    let golden = golden();
    let sums = golden.timestep_sums;
    for (spacing, sums) in [
        (Spacing::Leading { offset: 0 }, sums.leading),
        (Spacing::Trailing, sums.trailing),
        (Spacing::Linspace, sums.linspace),
    ] {
        assert_eq!(sums.len(), golden.train_steps);
        for (steps, sum) in (1..).zip(sums) {
            let method = Method::Ancestral { variance: Variance::FixedSmall };
            let spec =
                SamplerSpec { name: String::new(), method, steps, spacing: spacing.clone(), clip: None, travel: None };
            let times = spec.time_indices(golden.train_steps).expect("at most T steps");
            assert_eq!(times.iter().zip(1..).map(|(t, i)| t * i).sum::<usize>(), sum, "{spacing:?}, {steps} steps");
        }
    }
}
