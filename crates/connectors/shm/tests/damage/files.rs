//! Files that are too short, that somebody else made, or that are none.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::Path,
    process::Command,
};

use proxystore_core::ErrorKind;

use crate::{
    support::{
        Checked,
        client::{Client, config, keeping_nothing},
        directory, ensure,
        layout::{Layout, Place},
        leftovers, names,
        processes::{fork, set_patience},
    },
    witness::{DEFERRED, Keeper, LARGE, SMALL, Seen, look_afresh, use_it},
};

pub(crate) fn truncated() -> Checked {
    for object in [None, Some(LARGE), Some(SMALL), Some(DEFERRED)] {
        for name in ["control", "lock", "pins-0", "data"] {
            if object.is_some() != (name == "data") {
                continue;
            }
            for part in [0, 1, 2, 3] {
                truncate(name, object, part)
                    .map_err(|error| format!("{name} of {object:?}, {part} of 4: {error}"))?;
            }
        }
    }
    living()
}

/// Cuts a file off after so many quarters when its maker is dead, and looks at what is left.
fn truncate(name: &str, object: Option<usize>, part: u64) -> Checked {
    set_patience(120);
    let directory = directory()?;
    let options = config(directory.path());
    let layout = Layout::new(directory.path());
    let keys = Keeper::start(&options)?.kill()?;
    let name = match object.map(|object| Place::of(&keys[object])).transpose()? {
        Some(Place::Segment(number)) => format!("s{number}"),
        Some(Place::Cell { slab, .. } | Place::Ticket { slab, .. }) => format!("c{slab}"),
        None => name.to_owned(),
    };
    let file = layout.file(&name)?;
    let len = file.metadata()?.len();
    file.set_len(len * part / 4)?;
    let seen = look_afresh(&options, &keys)?;
    seen.check_honest()?;
    match object {
        Some(object) => {
            ensure!(seen.joined, "nobody can join");
            ensure!(
                seen.objects[object] == Seen::Error(ErrorKind::Corrupted),
                "it is seen as {:?}",
                seen.objects[object]
            );
        }
        // Without the control file nothing is known of any object.
        None if name == "control" && len > 0 => ensure!(!seen.joined, "somebody joins"),
        None => seen.check_but(&[])?,
    }
    Ok(())
}

/// A segment that was cut off is an error to its maker, too, which does not die of it.
fn living() -> Checked {
    for part in [0, 1, 2, 3] {
        let directory = directory()?;
        let options = config(directory.path()).with("pool", 64 << 20);
        let layout = Layout::new(directory.path());
        let mut keeper = Keeper::start(&options)?;
        let Place::Segment(number) = Place::of(&keeper.keys[LARGE])? else {
            return Err("the large object is in no segment".into());
        };
        let file = layout.file(&format!("s{number}"))?;
        let len = file.metadata()?.len();
        file.set_len(len * part / 4)?;
        keeper.look()?.check_but(&[LARGE])?;
        keeper.evict()?;
        for _ in 0..3 {
            keeper.work()?;
        }
        keeper.leave()?;
    }
    Ok(())
}

/// What may stand where a file of ours should.
const KINDS: [&str; 4] = ["file", "folder", "link", "pipe"];

fn plant(kind: &str, path: &Path, target: &Path) -> Checked {
    match kind {
        "file" => fs::write(path, b"somebody else's")?,
        "folder" => fs::create_dir(path)?,
        "link" => symlink(target, path)?,
        _ => {
            let status = Command::new("mkfifo").arg(path).status()?;
            ensure!(status.success(), "no pipe was made");
        }
    }
    Ok(())
}

pub(crate) fn foreign() -> Checked {
    for kind in KINDS {
        for name in ["control", "lock", "pins-0", "s0", "c0"] {
            planted(kind, name).map_err(|error| format!("a {kind} as {name}: {error}"))?;
        }
    }
    spared()
}

/// Whoever joins where something else stands in the way works, or says what stands there; and who
/// made a link has nothing of what it leads to changed.
fn planted(kind: &str, name: &str) -> Checked {
    set_patience(120);
    let (directory, elsewhere) = (directory()?, directory()?);
    let target = elsewhere.path().join("target");
    fs::write(&target, b"precious")?;
    let options = keeping_nothing(directory.path());
    let layout = Layout::new(directory.path());
    let mut first = fork(|| Ok(Client::open(&options)?.close(false)?))?;
    first.finish("the first process")?;
    let path = layout.path.join(name);
    if name == "lock" {
        fs::remove_file(&path)?;
    }
    plant(kind, &path, &target)?;
    let mut process = fork(|| match Client::open(&options) {
        Ok(client) => match use_it(&client) {
            Ok(()) => Ok(()),
            Err(error) => match error.downcast::<proxystore_core::Error>() {
                Ok(error) => told(&error, &layout.path),
                Err(error) => Err(error),
            },
        },
        Err(error) => told(&error, &layout.path),
    })?;
    process.finish("whoever joins")?;
    ensure!(fs::read(&target)? == b"precious", "the target was changed");
    Ok(())
}

/// Wants an error to name the path that somebody has to look at.
fn told(error: &proxystore_core::Error, below: &Path) -> Checked {
    let named = error.path().is_some_and(|path| path.starts_with(below));
    ensure!(named, "no path is named: {error:?}");
    Ok(())
}

/// What has no name that the connector gives is left alone, whatever is swept.
fn spared() -> Checked {
    const NAMES: [&str; 8] = [
        "notes.txt",
        "s",
        "s-1",
        "s1.bak",
        "pins-",
        "pins-x",
        "controls",
        "c99999999999",
    ];

    let directory = directory()?;
    let options = keeping_nothing(directory.path());
    let layout = Layout::new(directory.path());
    for _ in 0..2 {
        let keeper = Keeper::start(&options)?;
        for name in NAMES {
            fs::write(layout.path.join(name), b"notes")?;
        }
        keeper.kill()?;
        let mut next = fork(|| {
            let client = Client::open(&options)?;
            use_it(&client)?;
            Ok(client.close(true)?)
        })?;
        next.finish("the next process")?;
    }
    for name in NAMES {
        let kept = fs::read(layout.path.join(name)).is_ok_and(|bytes| bytes == b"notes");
        ensure!(kept, "{name} was removed");
    }
    let left = leftovers(&layout.path)?;
    ensure!(left.len() == NAMES.len(), "there are {left:?}");
    Ok(())
}

pub(crate) fn insecure() -> Checked {
    for inner in [false, true] {
        for mode in [0o777, 0o755, 0o750, 0o701, 0o722] {
            refused(inner, |path, _| {
                fs::create_dir_all(path)?;
                fs::set_permissions(path, Permissions::from_mode(mode))?;
                Ok(())
            })
            .map_err(|error| format!("mode {mode:o}, inner: {inner}: {error}"))?;
        }
        refused(inner, |path, elsewhere| Ok(symlink(elsewhere, path)?))
            .map_err(|error| format!("a link, inner: {inner}: {error}"))?;
        if rustix::process::geteuid().is_root() {
            refused(inner, |path, _| {
                fs::create_dir_all(path)?;
                fs::set_permissions(path, Permissions::from_mode(0o700))?;
                Ok(chown(path, Some(12_345), None)?)
            })
            .map_err(|error| format!("another's, inner: {inner}: {error}"))?;
        }
        refused(inner, |path, _| Ok(fs::write(path, b"")?))
            .map_err(|error| format!("a file, inner: {inner}: {error}"))?;
    }
    Ok(())
}

/// Wants nobody to join where something was made, and nothing to be made there.
fn refused(inner: bool, make: impl Fn(&Path, &Path) -> Checked) -> Checked {
    let (parent, elsewhere) = (directory()?, directory()?);
    let directory = parent.path().join("user");
    let path = if inner {
        fs::create_dir(&directory)?;
        fs::set_permissions(&directory, Permissions::from_mode(0o700))?;
        directory.join("default")
    } else {
        directory.clone()
    };
    make(&path, elsewhere.path())?;
    let mut process = fork(|| match Client::open(&keeping_nothing(&directory)) {
        Ok(_) => Err("it was opened".into()),
        Err(error) => {
            let refused = matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Os);
            ensure!(refused, "it is told as {error:?}");
            told(&error, &directory)
        }
    })?;
    process.finish("whoever opens it")?;
    let found = names(elsewhere.path())?;
    ensure!(found.is_empty(), "{found:?} was made behind a link");
    if path.is_dir() {
        let found = names(&path)?;
        ensure!(found.is_empty(), "{found:?} was made");
    }
    Ok(())
}
