//! Which pictures are held back, so that no measure is taken on what a network has learnt.
//!
//! Data that have a test set keep it. Elsewhere a share of every class is held back, chosen by what the files hold and a
//! seed: neither another name, nor another order, nor more files move a picture far, and copies stay together.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Picture;
use super::options::DataArgs;

/// Part of a data set.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// To learn from.
    Train,
    /// Held back.
    Test,
}

/// Places of pictures.
pub struct Held {
    /// To learn from, in the order of the data.
    pub train: Vec<usize>,
    /// Held back; any first part of them is a fair choice.
    pub test: Vec<usize>,
    /// How they were chosen.
    pub note: Option<String>,
}

/// The first 8 bytes of the SHA-256 of a picture's contents.
pub fn digest(contents: &[u8]) -> u64 {
    let hash = Sha256::digest(contents);
    hash.iter().take(8).fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// SplitMix64's mixing (Steele et al. 2014): another order for every seed.
fn mixed(digest: u64, seed: u64) -> u64 {
    let mut z = digest.wrapping_add(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Divides the pictures, whose classes these are. `ordered` keeps the order of a test set of the data's own.
///
/// # Errors
/// When a data set that has its own parts has nothing to learn from.
pub fn hold_back(path: &Path, args: &DataArgs, pictures: &[Picture], classes: &[usize], ordered: bool) -> Result<Held> {
    let rank = |&i: &usize| (mixed(pictures[i].digest, args.test_seed), i);
    if pictures.iter().any(|picture| picture.part.is_some()) {
        let of = |part| (0..pictures.len()).filter(move |&i| pictures[i].part.unwrap_or(Part::Train) == part);
        let (train, mut test): (Vec<_>, Vec<_>) = (of(Part::Train).collect(), of(Part::Test).collect());
        ensure!(!train.is_empty(), "{}: only a test set, and nothing to learn from", path.display());
        if !ordered || test.is_sorted_by_key(|&i| classes[i]) {
            test.sort_by_key(rank);
        }
        let note = format!("{} pictures of the data's own test set are held back", test.len());
        return Ok(Held { train, note: (!test.is_empty()).then_some(note), test });
    }
    let mut held = vec![false; pictures.len()];
    for class in 0..=classes.iter().copied().max().unwrap_or(0) {
        let mut own: Vec<usize> = (0..pictures.len()).filter(|&i| classes[i] == class).collect();
        own.sort_by_key(rank);
        let share = (own.len() as f64 * args.test.share()).round() as usize;
        // Of a small class, one.
        let count = if args.test.share() > 0.0 && own.len() >= 5 { share.max(1) } else { share };
        own.iter().take(count).for_each(|&i| held[i] = true);
    }
    // Copies go with what is held back, under whatever name and in whatever class, as long as something is left.
    let digests: HashSet<u64> = (0..pictures.len()).filter(|&i| held[i]).map(|i| pictures[i].digest).collect();
    held = pictures.iter().map(|picture| digests.contains(&picture.digest)).collect();
    if held.iter().all(|&held| held) {
        held.fill(false);
    }
    let train: Vec<usize> = (0..pictures.len()).filter(|&i| !held[i]).collect();
    let mut test: Vec<usize> = (0..pictures.len()).filter(|&i| held[i]).collect();
    test.sort_by_key(rank);
    let note = match test.len() {
        0 => "no picture is held back: nothing can be evaluated".to_string(),
        n => format!("{n} pictures, --test {} of every class, are held back from training", args.test),
    };
    Ok(Held { train, test, note: Some(note) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(contents: usize) -> Picture {
        Picture {
            source: String::new(),
            label: None,
            part: None,
            pixels: Vec::new(),
            size: [1, 1],
            found: [1, 1],
            channels: 1,
            digest: digest(&contents.to_le_bytes()),
        }
    }

    fn held(pictures: &[Picture], classes: &[usize], args: &DataArgs) -> Vec<u64> {
        let held = hold_back(Path::new(""), args, pictures, classes, false).unwrap();
        assert_eq!(held.train.len() + held.test.len(), pictures.len());
        assert!(held.train.iter().all(|i| !held.test.contains(i)));
        let mut digests: Vec<u64> = held.test.iter().map(|&i| pictures[i].digest).collect();
        digests.sort_unstable();
        digests
    }

    #[test]
    fn a_share_of_every_class_by_contents_alone() {
        let mut args = DataArgs::of("");
        let mut pictures: Vec<Picture> = (0..230).map(picture).collect();
        let classes: Vec<usize> = (0..230).map(|i| usize::from(i >= 200)).collect();
        let first = held(&pictures, &classes, &args);
        assert_eq!(first.len(), 20 + 3);
        pictures.reverse();
        let reversed: Vec<usize> = classes.iter().rev().copied().collect();
        assert_eq!(held(&pictures, &reversed, &args), first, "another order");
        args.test_seed = 1;
        assert_ne!(held(&pictures, &reversed, &args), first, "another seed");
        args.test = "0%".parse().unwrap();
        assert!(held(&pictures, &reversed, &args).is_empty());
    }

    #[test]
    fn copies_stay_together() {
        let pictures: Vec<Picture> = (0..300).map(|i| picture(i / 3)).collect();
        for seed in 0..20 {
            let args = DataArgs { test_seed: seed, ..DataArgs::of("") };
            let held = held(&pictures, &[0; 300], &args);
            assert!(held.chunks(3).all(|copies| copies.len() == 3 && copies[0] == copies[2]), "{held:?}");
        }
        let same: Vec<Picture> = (0..30).map(|_| picture(7)).collect();
        assert!(held(&same, &[0; 30], &DataArgs::of("")).is_empty(), "something is left to learn from");
    }
}
