//! Those who live on, and what they see.

use std::{
    io,
    path::{Path, PathBuf},
};

use proxystore_core::Config;

use crate::support::{
    Checked,
    client::Client,
    contents::Contents,
    ensure,
    history::{Habits, Table},
    leftovers, names,
    processes::{Child, Line, fork, line},
};

/// The habits of workers that do nothing by themselves.
pub(crate) const NONE: Habits = Habits {
    lens: &[0],
    held: 8,
    changes: 0,
    replaces: false,
};

pub(crate) struct Namespace {
    pub(crate) path: PathBuf,
    pub(crate) spill: PathBuf,
    pub(crate) options: Config,
}

impl Namespace {
    /// Has those who live, and one who comes after, check and evict all that there is.
    pub(crate) fn check_after(
        &self,
        table: Table,
        witness: Option<Witness>,
        fresh_first: bool,
        lost: usize,
    ) -> Checked {
        let mut fresh = Witness::start(table, &self.options)?;
        let mut witness = match witness {
            Some(witness) => witness,
            None => Witness::start(table, &self.options)?,
        };
        if fresh_first {
            fresh.ask(b'j')?;
            witness.ask(b'c')?;
            fresh.ask(b'u')?;
        } else {
            witness.ask(b'c')?;
            fresh.ask(b'u')?;
        }
        fresh.leave()?;
        self.check_memory(lost)?;
        witness.leave()
    }

    /// Wants nothing to take memory but objects whose keys were lost with those who put them.
    pub(crate) fn check_memory(&self, lost: usize) -> Checked {
        let names = names(&self.path)?;
        let segments = names.iter().filter(|name| name.starts_with('s')).count();
        let spilled = names_below(&self.spill)?.len();
        ensure!(
            segments + spilled <= lost,
            "of {lost} lost objects there are {names:?} and {spilled} spilled"
        );
        Ok(())
    }

    /// Wants nothing to be left when the next process comes and goes after all have left.
    pub(crate) fn check_end(&self) -> Checked {
        let mut last = fork(|| Ok(Client::open(&self.options)?.close(false)?))?;
        last.finish("the last process")?;
        let left = leftovers(&self.path)?;
        ensure!(left.is_empty(), "at the end there are {left:?}");
        let spilled = names_below(&self.spill)?;
        ensure!(spilled.is_empty(), "at the end {spilled:?} are spilled");
        Ok(())
    }
}

/// A process that lives on and says what it sees.
pub(crate) struct Witness {
    line: Line,
    child: Child,
}

impl Witness {
    pub(crate) fn start(table: Table, options: &Config) -> Checked<Self> {
        let (line, mut mine) = line()?;
        let child = fork(move || {
            let mut client = None;
            while let Some(asked) = mine.hear()? {
                let client = match &mut client {
                    Some(client) => client,
                    none => {
                        let client = Client::open(options)?;
                        use_it(&client)?;
                        none.insert(client)
                    }
                };
                match asked {
                    b't' => table.make_tickets(client)?,
                    b'j' => {}
                    b'c' => table.check_and_clear(client)?,
                    b'u' => use_it(client)?,
                    _ => break,
                }
                mine.say(asked)?;
            }
            match client {
                Some(client) => Ok(client.close(false)?),
                None => Ok(()),
            }
        })?;
        Ok(Self { line, child })
    }

    pub(crate) fn ask(&mut self, what: u8) -> Checked {
        self.line.say(what)?;
        match self.line.wait() {
            Ok(_) => Ok(()),
            Err(_) => self.child.finish("a witness"),
        }
    }

    fn leave(mut self) -> Checked {
        self.line.say(b'x')?;
        self.child.finish("a witness")
    }
}

/// Whoever comes after can work as if nothing had been.
fn use_it(client: &Client) -> Checked {
    for len in [100, 100_000] {
        let contents = Contents::new(len, len);
        let key = client.put(contents)?;
        client.expect(&key, contents)?;
        client.evict(&key)?;
        client.expect_none(&key)?;
    }
    let key = client.new_key()?;
    let contents = Contents::new(7, 50_000);
    client.set(&key, contents)?;
    client.expect(&key, contents)?;
    client.evict(&key)?;
    client.expect_none(&key)
}

/// The files in a directory and in those within it.
fn names_below(directory: &Path) -> io::Result<Vec<String>> {
    let mut files = Vec::new();
    for name in names(directory)? {
        let path = directory.join(&name);
        if path.is_dir() {
            files.extend(names_below(&path)?);
        } else {
            files.push(name);
        }
    }
    Ok(files)
}
