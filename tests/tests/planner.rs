//! What the planner promises: the same bits by every algorithm, budgets that hold, arenas near their lower bound.

use grano::Model;
use grano::network::Condition;
use grano_codegen::load::load;
use grano_codegen::{Build, Precision, Target};
use grano_networks::{blocks, toy};
use grano_tests::models::{Evaluate, Value, Visit};
use grano_tests::models::{blocks_int8, blocks_rows, blocks_strips, blocks_x86};
use grano_tests::models::{fashion_in_ram, fashion_int8, fashion_strips, fashion_x86, toy_in_ram, toy_int8, toy_x86};
use proptest::prelude::*;
use std::path::Path;

/// Output and values of one evaluation.
fn evaluate<M: Model>(x: &[f32], condition: Condition) -> (Vec<f32>, Vec<(&'static str, Vec<f32>)>) {
    let (out, mut values) = Evaluate { x, condition }.visit::<M>();
    // Orders may differ.
    values.sort_by_key(|(name, _)| *name);
    (out, values)
}

#[test]
fn every_algorithm_gives_the_same_bits() {
    for seed in 0..3 {
        let condition = Condition { step: seed as usize, class: seed as usize };
        let x: Vec<f32> = (0..14).flat_map(|i| toy::picture(100 * seed + i)).take(28 * 28).collect();
        let expected = evaluate::<fashion_int8::FashionInt8>(&x, condition);
        assert_eq!(evaluate::<fashion_in_ram::FashionInRam>(&x, condition), expected);
        assert_eq!(evaluate::<fashion_x86::FashionX86>(&x, condition), expected);
        let x = toy::picture(seed);
        let expected = evaluate::<toy_int8::ToyInt8>(&x, condition);
        assert_eq!(evaluate::<toy_in_ram::ToyInRam>(&x, condition), expected);
        assert_eq!(evaluate::<toy_x86::ToyX86>(&x, condition), expected);
    }
}

/// Whether the outputs are the same, and so is every value that is whole in both.
fn assert_equal((out, values): &(Vec<f32>, Vec<Value>), whole: &(Vec<f32>, Vec<Value>)) {
    assert_eq!(out, &whole.0);
    // Maps between the layers of a pair are never whole.
    assert!(values.len() < whole.1.len());
    assert!(values.iter().all(|value| whole.1.contains(value)));
}

#[test]
fn strips_give_the_same_bits() {
    for seed in 0..3 {
        let condition = Condition { step: seed as usize, class: seed as usize };
        let x: Vec<f32> = (0..14).flat_map(|i| toy::picture(100 * seed + i)).take(28 * 28).collect();
        let whole = evaluate::<fashion_int8::FashionInt8>(&x, condition);
        assert_equal(&evaluate::<fashion_strips::FashionStrips>(&x, condition), &whole);
        let (x, condition) = (blocks::picture(seed), Condition { step: seed as usize % 2, class: 0 });
        let whole = evaluate::<blocks_int8::BlocksInt8>(&x, condition);
        assert_equal(&evaluate::<blocks_strips::BlocksStrips>(&x, condition), &whole);
        assert_equal(&evaluate::<blocks_rows::BlocksRows>(&x, condition), &whole);
        assert_equal(&evaluate::<blocks_x86::BlocksX86>(&x, condition), &whole);
    }
}

/// The shipped model, and those that the build script made up.
const MODELS: [&str; 5] = [
    "../models/fashion.safetensors",
    concat!(env!("OUT_DIR"), "/toy.safetensors"),
    concat!(env!("OUT_DIR"), "/blocks.safetensors"),
    concat!(env!("OUT_DIR"), "/layers.safetensors"),
    concat!(env!("OUT_DIR"), "/unet.safetensors"),
];

/// The number that follows a word in a text.
fn number_after(text: &str, word: &str) -> usize {
    let tail = &text[text.find(word).unwrap() + word.len()..];
    tail.trim_start().split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

#[test]
fn arenas_come_near_their_lower_bound() {
    for model in MODELS {
        let int8 = Target::ALL.map(|target| (target, Precision::Int8));
        let portable = Precision::of(&load(Path::new(model)).unwrap());
        for (target, precision) in int8.into_iter().chain(portable.into_iter().map(|one| (Target::Portable, one))) {
            let plan = Build::new(model).target(target).precision(precision).generate("net").unwrap().plan;
            let (arena, bound) = (number_after(&plan, "\narena"), number_after(&plan, "lower bound"));
            assert!(arena * 100 <= bound * 110, "{model}, {}: {arena} for {bound}\n{plan}", target.name());
        }
    }
}

/// What a plan's first line says: constants, RAM, instructions.
fn taken(build: &Build) -> Option<[usize; 3]> {
    let plan = build.generate("net").ok()?.plan;
    let line = plan.lines().next()?;
    Some([number_after(line, ":"), number_after(line, "constants,"), number_after(line, "about")])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn budgets_hold_and_more_room_is_never_needed(
        model in prop::sample::select(MODELS[..3].to_vec()),
        target in prop::sample::select(vec![Target::Portable, Target::CortexM4, Target::CortexM55, Target::X86]),
        [flash, ram] in [0..120_000usize, 0..60_000usize],
    ) {
        let build = Build::new(model).target(target);
        // No room but for what is slowest and smallest.
        let mut least = [0, 0, usize::MAX];
        for (flash, ram) in [(0, usize::MAX), (usize::MAX, 0)] {
            let error = build.clone().flash_budget(flash).ram_budget(ram).generate("net").unwrap_err().to_string();
            least[usize::from(flash > 0)] = number_after(&error, "takes");
        }
        let [flash, ram] = [least[0] + flash, least[1] + ram];
        let within = build.clone().flash_budget(flash).ram_budget(ram);
        let [took_flash, took_ram, instructions] = taken(&within).expect("what fits a smaller budget fits a larger one");
        prop_assert!(took_flash <= flash && took_ram <= ram);
        let plan = within.generate("net").unwrap().plan;
        let (arena, bound) = (number_after(&plan, "\narena"), number_after(&plan, "lower bound"));
        prop_assert!(arena * 100 <= bound * 110, "{arena} for {bound}");
        let [.., fewest] = taken(&build).expect("there is room for everything");
        prop_assert!(fewest <= instructions);
    }
}
