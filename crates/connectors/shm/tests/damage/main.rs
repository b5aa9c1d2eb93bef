//! What others did to the files, and what the machine has not got: an error that says so, and
//! nothing else is disturbed.

#[path = "../support/mod.rs"]
mod support;

mod files;
mod flips;
mod limits;
mod places;
mod witness;

use std::process::ExitCode;

use crate::support::role;

fn main() -> ExitCode {
    match role().as_deref() {
        None => support::main(&[
            ("flipped_bits_are_noticed", flips::every_byte),
            ("truncated_files_are_noticed", files::truncated),
            ("foreign_files_are_refused_or_spared", files::foreign),
            (
                "directories_that_let_others_in_are_refused",
                files::insecure,
            ),
            ("a_removed_directory_is_told", places::removed),
            ("a_namespace_of_another_mount_is_told", places::other_mount),
            ("without_memory_file_system_it_says_so", places::no_memory),
            ("a_full_file_system_is_an_error", limits::full),
            ("a_small_control_group_is_an_error", limits::control_group),
            ("views_need_no_descriptors", limits::views),
            ("small_objects_need_no_files", limits::small),
            ("visitors_leave_no_more_than_one_leaves", limits::visitors),
        ]),
        Some("full") => support::main(&[("full", limits::fill)]),
        Some("private") => support::main(&[("private", places::private)]),
        Some("default") => support::main(&[("default", places::default)]),
        Some(other) => panic!("{other} is no role"),
    }
}
