use proxystore_core::{Payload, Segment};

use super::*;
use crate::{
    key::Reference,
    testing::{Signal, alone, fork, options},
};

fn put(namespace: &Namespace, directory: &Path, len: usize) -> Reference {
    let bytes = vec![7; len];
    let payload = [Segment::from(&bytes[..])];
    let object = namespace.store(&Payload::new(&payload), 0, &options(directory, 60.0));
    object.expect("an object")
}

/// The entry of the only namespace.
fn entry(list: Value) -> Config {
    match list {
        Value::List(entries) => match &entries[..] {
            [Value::Map(entry)] => entry.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn number(entry: &Config, name: &str) -> i64 {
    match entry.value(name) {
        Some(Value::Integer(number)) => *number,
        other => panic!("{name}: {other:?}"),
    }
}

fn is_true(entry: &Config, name: &str) -> bool {
    entry.value(name) == Some(&Value::Bool(true))
}

fn processes(entry: &Config) -> Vec<Config> {
    let Some(Value::List(processes)) = entry.value("processes") else {
        panic!("no processes");
    };
    let map = |process: &Value| match process {
        Value::Map(process) => process.clone(),
        other => panic!("{other:?}"),
    };
    processes.iter().map(map).collect()
}

fn files(directory: &Path) -> usize {
    let files = std::fs::read_dir(directory.join("default"));
    files.expect("a directory").count()
}

#[test]
fn what_there_is_is_told_and_nothing_made() {
    alone(|directory| {
        let missing = directory.join("missing");
        for list in [report(&missing, None), collect_garbage(&missing, None)] {
            assert_eq!(list.expect("a list"), Value::List(Vec::new()));
        }
        assert!(!missing.exists());

        let namespace = Namespace::join(&options(directory, 60.0)).expect("a namespace");
        let (small, large) = (
            put(&namespace, directory, 100),
            put(&namespace, directory, 1 << 20),
        );
        let view = namespace.get(large, crate::objects::Wanted::View);
        let view = view.expect("a view").expect("an object");
        let before = files(directory);
        let told = entry(report(directory, Some("default")).expect("a report"));
        assert_eq!(files(directory), before);
        assert_eq!(
            number(&told, "id"),
            i64::try_from(namespace.id()).expect("63 bits")
        );
        assert!(is_true(&told, "held"));
        assert_eq!(number(&told, "objects"), 2);
        assert_eq!(number(&told, "bytes"), 100 + (1 << 20));
        assert_eq!(number(&told, "orphaned"), 0);
        assert_eq!(told.value("hold_s"), Some(&Value::Float(60.0)));
        let [process] = &processes(&told)[..] else {
            panic!("one process");
        };
        assert!(is_true(process, "alive"));
        assert_eq!(number(process, "pid"), std::process::id().into());
        assert_eq!(number(process, "pins"), 1);
        assert!(number(process, "bytes") > 1 << 20);

        namespace.remove(large).expect("evicted");
        namespace.remove(small).expect("evicted");
        let told = entry(report(directory, None).expect("a report"));
        assert_eq!((number(&told, "objects"), number(&told, "bytes")), (0, 0));
        assert!(number(&told, "free") >= 1 << 20);
        drop(view);
        assert_eq!(
            report(directory, Some("other")).expect("a report"),
            Value::List(Vec::new())
        );
    });
}

#[test]
fn what_the_dead_left_is_told_and_collected() {
    alone(|directory| {
        let [ready, never] = [(); 2].map(|()| Signal::new());
        let child = fork(|| {
            let namespace = Namespace::join(&options(directory, 60.0)).expect("a namespace");
            let kept = put(&namespace, directory, 1 << 20);
            let gone = put(&namespace, directory, 2 << 20);
            let view = namespace.get(kept, crate::objects::Wanted::View);
            namespace.remove(gone).expect("evicted");
            ready.say();
            never.wait();
            drop(view);
        });
        ready.wait();
        let told = entry(report(directory, None).expect("a report"));
        assert!(number(&told, "free") >= 2 << 20 && number(&told, "orphaned") == 0);
        child.kill();

        let told = entry(report(directory, None).expect("a report"));
        assert!(is_true(&told, "held"));
        assert_eq!(
            (number(&told, "objects"), number(&told, "bytes")),
            (1, 1 << 20)
        );
        assert!(number(&told, "orphaned") >= 2 << 20 && number(&told, "free") == 0);
        let [process] = &processes(&told)[..] else {
            panic!("one process");
        };
        assert!(!is_true(process, "alive"));
        assert_eq!(number(process, "pins"), 1);

        let idle = told.value("idle_s").cloned();
        let told = entry(collect_garbage(directory, None).expect("a report"));
        assert!(!is_true(&told, "swept") && number(&told, "adopted") == 1);
        assert!(number(&told, "freed") >= 2 << 20);
        assert_eq!(number(&told, "orphaned"), 0);
        assert_eq!(
            (number(&told, "objects"), number(&told, "bytes")),
            (1, 1 << 20)
        );
        let at_least = |value: Option<&Value>| match value {
            Some(Value::Float(seconds)) => *seconds,
            other => panic!("{other:?}"),
        };
        assert!(
            at_least(told.value("idle_s")) >= at_least(idle.as_ref()),
            "looking after a namespace is no use of it"
        );
    });
}

#[test]
fn what_has_ended_is_swept() {
    alone(|directory| {
        let namespace = Namespace::join(&options(directory, 3600.0)).expect("a namespace");
        put(&namespace, directory, 1 << 20);
        let hold = crate::control::HeaderWord::Hold;
        let end = || {
            let control = Membership::observe(directory, "default").expect("a namespace");
            let control = control.expect("a namespace");
            let word = control.control().header(hold);
            word.store(0, std::sync::atomic::Ordering::Relaxed);
        };
        let told = entry(collect_garbage(directory, None).expect("a report"));
        assert!(!is_true(&told, "swept") && is_true(&told, "held"));
        drop(namespace);
        end();
        let told = entry(report(directory, None).expect("a report"));
        assert!(!is_true(&told, "held") && number(&told, "objects") == 1);
        let told = entry(collect_garbage(directory, None).expect("a report"));
        assert!(is_true(&told, "swept") && number(&told, "freed") >= 1 << 20);
        assert_eq!(told.value("objects"), None);
        assert_eq!(files(directory), 2, "the lock and an empty directory");
        for list in [report(directory, None), collect_garbage(directory, None)] {
            assert_eq!(list.expect("a list"), Value::List(Vec::new()));
        }
    });
}

#[test]
fn what_cannot_be_looked_at_is_told_with_the_reason() {
    alone(|directory| {
        drop(Namespace::join(&options(directory, 60.0)).expect("a namespace"));
        std::fs::write(directory.join("default/control"), b"foreign").expect("a file");
        for list in [report(directory, None), collect_garbage(directory, None)] {
            let told = entry(list.expect("a list"));
            assert!(
                matches!(told.value("error"), Some(Value::Text(_))),
                "{told:?}"
            );
        }
        let foreign = std::fs::read(directory.join("default/control"));
        assert_eq!(foreign.expect("a file"), b"foreign");
    });
}
