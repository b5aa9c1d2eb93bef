//! Who gets in, and where.

use std::{
    fs::Permissions,
    os::unix::fs::{PermissionsExt, symlink},
};

use super::*;
use crate::testing::directory;

#[test]
fn a_namespace_is_made_for_this_user_only() {
    let directory = directory();
    let base = directory.path().join("base");
    let member = join(&base);
    for path in [&base, &base.join("default")] {
        let mode = fs::metadata(path)
            .expect("a directory")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700, "{}", path.display());
    }
    for name in ["lock", "control", "pins-0"] {
        let file = fs::metadata(base.join("default").join(name)).expect(name);
        assert_eq!(file.permissions().mode() & 0o777, 0o600, "{name}");
    }
    drop(member);
    assert_eq!(names(&base.join("default")), ["control", "joining", "lock"]);
    assert!(names(&base.join("default/joining")).is_empty());
}

#[test]
fn directories_that_let_others_in_are_refused() {
    let directory = directory();
    let base = directory.path().join("base");
    drop(join(&base));
    for path in [&base, &base.join("default")] {
        for mode in [0o710, 0o701, 0o770, 0o777, 0o1777] {
            fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
            let refused = Membership::join(&options(&base, 60.0));
            assert!(
                matches!(refused, Err(ShmError::Insecure { .. })),
                "{mode:o}: {refused:?}"
            );
        }
        fs::set_permissions(path, Permissions::from_mode(0o700)).expect("a mode");
    }
    drop(join(&base));
}

#[test]
fn directories_of_others_are_refused() {
    // Only root can give a directory away; others find one that is root's.
    let directory = directory();
    let base = if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(directory.path(), Some(12345), None).expect("root may");
        directory.path().to_owned()
    } else {
        "/dev/shm".into()
    };
    let refused = Membership::join(&options(&base, 60.0));
    assert!(
        matches!(refused, Err(ShmError::Insecure { .. })),
        "{refused:?}"
    );
}

#[test]
fn links_and_files_in_the_place_of_directories_are_refused() {
    let directory = directory();
    let elsewhere = directory.path().join("elsewhere");
    fs::create_dir(&elsewhere).expect("a directory");
    fs::set_permissions(&elsewhere, Permissions::from_mode(0o700)).expect("a mode");
    let base = directory.path().join("base");
    for place in [base.clone(), base.join("default")] {
        for make in [
            |place: &Path, target: &Path| symlink(target, place),
            |place: &Path, _: &Path| fs::write(place, b"a file"),
        ] {
            make(&place, &elsewhere).expect("something in its place");
            for base in [base.clone(), base.join("")] {
                let refused = Membership::join(&options(&base, 60.0));
                assert!(
                    matches!(refused, Err(ShmError::Insecure { .. })),
                    "{refused:?}"
                );
            }
            fs::remove_file(&place).expect("removed");
        }
        let _ = fs::create_dir(&base);
        fs::set_permissions(&base, Permissions::from_mode(0o700)).expect("a mode");
    }
    assert!(names(&elsewhere).is_empty());
    drop(join(&base));
}

#[test]
fn directories_on_disks_are_refused_before_anything_is_made() {
    let parent = tempfile::TempDir::new_in(env!("CARGO_MANIFEST_DIR")).expect("a directory");
    for base in [parent.path().to_owned(), parent.path().join("base")] {
        let refused = Membership::join(&options(&base, 60.0));
        assert!(
            matches!(refused, Err(ShmError::NotMemory { .. })),
            "{refused:?}"
        );
    }
    assert!(names(parent.path()).is_empty());
}

#[test]
fn foreign_files_are_refused_or_left_alone() {
    let directory = directory();
    let namespace = directory.path().join("default");
    drop(join(directory.path()));
    fs::write(namespace.join("notes.txt"), b"mine").expect("a file");
    fs::create_dir(namespace.join("s7")).expect("a directory");
    fs::write(namespace.join("control"), b"not a control file").expect("a file");
    let refused = Membership::join(&options(directory.path(), 60.0));
    assert!(
        matches!(refused, Err(ShmError::Foreign { .. })),
        "{refused:?}"
    );
    fs::remove_file(namespace.join("control")).expect("removed");
    fs::remove_dir(namespace.join("s7")).expect("removed");
    drop(join(directory.path()));
    assert_eq!(
        fs::read(namespace.join("notes.txt")).expect("still there"),
        b"mine"
    );
    for name in ["lock", "control"] {
        fs::remove_file(namespace.join(name)).expect("removed");
        fs::create_dir(namespace.join(name)).expect("a directory");
        assert!(Membership::join(&options(directory.path(), 60.0)).is_err());
        fs::remove_dir(namespace.join(name)).expect("removed");
    }
}
