//! Budgets, and file systems that are small or full.

use std::{ffi::CString, os::unix::ffi::OsStrExt, path::Path, ptr};

use super::*;

#[test]
fn a_budget_is_kept_and_little_room_is_used() {
    let fixture = Fixture::with(|config| {
        config.insert("budget", 200 << 10);
    });
    let segments = [Segment::from(&[7; 1000])];
    let payload = Payload::from(&segments);
    let mut references = Vec::new();
    let error = loop {
        match fixture.slabs.put(&payload, 0, &fixture.options) {
            Ok(reference) => references.push(reference),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ShmError::Full { .. }), "{error}");
    assert!(error.to_string().contains("budget"), "{error}");
    assert!(references.len() > 100, "{}", references.len());
    assert!(fixture.slabs.membership.bytes() <= 200 << 10);
    // One free cell is enough, wherever it is.
    evict(&fixture.slabs, references[17]);
    let put = fixture.slabs.put(&payload, 0, &fixture.options);
    assert_eq!(put.expect("there is room").place, references[17].place);
    let put = fixture.slabs.put(&payload, 0, &fixture.options);
    put.expect_err("there is no room");
    assert!(
        references[18..]
            .iter()
            .all(|&reference| exists(&fixture.slabs, reference))
    );
}

/// Lets this process alone see a memory file system of so many bytes at a directory.
fn mount(directory: &Path, len: u64) {
    let user = rustix::process::geteuid().as_raw();
    let spaces = if user == 0 { 0 } else { libc::CLONE_NEWUSER };
    // SAFETY: this process has no other thread, and no place that it shares with others changes.
    let outcome = unsafe { libc::unshare(libc::CLONE_NEWNS | spaces) };
    assert_eq!(
        outcome, 0,
        "a mount namespace: run as root, or allow user namespaces"
    );
    if spaces != 0 {
        fs::write("/proc/self/uid_map", format!("{user} {user} 1")).expect("a user");
    }
    let text = |text: &[u8]| CString::new(text).expect("text");
    let (tmpfs, root) = (text(b"tmpfs"), text(b"/"));
    let place = text(directory.as_os_str().as_bytes());
    let options = text(format!("size={len},mode=0700").as_bytes());
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: all arguments are strings that end, or null where the call takes none.
    let outcome = unsafe {
        libc::mount(
            ptr::null(),
            root.as_ptr(),
            ptr::null(),
            private,
            ptr::null(),
        ) | libc::mount(
            tmpfs.as_ptr(),
            place.as_ptr(),
            tmpfs.as_ptr(),
            0,
            options.as_ptr().cast(),
        )
    };
    assert_eq!(outcome, 0, "{}", std::io::Error::last_os_error());
}

/// Puts objects of so many bytes until there is no room.
fn fill(slabs: &Slabs, options: &Options, len: usize) -> Vec<Reference> {
    let bytes = bytes(len, 5);
    let segments = [Segment::from(&bytes)];
    let mut references = Vec::new();
    loop {
        match slabs.put(&Payload::from(&segments), 0, options) {
            Ok(reference) => references.push(reference),
            Err(ShmError::Full { reason }) => {
                assert!(reason.contains("bytes"), "{reason}");
                return references;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_small_file_system_holds_many_objects_and_survives_being_full() {
    testing::alone(|directory| {
        mount(directory, 64 << 20);
        let options = testing::options(directory, 60.0);
        let slabs = Slabs::new(Membership::join(&options).expect("a membership"));
        let small = bytes(100, 3);
        let segments = [Segment::from(&small)];
        let put = || slabs.put(&Payload::from(&segments), 0, &options);
        let many: Vec<Reference> = (0..100_000)
            .map(|_| put().expect("there is room"))
            .collect();
        let large = fill(&slabs, &options, LARGEST);
        assert!(large.len() > 1000, "{}", large.len());
        // There may be cells left of what is taken already, and tickets.
        let rest = fill(&slabs, &options, 100);
        while slabs.new_ticket().is_ok() {}
        assert!(
            many.iter()
                .chain(&rest)
                .all(|&reference| exists(&slabs, reference))
        );
        assert_eq!(found(&slabs, large[0]), Some(bytes(LARGEST, 5)));
        for &reference in &large {
            evict(&slabs, reference);
        }
        slabs.trim(Duration::ZERO).expect("it is its own");
        assert_eq!(fill(&slabs, &options, LARGEST - 1).len(), large.len());
        slabs.clear().expect("it is sound");
        slabs.leave().expect("it is its own");
        assert_eq!(files(slabs.membership.path()), [] as [PathBuf; 0]);
        assert_eq!(slabs.membership.bytes(), 0);
        assert_eq!(slabs.membership.reserved(), 0);
    });
}
