//! Namespaces that end while somebody joins them.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use proxystore_core::Config;

use crate::{
    often,
    support::{
        Checked,
        client::{Client, keeping_nothing, key, words},
        contents::Contents,
        directory, ensure, leftovers,
        processes::{be_interrupted, fork, set_patience, shared_words},
    },
};

/// How many come and go while one stays for a while, again and again.
const VISITORS: usize = 2;

/// What the one who stays tells the others, in shared memory.
struct Told {
    /// The object that is there as long as the first of these words says so.
    contents: &'static AtomicU64,
    key: &'static [AtomicU64],
    /// How often somebody has looked at it.
    looks: &'static AtomicU64,
    /// Whether it is over: the last round, or something wrong.
    over: &'static AtomicU64,
}

/// Whoever leaves a namespace last sweeps it, unless somebody has joined: what one puts is there
/// for itself and for those who join later, until it leaves.
pub(crate) fn sweep_against_attach() -> Checked {
    let directory = directory()?;
    let options = keeping_nothing(directory.path());
    let words = shared_words(5)?;
    let told = &Told {
        contents: &words[0],
        key: &words[1..3],
        looks: &words[3],
        over: &words[4],
    };
    let rounds = u32::try_from(often(300))?;
    let mut processes = Vec::new();
    processes.push(fork(|| {
        be_interrupted()?;
        (1..=rounds).try_for_each(|round| told.unless_over(|| stay(&options, told, round)))?;
        told.over.store(1, Ordering::Relaxed);
        Ok(())
    })?);
    for _ in 0..VISITORS {
        processes.push(fork(|| {
            be_interrupted()?;
            while told.over.load(Ordering::Relaxed) == 0 {
                told.unless_over(|| visit(&options, told))?;
            }
            Ok(())
        })?);
    }
    let results: Vec<_> = processes
        .iter_mut()
        .map(|process| process.finish("a process"))
        .collect();
    results.into_iter().collect::<Checked>()?;
    let mut last = fork(|| Ok(Client::open(&options)?.close(false)?))?;
    last.finish("the last process")?;
    let left = leftovers(&directory.path().join("default"))?;
    ensure!(left.is_empty(), "at the end there are {left:?}");
    Ok(())
}

impl Told {
    fn unless_over(&self, act: impl FnOnce() -> Checked) -> Checked {
        if self.over.load(Ordering::Relaxed) > 0 {
            return Ok(());
        }
        set_patience(30);
        let outcome = act();
        if outcome.is_err() {
            self.over.store(1, Ordering::Relaxed);
        }
        outcome
    }
}

/// Joins, puts an object, and stays until others have joined and looked at it.
fn stay(options: &Config, told: &Told, round: u32) -> Checked {
    let client = Client::open(options)?;
    let contents = Contents::new(round, 20_000);
    let key = client.put(contents)?;
    for (place, word) in told.key.iter().zip(words(&key)?) {
        place.store(word, Ordering::Relaxed);
    }
    told.looks.store(0, Ordering::Relaxed);
    told.contents.store(contents.to_word(), Ordering::Release);
    while told.looks.load(Ordering::Relaxed) < 2 && told.over.load(Ordering::Relaxed) == 0 {
        client.expect(&key, contents)?;
        thread::yield_now();
    }
    told.contents.store(0, Ordering::SeqCst);
    client.expect(&key, contents)?;
    Ok(client.close(false)?)
}

/// Joins, gets the object that is told of, which is there for as long as it is, and leaves.
fn visit(options: &Config, told: &Told) -> Checked {
    let client = Client::open(options)?;
    let contents = told.contents.load(Ordering::Acquire);
    if contents > 0 {
        let [id, word] = [0, 1].map(|at: usize| told.key[at].load(Ordering::Acquire));
        let found = client.get(&key([id, word]));
        if told.contents.load(Ordering::SeqCst) == contents {
            let found = found?.ok_or("another's object is not there")?;
            Contents::from_word(contents).check(&found)?;
            told.looks.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(client.close(false)?)
}
