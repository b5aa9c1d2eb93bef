//! Death at any instant.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    support::{
        Checked,
        client::{Client, keeping_nothing},
        contents::Random,
        directory, ensure,
        history::{Habits, Table, Worker},
        processes::{Ended, fork, line, set_patience, shared_words},
    },
    survivors::Namespace,
};

const VICTIMS: u8 = 3;

/// How many processes are killed at random.
const KILLS: usize = 2500;

const BUSY: Habits = Habits {
    lens: &[0, 100, 3000, 20_000, 20_000, 40_000, 90_000],
    held: 4,
    changes: 40,
    replaces: false,
};

pub(crate) fn any_instant() -> Checked {
    let directory = directory()?;
    let options = keeping_nothing(directory.path()).with("pool", 4 << 20);
    let table = Table::new(24, 4)?;
    let start = |index: u8, seed: u64| {
        let options = &options;
        fork(move || {
            let client = Client::open(options)?;
            let mut worker = Worker::new(table, client, index, BUSY, seed);
            loop {
                worker.turn()?;
            }
        })
    };
    // The witness is never killed, and makes sure that the namespace does not end.
    let (mut line, mut mine) = line()?;
    let stop = &shared_words(1)?[0];
    let plain = keeping_nothing(directory.path());
    let mut witness = fork(move || {
        let client = Client::open(&plain)?;
        table.make_tickets(&client)?;
        mine.say(b'r')?;
        let mut worker = Worker::new(table, client.clone(), VICTIMS, BUSY, 0);
        while stop.load(Ordering::Relaxed) == 0 {
            set_patience(20);
            worker.turn()?;
        }
        worker.release()?;
        table.check_and_clear(&client)?;
        Ok(client.close(false)?)
    })?;
    line.wait()?;
    let mut victims = Vec::new();
    for index in 0..VICTIMS {
        victims.push(start(index, 1)?);
    }
    let (mut random, mut lost) = (Random::new(1), 0);
    for kill in 0..KILLS {
        let index = random.below(victims.len());
        let worker = u8::try_from(index)?;
        let victim = &mut victims[index];
        // At a random instant while it joins, or in one of its first turns.
        if random.below(4) > 0 {
            let until = table.turns(index) + random.next() % 8;
            let begun = Instant::now();
            while table.turns(index) < until && !victim.has_ended()? {
                ensure!(begun.elapsed() < Duration::from_mins(1), "a worker hangs");
                thread::yield_now();
            }
        }
        spin(random.below(200_000));
        let ended = victim.kill()?;
        ensure!(ended == Ended::KILLED, "a worker ended: {ended:?}");
        ensure!(
            !witness.has_ended()?,
            "the witness ended: {:?}",
            witness.wait()?
        );
        lost += table.bury(worker);
        *victim = start(worker, u64::try_from(kill)? + 2)?;
    }
    for (index, victim) in (0..).zip(&mut victims) {
        ensure!(victim.kill()? == Ended::KILLED, "a worker ended");
        lost += table.bury(index);
    }
    stop.store(1, Ordering::Relaxed);
    witness.finish("the witness")?;
    let namespace = Namespace {
        path: directory.path().join("default"),
        spill: directory.path().join("nothing"),
        options: keeping_nothing(directory.path()),
    };
    namespace.check_memory(lost)?;
    namespace.check_end()?;
    println!("{KILLS} processes were killed, {lost} of them in a put");
    Ok(())
}

/// Waits for less time than the clock is asked in.
fn spin(steps: usize) {
    static SPUN: AtomicU64 = AtomicU64::new(0);

    for _ in 0..steps {
        SPUN.fetch_add(1, Ordering::Relaxed);
    }
}
