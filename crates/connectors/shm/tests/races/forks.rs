//! Processes that fork, and their children.

use std::{
    mem,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use proxystore_core::{Config, Key};

use crate::{
    often,
    support::{
        Checked,
        client::{self, Client, config, keeping_nothing, words},
        contents::Contents,
        directory, ensure,
        history::{Habits, Table, Worker},
        names,
        processes::{
            Child, Line, be_interrupted, die, fork, fork_untold, line, set_patience, shared_words,
        },
    },
};

const LEN: u32 = 50_000;

/// A child's inherited views are its own, from the moment of the fork, whatever the parent does.
pub(crate) fn releasing_parent() -> Checked {
    let directory = directory()?;
    let client = Client::open(&config(directory.path()).with("pool", 64 << 20))?;
    for round in 0..u32::try_from(often(100))? {
        set_patience(60);
        let first = Contents::new(round * 100, LEN);
        let key = client.put(first)?;
        let (mine, other) = (client.expect(&key, first)?, client.expect(&key, first)?);
        let (mut line, mut theirs) = line()?;
        // The closure takes the views with it, so they are gone here as soon as it is forked.
        let mut child = fork(move || {
            // One of two views is as good without the other.
            drop(other);
            while theirs.hear()? == Some(b'l') {
                first
                    .check(&mine)
                    .map_err(|error| format!("a child's view changed: {error}"))?;
                theirs.say(b'l')?;
            }
            Ok(())
        })?;
        client.evict(&key)?;
        let mut others = Vec::new();
        for number in 1..5 {
            let contents = Contents::new(first.seed + number, LEN);
            others.push((client.put(contents)?, contents));
        }
        line.say(b'l')?;
        if line.hear()?.is_some() {
            for (key, contents) in others {
                client.expect(&key, contents)?;
                client.evict(&key)?;
            }
            line.say(b'x')?;
        }
        child.finish("the child")?;
    }
    Ok(())
}

/// Every child of a process whose threads are in the middle of something can go on with the
/// connector, and disturbs nobody.
pub(crate) fn working_parent() -> Checked {
    const HABITS: Habits = Habits {
        lens: &[100, 3000, 20_000, 70_000],
        held: 4,
        changes: 40,
        replaces: false,
    };
    const THREADS: u8 = 2;

    let directory = directory()?;
    let client = Client::open(&config(directory.path()).with("pool", 64 << 20))?;
    let table = Table::new(12, 2)?;
    table.make_tickets(&client)?;
    let done = &shared_words(1)?[0];
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|index| {
                let worker = Worker::new(table, client.clone(), index, HABITS, 1);
                scope.spawn(move || work_until(worker, done).map_err(|error| error.to_string()))
            })
            .collect();
        let mut mine = Worker::new(table, client.clone(), THREADS, HABITS, 2);
        let forked = fork_often(&client, table, &mut mine, HABITS);
        done.store(1, Ordering::Relaxed);
        for thread in threads {
            thread.join().map_err(|_| "a thread panicked")??;
        }
        forked?;
        mine.release()
    })?;
    table.check_and_clear(&client)
}

fn work_until(mut worker: Worker, done: &AtomicU64) -> Checked {
    be_interrupted()?;
    while done.load(Ordering::Relaxed) == 0 {
        worker.turn()?;
    }
    worker.release()
}

fn fork_often(client: &Client, table: Table, mine: &mut Worker, habits: Habits) -> Checked {
    for round in 0..60 {
        set_patience(60);
        for _ in 0..20 {
            mine.turn()?;
        }
        // An object that the child knows of but not the table.
        let contents = Contents::new(round, LEN);
        let known = client.put(contents)?;
        let mut child = fork(|| {
            mine.check_held()?;
            client.expect(&known, contents)?;
            let index = 4 + u8::try_from(round % 8)?;
            let mut worker = Worker::new(table, client.clone(), index, habits, 3);
            for _ in 0..40 {
                worker.turn()?;
            }
            let mut grandchild = fork(|| {
                worker.check_held()?;
                client.expect(&known, contents)?;
                client.evict(&known)?;
                client.expect_none(&known)
            })?;
            grandchild.finish("the grandchild")?;
            worker.release()?;
            mine.release()?;
            client.expect_none(&known)
        })?;
        child.finish("the child")?;
        client.expect_none(&known)?;
        mine.check_held()?;
    }
    Ok(())
}

/// A child made by the bare system call finds out by itself at its first call, and then is a
/// process like others; what it does with what it inherited is not felt by its parent.
pub(crate) fn untold() -> Checked {
    let directory = directory()?;
    let options = config(directory.path()).with("pool", 64 << 20);
    let mut owner = Owner::start(&options)?;
    let client = Client::open(&options)?;
    for round in 0..40 {
        set_patience(60);
        let contents = Contents::new(round, LEN);
        let key = owner.put(contents)?;
        let mut view = Some(client.expect(&key, contents)?);
        let (mut line, mut theirs) = line()?;
        let mut child = fork_untold(|| {
            let view = view.take().ok_or("no view")?;
            ensure!(client.exists(&key)?, "the object is not there for a child");
            theirs.say(b'k')?;
            while theirs.hear()? == Some(b'c') {
                contents
                    .check(&view)
                    .map_err(|error| format!("an untold child's view changed: {error}"))?;
                theirs.say(b'c')?;
            }
            // Letting go of it here is not letting go of what the parent has.
            drop(view);
            let own = Contents::new(round + 5000, LEN);
            let key = client.put(own)?;
            client.expect(&key, own)?;
            client.evict(&key)?;
            theirs.say(b'd')?;
            theirs.hear()?;
            Ok(())
        })?;
        drop(theirs);
        let check = |line: &mut Line, child: &mut Child| match line.wait() {
            Ok(_) => Ok(()),
            Err(_) => child.finish("the untold child"),
        };
        check(&mut line, &mut child)?;
        drop(view.take());
        owner.evict_and_reuse(&key)?;
        line.say(b'c')?;
        check(&mut line, &mut child)?;
        let contents = Contents::new(round + 1000, LEN);
        let key = owner.put(contents)?;
        let mine = client.expect(&key, contents)?;
        line.say(b'x')?;
        check(&mut line, &mut child)?;
        owner.evict_and_reuse(&key)?;
        contents
            .check(&mine)
            .map_err(|error| format!("the parent's view changed: {error}"))?;
        line.say(b'x')?;
        child.finish("the untold child")?;
    }
    owner.leave()
}

/// A view outlives the process that made it in whoever inherited it, and not in whoever did not.
pub(crate) fn grandchild() -> Checked {
    const ROUNDS: usize = 30;

    let directory = directory()?;
    let options = config(directory.path()).with("pool", 64 << 20);
    let mut owner = Owner::start(&options)?;
    let mut living = Vec::new();
    for round in 0..u32::try_from(ROUNDS)? {
        set_patience(60);
        let contents = Contents::new(round, LEN);
        let key = owner.put(contents)?;
        let (mut line, mut theirs) = line()?;
        let mut holder = fork(|| {
            let client = Client::open(&options)?;
            let mut view = Some(client.expect(&key, contents)?);
            let mut child = fork(|| {
                let grandchild = fork(|| {
                    theirs.say(b'r')?;
                    while let Some(asked) = theirs.hear()? {
                        match (&view, asked) {
                            (Some(view), b'c') => contents.check(view)?,
                            (_, b'd') => view = None,
                            _ => break,
                        }
                        theirs.say(asked)?;
                    }
                    Ok(())
                })?;
                mem::forget(grandchild);
                die();
                Ok(())
            })?;
            child.wait()?;
            die();
            Ok(())
        })?;
        drop(theirs);
        holder.wait()?;
        line.wait()?;
        owner.evict_and_reuse(&key)?;
        line.say(b'c')?;
        line.wait().map_err(|_| "the grandchild's view changed")?;
        // From here on it lives without.
        line.say(b'd')?;
        line.wait()?;
        living.push(line);
    }
    let held = segments(directory.path())?;
    for mut line in living {
        line.say(b'x')?;
        ensure!(line.hear()?.is_none(), "a grandchild goes on");
    }
    // What the dead held was used again, though their grandchildren lived.
    ensure!(
        held < ROUNDS,
        "after {ROUNDS} dead holders there are {held} segments"
    );
    owner.leave()?;
    let mut last = fork(|| Ok(Client::open(&keeping_nothing(directory.path()))?.close(false)?))?;
    last.finish("the last process")?;
    let held = segments(directory.path())?;
    ensure!(held == 0, "the dead hold {held} segments");
    Ok(())
}

fn segments(directory: &Path) -> Checked<usize> {
    let names = names(&directory.join("default"))?;
    Ok(names.iter().filter(|name| name.starts_with('s')).count())
}

/// Another process, which puts objects and uses the memory of evicted ones again.
struct Owner {
    line: Line,
    process: Child,
    key: &'static [AtomicU64],
}

impl Owner {
    /// To be started before this process uses the connector, of which the other then has its own.
    fn start(options: &Config) -> Checked<Self> {
        let key = shared_words(3)?;
        let (line, mut theirs) = line()?;
        let process = fork(|| {
            let client = Client::open(options)?;
            while let Some(asked) = theirs.hear()? {
                set_patience(60);
                match asked {
                    b'p' => {
                        let contents = Contents::from_word(key[2].load(Ordering::Acquire));
                        let [id, word] = words(&client.put(contents)?)?;
                        key[0].store(id, Ordering::Release);
                        key[1].store(word, Ordering::Release);
                    }
                    b'e' => {
                        let [id, word, _] =
                            [0, 1, 2].map(|at: usize| key[at].load(Ordering::Acquire));
                        client.evict(&client::key([id, word]))?;
                        for number in 0..3 {
                            let contents = Contents::new(9000 + number, LEN);
                            let key = client.put(contents)?;
                            client.expect(&key, contents)?;
                            client.evict(&key)?;
                        }
                    }
                    _ => break,
                }
                theirs.say(asked)?;
            }
            Ok(client.close(false)?)
        })?;
        Ok(Self { line, process, key })
    }

    fn ask(&mut self, what: u8) -> Checked {
        self.line.say(what)?;
        match self.line.wait() {
            Ok(_) => Ok(()),
            Err(_) => self.process.finish("the owner"),
        }
    }

    fn put(&mut self, contents: Contents) -> Checked<Key> {
        self.key[2].store(contents.to_word(), Ordering::Release);
        self.ask(b'p')?;
        let [id, word] = [0, 1].map(|at: usize| self.key[at].load(Ordering::Acquire));
        Ok(client::key([id, word]))
    }

    fn evict_and_reuse(&mut self, key: &Key) -> Checked {
        for (place, word) in self.key.iter().zip(words(key)?) {
            place.store(word, Ordering::Release);
        }
        self.ask(b'e')
    }

    fn leave(mut self) -> Checked {
        self.line.say(b'x')?;
        self.process.finish("the owner")
    }
}
