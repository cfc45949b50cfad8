//! The search for time indices, on a model file.

mod common;

use std::fs;

use common::{fail, succeed};
use grano_codegen::load::load;
use grano_networks::toy;
use safetensors::SafeTensors;

#[test]
fn the_file_gains_a_sampler_and_nothing_else_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("toy.safetensors");
    fs::write(&path, toy::model().unwrap()).unwrap();
    let (bytes, before) = (fs::read(&path).unwrap(), load(&path).unwrap());
    let steps = |more: &[&'static str]| [&["steps", "--model", path.to_str().unwrap(), "--pictures=6"], more].concat();

    let error = fail(&steps(&["--steps=101"]));
    assert!(error.contains("dpm-101-searched") && error.contains("give 1 to 100"), "{error}");
    assert!(fail(&steps(&["--rule=ancestral"])).contains("ancestral"));
    assert_eq!(fs::read(&path).unwrap(), bytes);

    succeed(&steps(&["--steps=3"]));
    assert_eq!(
        load(&path).unwrap().header.defaults.sampler,
        "dpm-3-searched",
        "what was searched is what is drawn with"
    );
    succeed(&steps(&["--steps=2", "--rule=ddim", "--guidance=2", "--keep-default"]));
    let mut after = load(&path).unwrap().header;
    assert_eq!(after.defaults.sampler, "dpm-3-searched");
    after.defaults.sampler.clone_from(&before.header.defaults.sampler);
    let names: Vec<_> = after.samplers.keys().cloned().collect();
    assert_eq!(names, ["ddim-2-searched", "dpm-3-searched"]);
    assert_eq!((after.samplers[&names[1]].rule.as_str(), after.samplers[&names[1]].times.len()), ("dpm", 3));
    after.samplers.clear();
    assert_eq!(after, before.header);
    let written = fs::read(&path).unwrap();
    let [old, new] = [&bytes, &written].map(|bytes| SafeTensors::deserialize(bytes).unwrap());
    assert_eq!(new.len(), old.len());
    for (name, view) in old.iter() {
        assert_eq!(new.tensor(name).unwrap(), view, "{name}");
    }

    let drawn = folder.path().join("drawn.npy");
    let places = ["sample", "--count=2", "--model", path.to_str().unwrap(), "-o", drawn.to_str().unwrap()];
    succeed(&[&places[..], &["--sampler=dpm-3-searched"]].concat());
    assert!(
        fail(&[&places[..], &["--sampler=dpm-3-sought"]].concat()).contains("own: ddim-2-searched, dpm-3-searched")
    );
}
