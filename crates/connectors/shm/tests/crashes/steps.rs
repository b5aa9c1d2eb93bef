//! Death at every step.

use std::{collections::BTreeSet, fs, path::Path, sync::atomic::Ordering};

use crate::{
    scenarios::{Others, SCENARIOS, Scenario},
    support::{
        Checked,
        client::{Client, keeping_nothing},
        directory, directory_on_disk, ensure,
        history::{Table, Worker},
        processes::{Ended, die, fork, set_patience, set_variable, shared_words},
    },
    survivors::{NONE, Namespace, Witness},
};

/// Where a process dies, and at which time that it gets there.
const CRASH: &str = "PROXYSTORE_SHM_CRASH";

pub(crate) fn every_step() -> Checked {
    let points: Vec<_> = points()?.into_iter().collect();
    ensure!(!points.is_empty(), "the source names no point to die at");
    // How often each point was died at, over all scenarios.
    let deaths = shared_words(points.len())?;
    let cases: Vec<_> = SCENARIOS
        .iter()
        .flat_map(|scenario| (0..points.len()).map(move |point| (scenario, point)))
        .collect();
    // One half of the cases per processor.
    let mut halves = Vec::new();
    for half in 0..2 {
        let (cases, points) = (&cases, &points);
        halves.push(fork(move || {
            let table = Table::new(8, 2)?;
            for (scenario, point) in cases.iter().skip(half).step_by(2) {
                set_patience(240);
                let name = &points[*point];
                let died = kill_everywhere(table, scenario, name)
                    .map_err(|error| format!("{}, killed at {name}: {error}", scenario.name))?;
                deaths[*point].fetch_add(died, Ordering::Relaxed);
            }
            Ok(())
        })?);
    }
    for half in &mut halves {
        half.finish("the killer")?;
    }
    let died: Vec<_> = deaths
        .iter()
        .map(|died| died.load(Ordering::Relaxed))
        .collect();
    let never: Vec<_> = (0..points.len())
        .filter(|&point| died[point] == 0)
        .map(|point| &points[point])
        .collect();
    ensure!(never.is_empty(), "nobody died at these points: {never:?}");
    let (all, kinds) = (died.iter().sum::<u64>(), points.len());
    println!("{all} processes were killed at {kinds} points");
    Ok(())
}

/// Every name that the source gives to a place where a process can be made to die.
fn points() -> Checked<BTreeSet<String>> {
    const CALL: &str = "crash::point(\"";

    let mut points = BTreeSet::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(path)?;
            let calls = text.split(CALL).skip(1);
            points.extend(calls.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
        }
    }
    Ok(points)
}

/// More often than any process gets to one point.
const MOST: u64 = 200;

/// Kills a process each time that it gets to a point, until it gets to the end; returns how many
/// were killed.
fn kill_everywhere(table: Table, scenario: &Scenario, point: &str) -> Checked<u64> {
    let (directory, spill) = (directory()?, directory_on_disk()?);
    let plain = keeping_nothing(directory.path())
        .with("spill", spill.path().to_string_lossy().into_owned());
    let options = (scenario.options)(plain.clone());
    let namespace = Namespace {
        path: directory.path().join("default"),
        spill: spill.path().to_owned(),
        options: plain,
    };
    let mut lost = 0;
    for time in 1..MOST {
        table.reset();
        let mut witness = None;
        if scenario.others == Others::Witness {
            let mut new = Witness::start(table, &namespace.options)?;
            new.ask(b't')?;
            witness = Some(new);
        }
        if let Some((before, place)) = scenario.before {
            let mut first = fork(|| {
                set_variable(CRASH, place);
                let client = Client::open(&options)?;
                let mut worker = Worker::new(table, client, 0, NONE, 0);
                before(&mut worker)?;
                ensure!(place.is_empty(), "nobody gets to {place}");
                die();
                Ok(())
            })?;
            ensure!(first.wait()? == Ended::KILLED, "what is left could not be");
            // What it was putting was not there yet.
            table.bury(0);
        }
        let mut victim = fork(|| {
            set_variable(CRASH, &format!("{point}:{time}"));
            let client = Client::open(&options)?;
            let mut worker = Worker::new(table, client.clone(), 1, NONE, time);
            (scenario.steps)(&mut worker)?;
            worker.release()?;
            drop(worker);
            Ok(client.close(false)?)
        })?;
        let ended = victim.wait()?;
        ensure!(
            ended == Ended::SOUND || ended == Ended::KILLED,
            "time {time} ended: {ended:?}"
        );
        lost += table.bury(1);
        if scenario.others == Others::Nobody {
            // What it put has ended with it.
            table.reset();
            lost = 0;
        }
        namespace
            .check_after(table, witness, time % 2 == 0, lost)
            .map_err(|error| format!("after time {time}: {error}"))?;
        if scenario.others == Others::Nobody
            || ended == Ended::SOUND && scenario.others == Others::Witness
        {
            namespace.check_end()?;
        }
        if ended == Ended::SOUND {
            return Ok(time - 1);
        }
    }
    Err("a process can be killed for ever".into())
}
