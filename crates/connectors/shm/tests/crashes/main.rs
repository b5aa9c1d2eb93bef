//! Processes are killed at every step and at any instant: the others go on as if nothing had been.

#[path = "../support/mod.rs"]
mod support;

mod instants;
mod scenarios;
mod steps;
mod survivors;

use std::process::ExitCode;

use crate::support::role;

fn main() -> ExitCode {
    match role() {
        None => support::main(&[
            (
                "processes_killed_at_every_step_do_no_harm",
                steps::every_step,
            ),
            (
                "processes_killed_at_any_instant_do_no_harm",
                instants::any_instant,
            ),
        ]),
        Some(other) => panic!("{other} is no role"),
    }
}
