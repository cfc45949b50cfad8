//! A table: where a sound header is changed, to what, and the message.

use serde_json::{Value, json};

use super::with_header;

#[test]
fn every_field_is_checked() {
    let long = "n".repeat(101);
    let table: Vec<(&str, Value, &str)> = vec![
        ("/version", json!(3), "header version 3; this grano reads versions 1 to 2: build with a newer grano"),
        ("/version", json!(0), "header version \"0\"; this grano reads versions 1 to 2: export the model again"),
        ("/version", json!("a\nb"), "header version \"\\\"a\\\\nb"),
        ("/version", Value::Null, "header version missing"),
        ("/networks", json!([]), "`networks` is missing, or no object"),
        ("/networks/denoiser", json!(7), "network \"denoiser\": no object of `inputs`"),
        ("/networks/denoiser/nodes", json!({}), "network \"denoiser\": field `nodes` is missing, or no list"),
        ("/networks/denoiser/sizes", json!(1), "unknown field `sizes`"),
        (
            "/networks/z\ncargo::rustc-env=X=yes",
            json!({"inputs": [], "nodes": [], "outputs": []}),
            "network \"z\\ncargo::rustc-env=X=yes\": a name is",
        ),
        ("/prediciton", json!("velocity"), "unknown field `prediciton`"),
        // Ports.
        ("/networks/denoiser/inputs/0/map", json!([1, 4]), "input \"x\": invalid length 2"),
        ("/networks/denoiser/inputs/0/map", json!([1, 4, u64::MAX]), "node `x`: a dimension of 18446744073709551615"),
        ("/networks/denoiser/inputs/0/map", json!([1, 0, 4]), "node `x`: a dimension of 0"),
        (
            "/networks/denoiser/inputs/0/map",
            json!([64, 4096, 4096]),
            "node `x`: a map of [64, 4096, 4096]; at most 4194304",
        ),
        ("/networks/denoiser/inputs/0/shape", json!(1), "input number 0: unknown field \"shape\""),
        ("/networks/denoiser/inputs/0/name", json!("picture"), "its input \"x\" does not exist"),
        ("/networks/denoiser/inputs/1", json!({"name": "t", "clock": {}}), "input \"t\": "),
        (
            "/networks/denoiser/inputs/2/label/classes",
            json!(u64::MAX),
            "classes: 18446744073709551615, more than 65535",
        ),
        (
            "/networks/denoiser/inputs/3",
            json!({"name": "style", "vector": 3}),
            "node `style`: an input that no node reads",
        ),
        ("/networks/denoiser/inputs/3", json!({"name": "u", "time": {}}), "more than one time port"),
        // Nodes.
        ("/nodes/4/op", json!("warp"), "node \"conv\": unknown variant `warp`, expected one of `conv2d`"),
        ("/nodes/4/op", Value::Null, "node \"conv\": "),
        ("/nodes/4/dilation", json!([2, 2]), "node \"conv\": unknown field `dilation`"),
        ("/nodes/4/out_channels", json!(-1), "node \"conv\": invalid value: integer `-1`"),
        ("/nodes/4/name", json!("a b"), "node or port \"a b\": a name is 1 to 100 letters"),
        ("/nodes/4/name", json!(long), "a name is 1 to 100 letters"),
        ("/nodes/4/name", json!("x"), "node `x`: two nodes or inputs have this name"),
        ("/nodes/4/inputs", json!(["no\nwhere"]), "node `conv`: its input \"no\\nwhere\" does not exist"),
        ("/nodes/4/inputs", json!(vec!["x"; 17]), "node `conv`: 17 inputs; at most 16"),
        ("/nodes/5/inputs", json!(["norm", "rows"]), "it is part of, or waits for, a cycle"),
        ("/nodes/4/inputs", json!(["x", "t"]), "node `conv`: it takes maps of equal height and width"),
        ("/nodes/4/padding", json!([u64::MAX, 1]), "node `conv`: a dimension of 18446744073709551615"),
        ("/nodes/4/stride", json!([0, 1]), "node `conv`: a dimension of 0"),
        ("/nodes/4/kernel", json!([9, 9]), "node `conv`: a kernel of 9 does not fit into 6"),
        ("/nodes/4/upsample", json!([40_000, 1]), "node `conv`: a dimension of 160000"),
        ("/nodes/4/upsample", json!([10_000, 10_000]), "node `conv`: the map with its padding, enlarged"),
        ("/nodes/4/groups", json!(2), "node `conv`: 2 groups from 1 channels to 3"),
        ("/nodes/4/groups", json!(0), "node `conv`: 0 groups"),
        ("/nodes/0/max_period", json!(1e39), "node `time`: a `max_period` of 1e39"),
        ("/nodes/0/max_period", json!(1.0), "node `time`: it takes `t`, with an even `dim` and a `max_period` above 1"),
        ("/nodes/0/dim", json!(3), "node `time`: it takes `t`, with an even `dim`"),
        ("/nodes/1/dim", json!(1 << 20), "node `class`: a dimension of 1048576"),
        ("/nodes/6/eps", json!(1e-60), "node `norm`: an `eps` of"),
        ("/nodes/6/eps", json!(-1.0), "node `norm`: an `eps` of -1"),
        (
            "/nodes/6/groups",
            json!(2),
            "node `norm`: it takes maps of equal height and width, with channels a multiple of `groups`",
        ),
        ("/nodes/7/function", json!({"clipped_silu": {"limit": 1e39}}), "node `act`: a limit of 1e39"),
        ("/nodes/7/function", json!({"clipped_silu": {"limit": 1e-60}}), "node `act`: a limit of"),
        ("/nodes/7/function", json!("swish"), "node \"act\": unknown variant `swish`"),
        (
            "/nodes/9",
            json!({"name": "dead", "op": "activation", "function": "silu", "inputs": ["act"]}),
            "node `dead`: no output depends on it",
        ),
        (
            "/nodes/7",
            json!({"name": "act", "op": "attention", "heads": 2, "inputs": ["norm", "norm", "norm"]}),
            "node `act`: 2 heads of 3 channels",
        ),
        (
            "/nodes/7",
            json!({"name": "act", "op": "attention", "heads": 1, "inputs": ["norm", "norm", "t"]}),
            "node `act`: it takes three maps of equal shape",
        ),
        // A denoiser's output.
        ("/networks/denoiser/outputs", json!(["out", "act"]), "the denoiser has the outputs out, act; give it one"),
        ("/networks/denoiser/outputs", json!(["act"]), "node `out`: no output depends on it"),
        ("/networks/denoiser/outputs", json!(["x"]), "output \"x\" is not one of its nodes"),
        ("/networks/denoiser/outputs", json!(["out", "out"]), "output `out` is named twice"),
        (
            "/nodes/8/out_channels",
            json!(2),
            "tensor `denoiser.out.weight`: its shape is [1, 3, 1, 1]; the graph needs [2, 3, 1, 1]",
        ),
        // What a model is.
        ("/schedule/kind", json!("sigmoid"), "unknown variant `sigmoid`"),
        ("/schedule/steps", json!(0), "noise schedule: 0 steps; give 1 to 100000"),
        ("/schedule/steps", json!(u64::MAX), "noise schedule: 18446744073709551615 steps"),
        ("/schedule/steps", json!(50_000), "noise schedule: ᾱ["),
        ("/schedule/beta_start", json!(1e-60), "noise schedule: β[0] = "),
        ("/schedule/beta_end", json!(1.5), "noise schedule: β["),
        ("/schedule/beta", json!(0.5), "`schedule`: unknown field \"beta\""),
        ("/data/range", json!([0.0, 1.0]), "data.range is [0.0, 1.0]; grano knows [-1, 1]"),
        ("/data/labels", json!(["cat"]), "network `denoiser` has 2 classes, but data.labels names 1"),
        ("/data/labels", json!(["cat", "cat"]), "data.labels: two classes are called `cat`"),
        ("/data/labels", json!(["cat", "do\ng"]), "label \"do\\ng\": a label is one line"),
        ("/data/labels", json!(["cat", " "]), "label \" \": a label is one line"),
        ("/data/labels", json!(["cat", "\u{202e}god"]), "label \"\\u{202e}god\": a label is one line"),
        // Samplers.
        (
            "/samplers/z\ncargo::rustc-env=X=yes",
            json!({"rule": "ddim", "times": [5]}),
            "sampler \"z\\ncargo::rustc-env=X=yes\": a name is",
        ),
        ("/samplers/short/times", json!([]), "sampler `short`: 0 steps"),
        ("/samplers/short/times", json!([10, 1]), "sampler `short`: time index 10"),
        ("/samplers/short/times", json!([5, 5]), "sampler `short`: time index 5 after 5"),
        ("/samplers/short/rule", json!("euler"), "sampler `short` of the model: unknown rule \"euler\"; give ddim"),
        ("/samplers/short/rule", json!("a\nb"), "sampler `short`: rule \"a\\nb\": a name is"),
        ("/defaults/sampler", json!("ddim-20"), "sampler `ddim-20`: 20 steps; the model was trained with T = 10"),
        ("/defaults/sampler", json!("best"), "sampler \"best\": not a name of the form"),
        ("/defaults/sampler", json!("\u{1b}[2J"), "defaults.sampler \"\\u{1b}[2J\": a name is"),
        ("/defaults/guidance", json!(1e39), "defaults.guidance is inf; give 0 to 1000"),
        ("/defaults/guidance", json!(-1.0), "defaults.guidance is -1.0; give 0 to 1000"),
        // Ranges.
        ("/ranges/encoder", json!({"times": [], "values": {}}), "`ranges` of \"encoder\", which is no network"),
        ("/ranges/denoiser/times", json!([8, 2]), "ranges.denoiser.times: 2 after 8; they must rise"),
        ("/ranges/denoiser/times", json!([2, 2]), "ranges.denoiser.times: 2 after 2; they must rise"),
        ("/ranges/denoiser/times", json!([2, 10]), "ranges.denoiser.times: 10; the schedule has the times 0 to 9"),
        ("/ranges/denoiser/values/conv", json!([[-1.0, 1.0]]), "ranges.denoiser.values.conv: 1 ranges for 2 times"),
        ("/ranges/denoiser/values/conv/1", json!([1.0, -1.0]), "ranges.denoiser.values.conv: the range [1.0, -1.0]"),
        ("/ranges/denoiser/values/conv/1", json!([-1.0, 1e39]), "ranges.denoiser.values.conv: the range [-1.0, inf]"),
        ("/ranges/denoiser/values/conv/1", json!([-1e13, 1.0]), "give [low, high] of at most 1e12"),
        (
            "/ranges/denoiser/values/ghost",
            json!([[0.0, 1.0], [0.0, 1.0]]),
            "ranges.denoiser: \"ghost\" is no node or input",
        ),
        ("/ranges/denoiser/fine", json!(["gh\nost"]), "ranges.denoiser: \"gh\\nost\" is no node or input"),
        ("/likelihood", json!({"times": [11], "values": {}}), "likelihood.times: 11"),
    ];
    let mut wrong = Vec::new();
    for (place, value, words) in table {
        let whole = place.strip_prefix("/nodes").map(|node| format!("/networks/denoiser/nodes{node}"));
        let message = with_header(|header| set(header, whole.as_deref().unwrap_or(place), value));
        if !message.contains(words) {
            wrong.push(format!("{place}: {message}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Replaces or adds the value at a JSON pointer.
fn set(header: &mut Value, place: &str, value: Value) {
    let (parent, name) = place.rsplit_once('/').unwrap();
    match header.pointer_mut(parent).unwrap() {
        Value::Array(list) => match name.parse::<usize>().unwrap() {
            at if at < list.len() => list[at] = value,
            _ => list.push(value),
        },
        object => drop(object.as_object_mut().unwrap().insert(name.into(), value)),
    }
}
