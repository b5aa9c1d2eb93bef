//! What processes do to be killed over it.

use proxystore_core::Config;

use crate::support::{
    Checked,
    history::Worker,
    processes::{Ended, die, fork},
};

/// What a worker does, and whether it finds anything wrong.
pub(crate) type Steps = fn(&mut Worker) -> Checked;

/// Something that a process does, to be killed at every step of it.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// What another process does before, and where it dies of it; nowhere: when it has done it.
    pub(crate) before: Option<(Steps, &'static str)>,
    pub(crate) others: Others,
    pub(crate) options: fn(Config) -> Config,
    pub(crate) steps: Steps,
}

/// Who else is in the namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Others {
    /// Somebody who was there before and lives on.
    Witness,
    /// Nobody until it is over, but what it leaves is held for those who come then.
    Later,
    /// Nobody, and nothing is held.
    Nobody,
}

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "join, put, get, leave",
        steps: |worker| {
            worker.put(0, 300_000, false)?;
            worker.get(0)
        },
        ..Scenario::PLAIN
    },
    Scenario {
        name: "make and end a namespace",
        others: Others::Nobody,
        steps: |worker| {
            worker.put(0, 300_000, false)?;
            worker.put(1, 100, false)?;
            worker.set_own_key()
        },
        ..Scenario::PLAIN
    },
    Scenario {
        name: "make a namespace that is held",
        others: Others::Later,
        options: |config| config.with("hold", 3600.0),
        steps: |worker| {
            worker.put(0, 300_000, false)?;
            worker.put(1, 100, false)?;
            worker.get(0)
        },
        ..Scenario::PLAIN
    },
    Scenario {
        name: "evict and recycle",
        options: keeping,
        steps: |worker| {
            for len in [300_000, 320_000, 20_000, 1_000_000, 300_000] {
                worker.put(0, len, false)?;
                worker.get(0)?;
                worker.release()?;
                worker.evict(0)?;
            }
            Ok(())
        },
        ..Scenario::PLAIN
    },
    Scenario {
        name: "evict and recycle while it is held",
        options: keeping,
        steps: |worker| {
            for len in [300_000, 300_000, 300_000] {
                worker.put(0, len, false)?;
                worker.get(0)?;
                worker.evict(0)?;
            }
            worker.release()
        },
        ..Scenario::PLAIN
    },
    Scenario {
        name: "give back what is evicted",
        steps: |worker| {
            for len in [300_000, 300_000] {
                worker.put(0, len, false)?;
                worker.get(0)?;
                worker.evict(0)?;
            }
            worker.release()
        },
        ..Scenario::PLAIN
    },
    Scenario {
        name: "spill",
        options: |config| config.with("budget", 600_000),
        steps: |worker| {
            for slot in 0..3 {
                worker.put(slot, 400_000, slot == 1)?;
            }
            for slot in 0..3 {
                worker.get(slot)?;
            }
            worker.evict(1)?;
            worker.put(3, 400_000, false)
        },
        ..Scenario::PLAIN
    },
    Scenario {
        name: "small objects",
        steps: |worker| {
            for round in 0..2 {
                for (slot, len) in [0, 1, 100, 5000, 16_000].into_iter().enumerate() {
                    worker.put(slot, len, round == 1)?;
                    worker.get(slot)?;
                }
                worker.evict(0)?;
                worker.evict(3)?;
            }
            Ok(())
        },
        ..Scenario::PLAIN
    },
    Scenario {
        name: "sealed objects",
        options: keeping,
        steps: |worker| {
            for _ in 0..2 {
                worker.put(0, 300_000, true)?;
                worker.get(0)?;
                worker.release()?;
                worker.evict(0)?;
            }
            Ok(())
        },
        ..Scenario::PLAIN
    },
    Scenario {
        name: "set deferred keys",
        options: keeping,
        steps: |worker| {
            for _ in 0..8 {
                worker.set(0)?;
                worker.get_set(0)?;
            }
            worker.set_own_key()
        },
        ..Scenario::PLAIN
    },
    Scenario {
        name: "adopt objects",
        before: Some((leave_much, "")),
        ..Scenario::ADOPTING
    },
    Scenario {
        name: "adopt a cell that was being written",
        before: Some((leave_much, "cell.written:3")),
        ..Scenario::ADOPTING
    },
    Scenario {
        name: "adopt a segment that was being written",
        before: Some((leave_much, "segments.put.written:2")),
        ..Scenario::ADOPTING
    },
    Scenario {
        name: "adopt a segment that was being used again",
        before: Some((leave_much, "segments.recycle.writing:1")),
        ..Scenario::ADOPTING
    },
    Scenario {
        name: "adopt a large object that no deferred key names",
        before: Some((leave_much, "set.stored:1")),
        ..Scenario::ADOPTING
    },
    Scenario {
        name: "adopt a small object that no deferred key names",
        before: Some((leave_much, "set.stored:2")),
        ..Scenario::ADOPTING
    },
    Scenario {
        name: "tidy what was not made or not given back",
        others: Others::Later,
        before: Some((
            |worker| {
                worker.put(0, 100, false)?;
                worker.put(1, 5000, false)?;
                worker.evict(0)?;
                worker.close()
            },
            "slab.withdrawn:1",
        )),
        options: |config| config.with("hold", 3600.0),
        ..Scenario::ADOPTING
    },
    Scenario {
        name: "close and clear",
        steps: |worker| {
            for (slot, len) in [100, 300_000].into_iter().enumerate() {
                worker.put(slot, len, false)?;
            }
            worker.set_own_key()?;
            worker.clear()
        },
        ..Scenario::PLAIN
    },
    Scenario {
        name: "fork",
        steps: |worker| {
            worker.put(0, 300_000, false)?;
            worker.get(0)?;
            let mut child = fork(|| {
                worker.check_held()?;
                worker.get(0)?;
                worker.put(1, 70_000, false)
            })?;
            // A child that was killed at the step in question has its parent die alike.
            if child.wait()? == Ended::KILLED {
                die();
            }
            child.finish("the forked child")
        },
        ..Scenario::PLAIN
    },
];

/// Objects of every kind, evicted ones, and deferred keys.
fn leave_much(worker: &mut Worker) -> Checked {
    for (slot, len) in (0..).zip([100, 300_000, 5000, 70_000, 20_000]) {
        worker.put(slot, len, false)?;
        worker.get(slot)?;
    }
    for _ in 0..3 {
        worker.set(0)?;
        worker.set(1)?;
    }
    worker.evict(0)?;
    worker.evict(1)?;
    worker.release()?;
    worker.put(5, 300_000, false)
}

impl Scenario {
    const ADOPTING: Self = Self {
        options: keeping,
        steps: |worker| {
            worker.evict(2)?;
            worker.put(2, 70_000, false)?;
            worker.evict(3)?;
            worker.put(3, 70_000, false)
        },
        ..Self::PLAIN
    };
    const PLAIN: Self = Self {
        name: "",
        before: None,
        others: Others::Witness,
        options: |config| config,
        steps: |_| Ok(()),
    };
}

/// Keeps evicted segments for the next put.
fn keeping(config: Config) -> Config {
    config.with("pool", 1 << 30)
}
