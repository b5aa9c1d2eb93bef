//! What happens at the same time: every order of events gives what one after the other would.
//!
//! Each race names the defects that it must be able to see. It is run without any, and must find
//! nothing; and with each of them, and must find something. Every run is a process of its own.

#[path = "../support/mod.rs"]
mod support;

mod ends;
mod forks;
mod views;

use std::{
    env,
    process::{Command, ExitCode, Stdio},
};

use crate::support::{Checked, MUTANT, ensure, role, this_program};

/// Things that go on at the same time.
struct Race {
    name: &'static str,
    /// The defects that it sees.
    sees: &'static [&'static str],
    run: fn() -> Checked,
}

const RACES: &[Race] = &[
    Race {
        name: "a_held_view_never_changes",
        sees: &["CheckBeforePin"],
        run: views::held,
    },
    Race {
        name: "a_cell_is_never_copied_while_it_is_reused",
        sees: &["NoRecheck"],
        run: views::cells,
    },
    Race {
        name: "two_set_one_deferred_key",
        sees: &["KeepReplaced"],
        run: views::setters,
    },
    Race {
        name: "all_do_everything",
        sees: &["AnyGeneration"],
        run: views::everything,
    },
    Race {
        name: "a_child_keeps_what_its_parent_releases",
        sees: &["NoHeir"],
        run: forks::releasing_parent,
    },
    Race {
        name: "a_child_of_a_working_parent_works",
        sees: &[],
        run: forks::working_parent,
    },
    Race {
        name: "a_child_of_which_nobody_was_told_works",
        sees: &["SameProcess"],
        run: forks::untold,
    },
    Race {
        name: "a_grandchild_of_the_dead_keeps_its_views",
        sees: &["KeptLocks"],
        run: forks::grandchild,
    },
    Race {
        name: "a_sweep_spares_who_attaches",
        sees: &["UnlinkLock"],
        run: ends::sweep_against_attach,
    },
];

fn main() -> ExitCode {
    if let Some(role) = role() {
        let race = RACES.iter().find(|race| race.name == role);
        let result = race.map_or_else(|| Err("no such race".into()), |race| (race.run)());
        return match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::from(FOUND)
            }
        };
    }
    support::main_of(RACES.iter().map(|race| (race.name, || try_race(race))))
}

/// How a race ends that saw something wrong.
const FOUND: u8 = 7;

fn try_race(race: &Race) -> Checked {
    let (found, said) = run(race, None)?;
    ensure!(!found, "{said}");
    for mutant in race.sees {
        let (found, said) = run(race, Some(mutant))?;
        ensure!(found, "the defect {mutant} was not noticed");
        println!("{mutant} is seen: {}", said.lines().next().unwrap_or(""));
    }
    Ok(())
}

/// Whether a race sees something wrong, and what it says.
fn run(race: &Race, mutant: Option<&str>) -> Checked<(bool, String)> {
    let mut command: Command = this_program(race.name)?;
    command.env_remove(MUTANT).stdin(Stdio::null());
    if let Some(mutant) = mutant {
        command.env(MUTANT, mutant);
    }
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.code() {
        Some(0) => Ok((false, said)),
        Some(code) if code == i32::from(FOUND) => Ok((true, said)),
        _ => Err(format!("{} ended with {}:\n{said}", race.name, output.status).into()),
    }
}

/// How often to do something that shows a defect with luck: enough to be certain of it where there
/// is one, and a part of that where there should be none.
fn often(times: usize) -> usize {
    if env::var_os(MUTANT).is_some() {
        times * 20
    } else {
        times
    }
}
