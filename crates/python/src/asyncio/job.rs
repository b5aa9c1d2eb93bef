//! A request under way.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    task::{Context, Poll},
};

use proxystore::{Connector, Error, ErrorKind, Key};
use proxystore_runtime::shared::{AbortHandle, handle};
use pyo3::Python;

use super::{
    begin::Pace,
    mailbox::{Arrival, Mailbox, Place},
    request::{Done, Request},
    together::{self, Group},
};
use crate::buffer;

/// The most threads that the requests of one turn of a loop are spread over: as many as the runtime
/// has for what may block.
const THREADS: usize = 64;

/// A request on its way to the shared runtime.
pub(super) struct Job {
    pub(super) asked: Asked,
    pub(super) ticket: Ticket,
    pub(super) switch: Arc<Switch>,
}

/// What a loop asks for.
pub(super) enum Asked {
    /// What is carried out by itself.
    Alone(Work),
    /// A get by a task, which a connector may carry out with others.
    Get(Arc<dyn Connector>, Key),
}

/// What is to be done.
pub(super) enum Work {
    /// By a task: it never blocks.
    Task(Pin<Box<dyn Future<Output = Done> + Send>>),
    /// By a thread that may block.
    Thread(Box<dyn FnOnce() -> Done + Send>),
}

/// Hands jobs over to the shared runtime. Each ticket is answered in any case.
pub(super) fn hand_over(jobs: Vec<Job>) {
    let runtime = match handle() {
        Ok(runtime) => runtime,
        Err(error) => {
            let reason = error.to_string();
            for job in jobs {
                let error = Error::new(error.kind(), reason.clone());
                job.ticket.answer(Done::failed(error));
            }
            return;
        }
    };
    let mut tasks = Vec::new();
    let mut calls = Vec::new();
    let mut gets: Vec<Gets> = Vec::new();
    for Job {
        asked,
        ticket,
        switch,
    } in jobs
    {
        match asked {
            Asked::Alone(Work::Task(future)) => tasks.push((Task { future, ticket }, switch)),
            Asked::Alone(Work::Thread(call)) => calls.push((call, ticket, switch)),
            Asked::Get(connector, key) => {
                let same = |gets: &&mut Gets| Arc::ptr_eq(&gets.connector, &connector);
                let get = (key, ticket, switch);
                match gets.iter_mut().find(same) {
                    Some(gets) => gets.all.push(get),
                    None => gets.push(Gets {
                        connector,
                        all: vec![get],
                    }),
                }
            }
        }
    }
    for Gets { connector, all } in gets {
        if all.len() > 1 {
            let own = runtime.clone();
            runtime.spawn(together::carry_out(own, connector, all));
            continue;
        }
        for (key, ticket, switch) in all {
            tasks.push((Task::get(Arc::clone(&connector), key, ticket), switch));
        }
    }
    if tasks.len() > 1 {
        // One wake-up of a worker, which then spawns the others without a lock or a system call.
        let own = runtime.clone();
        runtime.spawn(async move {
            for (task, switch) in tasks {
                switch.turn_on(|| own.spawn(task).abort_handle());
            }
        });
    } else {
        for (task, switch) in tasks {
            switch.turn_on(|| runtime.spawn(task).abort_handle());
        }
    }
    let threads = calls.len().min(THREADS);
    let calls = Arc::new(Mutex::new(calls.into_iter()));
    for _ in 0..threads {
        let calls = Arc::clone(&calls);
        runtime.spawn_blocking(move || {
            loop {
                let next = calls.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((call, ticket, switch)) = next else {
                    return;
                };
                if switch.is_off() {
                    // Before the ticket, which lets the loop look for what was let go of.
                    drop(call);
                } else {
                    ticket.answer(call());
                }
            }
        });
    }
}

/// Gets of one connector.
struct Gets {
    connector: Arc<dyn Connector>,
    all: Vec<Get>,
}

/// A get under way.
pub(super) type Get = (Key, Ticket, Arc<Switch>);

/// Stops a job.
#[derive(Default)]
pub(super) struct Switch(Mutex<State>);

#[derive(Default)]
enum State {
    #[default]
    Waiting,
    Running(AbortHandle),
    /// One of a group that go on without it.
    Together(Arc<Group>, usize),
    Off,
}

impl Switch {
    /// Stops the job as soon as may be: a task at its next poll, a call if it has not begun.
    pub(super) fn turn_off(&self) {
        let before = std::mem::replace(
            &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner),
            State::Off,
        );
        match before {
            State::Running(task) => task.abort(),
            State::Together(group, index) => group.give_up(index),
            State::Waiting | State::Off => {}
        }
    }

    /// Makes the job one of a group; false if it was stopped before.
    pub(super) fn join(&self, group: &Arc<Group>, index: usize) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*state, State::Waiting) {
            return false;
        }
        *state = State::Together(Arc::clone(group), index);
        true
    }

    fn is_off(&self) -> bool {
        matches!(
            *self.0.lock().unwrap_or_else(PoisonError::into_inner),
            State::Off
        )
    }

    pub(super) fn turn_on(&self, start: impl FnOnce() -> AbortHandle) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Waiting) {
            *state = State::Running(start());
        }
    }
}

/// A request and who waits for it. What it holds is let go of before the ticket says so.
pub(super) struct Task {
    future: Pin<Box<dyn Future<Output = Done> + Send>>,
    ticket: Ticket,
}

impl Task {
    /// A get that is carried out by itself.
    pub(super) fn get(connector: Arc<dyn Connector>, key: Key, ticket: Ticket) -> Self {
        let get = async move { Request::Get(key).carry_out(&connector, Pace::Remote).await };
        Self {
            future: Box::pin(get),
            ticket,
        }
    }
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let done = std::task::ready!(self.future.as_mut().poll(context));
        self.ticket.deliver(done);
        Poll::Ready(())
    }
}

/// The right to one answer. If nothing else is, its end is the answer.
pub(super) struct Ticket {
    mailbox: Weak<Mailbox>,
    place: Place,
    answered: bool,
}

impl Ticket {
    pub(super) const fn new(mailbox: Weak<Mailbox>, place: Place) -> Self {
        Self {
            mailbox,
            place,
            answered: false,
        }
    }

    pub(super) fn answer(mut self, done: Done) {
        self.deliver(done);
    }

    /// Answers tickets of one loop.
    pub(super) fn answer_all(answers: Vec<(Self, Done)>) {
        let first = answers.first().map(|(ticket, _)| &ticket.mailbox);
        let Some(mailbox) = first.and_then(Weak::upgrade) else {
            for (ticket, done) in answers {
                ticket.answer(done);
            }
            return;
        };
        let arrivals = answers.into_iter().map(|(mut ticket, done)| {
            ticket.answered = true;
            Arrival {
                place: ticket.place,
                done,
            }
        });
        // Made before the mailbox is locked: the loop does not wait for it.
        let arrivals: Vec<_> = arrivals.collect();
        mailbox.put_all(arrivals);
    }

    fn deliver(&mut self, done: Done) {
        self.answered = true;
        if let Some(mailbox) = self.mailbox.upgrade() {
            mailbox.put(Arrival {
                place: self.place,
                done,
            });
            return;
        }
        // The loop is closed. Nobody will drain it, so its buffers are released from here.
        drop(done);
        if buffer::any_dropped() {
            Python::try_attach(buffer::release_dropped);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.answered {
            let message = "the operation ended without an answer";
            self.deliver(Done::failed(Error::new(ErrorKind::Internal, message)));
        }
    }
}
