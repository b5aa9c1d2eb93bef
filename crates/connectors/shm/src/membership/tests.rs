//! Members come, go and die.

mod directories;
mod forks;
mod pins;
mod sweeps;
mod worlds;

use std::{fs, path::Path, sync::Arc};

use super::*;
use crate::testing::options;

fn join(directory: &Path) -> Arc<Membership> {
    Membership::join(&options(directory, 60.0)).expect("a member")
}

fn names(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).expect("a directory");
    let names = names.map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<_> = names
        .map(|name| name.into_string().expect("text"))
        .collect();
    names.sort();
    names
}
