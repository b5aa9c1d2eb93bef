//! Clients and a node over connections that fail in every way, from a seed.
//!
//! `SIMULATOR_SEED=n` runs the one seed that failed, `SIMULATOR_SEEDS=n` as many as wanted.

mod client;
mod hostile;
mod node;
mod objects;
mod outcome;
mod pipe;
mod random;
mod storage;
mod tally;
mod world;

use std::{env, panic};

use crate::{tally::Tally, world::World};

/// A seed with which nothing is given up on the way.
const STRAIGHT: u64 = 2;

/// What the test runs without being asked for more.
const SEEDS: u64 = 1500;

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

/// Runs `scenario` for every seed and says which one failed.
fn for_every_seed(most: u64, scenario: impl Fn(u64) -> Tally + panic::RefUnwindSafe) -> Tally {
    let seeds = match number("SIMULATOR_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIMULATOR_SEEDS").unwrap_or(most),
    };
    let mut all = Tally::default();
    for seed in seeds {
        match panic::catch_unwind(|| scenario(seed)) {
            Ok(tally) => all.add(&tally),
            Err(cause) => {
                eprintln!("SIMULATOR_SEED={seed} fails again");
                panic::resume_unwind(cause);
            }
        }
    }
    all
}

#[test]
fn every_operation_ends_as_it_should() {
    let tally = for_every_seed(SEEDS, |seed| World::new(seed).run());
    if number("SIMULATOR_SEED").is_none() {
        tally.assert_everything_happened();
    }
}

#[test]
fn a_connection_may_be_lost_at_every_byte() {
    let (up, down) = World::straight(STRAIGHT, None).run_straight();
    // All three objects went up and came back.
    assert!(up > 3000 && down > 3000, "{up} and {down} bytes");
    for cut in 0..up {
        World::straight(STRAIGHT, Some((true, cut))).run_straight();
    }
    for cut in 0..down {
        World::straight(STRAIGHT, Some((false, cut))).run_straight();
    }
}

#[test]
fn a_client_survives_a_hostile_node() {
    for_every_seed(SEEDS, |seed| {
        hostile::node(seed);
        Tally::default()
    });
}
