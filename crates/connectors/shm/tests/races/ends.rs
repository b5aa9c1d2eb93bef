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
        processes::{fork, set_patience, shared_words},
    },
};

const PROCESSES: u32 = 3;

/// What one process tells the others: an object that is there as long as the first word says so.
const WORDS: usize = 3;

/// Whoever leaves a namespace last sweeps it, unless somebody has joined: what one puts is there
/// for itself and for those who join later, until it leaves.
pub(crate) fn sweep_against_attach() -> Checked {
    let directory = directory()?;
    let options = keeping_nothing(directory.path());
    let told = shared_words(WORDS)?;
    let wrong = &shared_words(1)?[0];
    let rounds = u32::try_from(often(1500))?;
    let mut processes = Vec::new();
    for index in 0..PROCESSES {
        processes.push(fork(|| {
            for round in 1..=rounds {
                set_patience(60);
                if wrong.load(Ordering::Relaxed) > 0 {
                    return Ok(());
                }
                let outcome = visit(&options, told, round, index == 0);
                wrong.fetch_max(u64::from(outcome.is_err()), Ordering::Relaxed);
                outcome.map_err(|error| format!("round {round}: {error}"))?;
            }
            Ok(())
        })?);
    }
    let results: Vec<_> = processes
        .iter_mut()
        .map(|process| process.finish("a visitor"))
        .collect();
    results.into_iter().collect::<Checked>()?;
    let mut last = fork(|| Ok(Client::open(&options)?.close(false)?))?;
    last.finish("the last process")?;
    let left = leftovers(&directory.path().join("default"))?;
    ensure!(left.is_empty(), "at the end there are {left:?}");
    Ok(())
}

fn visit(options: &Config, told: &[AtomicU64], round: u32, stays: bool) -> Checked {
    let client = Client::open(options)?;
    if stays {
        stay(&client, told, round)?;
    } else {
        look(&client, told)?;
    }
    Ok(client.close(false)?)
}

/// Puts an object, tells the others, and looks at it while they come and go.
fn stay(client: &Client, told: &[AtomicU64], round: u32) -> Checked {
    let contents = Contents::new(round, 20_000);
    let key = client.put(contents)?;
    for (place, word) in told[1..].iter().zip(words(&key)?) {
        place.store(word, Ordering::Relaxed);
    }
    told[0].store(contents.to_word(), Ordering::Release);
    for _ in 0..20 {
        client.expect(&key, contents)?;
        thread::yield_now();
    }
    told[0].store(0, Ordering::SeqCst);
    client.expect(&key, contents).map(drop)
}

/// Gets the object that is told of, which is there for as long as it is.
fn look(client: &Client, told: &[AtomicU64]) -> Checked {
    let contents = told[0].load(Ordering::Acquire);
    if contents == 0 {
        return Ok(());
    }
    let [id, word] = [1, 2].map(|at: usize| told[at].load(Ordering::Acquire));
    let found = client.get(&key([id, word]));
    if told[0].load(Ordering::SeqCst) == contents {
        let found = found?.ok_or("another's object is not there")?;
        Contents::from_word(contents).check(&found)?;
    }
    Ok(())
}
