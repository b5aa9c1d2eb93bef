//! Puts, gets and evicts of objects that several processes and threads share.

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use proxystore_core::Config;

use crate::{
    often,
    support::{
        Checked,
        client::{Client, config, keeping_nothing},
        contents::Contents,
        directory, ensure,
        history::{Habits, Table, Worker},
        names,
        processes::{Child, Line, be_interrupted, fork, line, shared_words},
    },
};

const WRITER: Habits = Habits {
    lens: &[20_000],
    held: 1,
    changes: 90,
    replaces: true,
};

const READER: Habits = Habits {
    held: 3,
    changes: 0,
    ..WRITER
};

/// What goes on at the same time.
struct Course<'a> {
    /// The habits of the threads of each process.
    processes: &'a [&'a [Habits]],
    slots: usize,
    tickets: usize,
    /// Turns that each thread has at least: all go on until all have had theirs.
    turns: usize,
    /// What the first process puts besides, before it begins.
    stays: &'a [Contents],
}

/// A segment is not used again while anybody holds a view of it, be it in the process that uses it
/// again or in another.
pub(crate) fn held() -> Checked {
    // Who holds nothing leaves the writer little to choose from.
    const HASTY: Habits = Habits { held: 0, ..READER };

    let course = Course {
        processes: &[&[WRITER, READER], &[READER]],
        slots: 2,
        tickets: 0,
        turns: 4000,
        stays: &[],
    };
    course.run()?;
    let course = Course {
        processes: &[&[WRITER], &[HASTY, HASTY], &[HASTY]],
        slots: 1,
        turns: often(4000),
        ..course
    };
    course.run()
}

/// A reader that copies a cell gets one object or none.
pub(crate) fn cells() -> Checked {
    const WRITER: Habits = Habits {
        lens: &[16_000],
        ..super::views::WRITER
    };

    let course = Course {
        processes: &[&[WRITER], &[READER, READER], &[READER, READER]],
        slots: 1,
        tickets: 0,
        turns: often(4000),
        // Of four cells, so that the one that is left is used each time.
        stays: &[Contents::new(0, 16_000); 3],
    };
    course.run()
}

/// However the setters of one key race, one object is there in the end, and no other is left.
pub(crate) fn setters() -> Checked {
    let course = Course {
        processes: &[&[READER, READER], &[READER], &[READER]],
        slots: 1,
        tickets: 1,
        turns: 5000,
        stays: &[],
    };
    course.run()
}

/// Threads and processes do all that they can to the same objects.
pub(crate) fn everything() -> Checked {
    const HABITS: Habits = Habits {
        lens: &[0, 100, 3000, 16_000, 20_000, 70_000, 300_000],
        held: 8,
        changes: 40,
        replaces: false,
    };

    let two = &[HABITS, HABITS][..];
    let course = Course {
        processes: &[two, two, two],
        slots: 16,
        tickets: 4,
        turns: often(3000),
        stays: &[],
    };
    course.run()
}

impl Course<'_> {
    /// Lets all have their turns.
    fn run(&self) -> Checked {
        let directory = directory()?;
        let table = Table::new(self.slots, self.tickets)?;
        let wrong = &shared_words(1)?[0];
        let (mut line, mine) = line()?;
        let mut keeper = fork(|| keep(directory.path(), table, mine))?;
        line.wait()?;
        let pooling = config(directory.path()).with("pool", 64 << 20);
        let mut index = 0;
        let mut children: Vec<Child> = Vec::new();
        for habits in self.processes {
            children.push(fork(|| self.work(&pooling, table, habits, index, wrong))?);
            index += u8::try_from(habits.len())?;
        }
        let results: Vec<_> = children
            .iter_mut()
            .map(|child| child.finish("a worker"))
            .collect();
        results.into_iter().collect::<Checked>()?;
        line.say(b'x')?;
        keeper.finish("the keeper")
    }

    /// One process, which stops early when somebody has found something wrong.
    fn work(
        &self,
        options: &Config,
        table: Table,
        habits: &[Habits],
        index: u8,
        wrong: &AtomicU64,
    ) -> Checked {
        let client = Client::open(options)?;
        if index == 0 {
            for contents in self.stays {
                client.put(*contents)?;
            }
        }
        thread::scope(|scope| {
            let threads: Vec<_> = (index..)
                .zip(habits)
                .map(|(index, habits)| {
                    let worker = Worker::new(table, client.clone(), index, *habits, 1);
                    scope.spawn(move || {
                        let outcome = self.work_on(worker, table, wrong);
                        outcome.map_err(|error| error.to_string())
                    })
                })
                .collect();
            for thread in threads {
                thread.join().map_err(|_| "a thread panicked")??;
            }
            Ok(client.close(false)?)
        })
    }

    /// One thread.
    fn work_on(&self, mut worker: Worker, table: Table, wrong: &AtomicU64) -> Checked {
        be_interrupted()?;
        let threads = 0..self.processes.iter().map(|habits| habits.len()).sum();
        let turns = u64::try_from(self.turns)?;
        while threads.clone().any(|thread| table.turns(thread) < turns) {
            if wrong.load(Ordering::Relaxed) > 0 {
                return Ok(());
            }
            if let Err(error) = worker.turn() {
                wrong.store(1, Ordering::Relaxed);
                return Err(error);
            }
        }
        worker.release()
    }
}

/// Keeps the namespace from ending, and looks at what there is in the end.
fn keep(directory: &Path, table: Table, mut line: Line) -> Checked {
    let client = Client::open(&keeping_nothing(directory))?;
    table.make_tickets(&client)?;
    line.say(b'r')?;
    line.hear()?;
    table.check_and_clear(&client)?;
    // Before anybody looks for what is nobody's.
    let left = names(&directory.join("default"))?;
    let segments = left.iter().filter(|name| name.starts_with('s')).count();
    ensure!(segments == 0, "evicted and replaced objects left {left:?}");
    Ok(())
}
