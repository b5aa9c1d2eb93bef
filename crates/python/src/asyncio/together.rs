//! Gets of one turn of a loop that one connector carries out together.

use std::{
    future::{Future, poll_fn},
    mem,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use proxystore::{Connector, Deadline, Memory, Result, connector::Callers};
use proxystore_runtime::shared::Handle;

use super::{
    job::{Get, Switch, Task, Ticket},
    request::{Done, Outcome},
};

/// Gets that one operation of a connector carries out, and who waits for them.
pub(super) struct Group(Mutex<State>);

struct State {
    /// None for those who have been told.
    tickets: Vec<Option<Ticket>>,
    given_up: Vec<usize>,
    /// What carries the gets out.
    task: Option<Waker>,
}

/// Carries gets out: together, or by a task each.
pub(super) async fn carry_out(runtime: Handle, connector: Arc<dyn Connector>, gets: Vec<Get>) {
    let mut keys = Vec::with_capacity(gets.len());
    let mut tickets = Vec::with_capacity(gets.len());
    let mut switches = Vec::with_capacity(gets.len());
    for (key, ticket, switch) in gets {
        keys.push(key);
        tickets.push(Some(ticket));
        switches.push(switch);
    }
    let group = Arc::new(Group(Mutex::new(State {
        tickets,
        given_up: Vec::new(),
        task: None,
    })));
    if let Some(operation) = connector.get_each(&keys, &*group, Deadline::never()) {
        group.enter(&switches);
        let mut operation = pin!(operation);
        poll_fn(|context| {
            group.lock().task = Some(context.waker().clone());
            operation.as_mut().poll(context)
        })
        .await;
        return;
    }
    let tickets = mem::take(&mut group.lock().tickets);
    for ((key, ticket), switch) in keys.into_iter().zip(tickets).zip(switches) {
        let Some(ticket) = ticket else { continue };
        let task = Task::get(Arc::clone(&connector), key, ticket);
        switch.turn_on(|| runtime.spawn(task).abort_handle());
    }
}

impl Group {
    /// Lets switches stop the gets.
    fn enter(self: &Arc<Self>, switches: &[Arc<Switch>]) {
        for (index, switch) in switches.iter().enumerate() {
            if !switch.join(self, index) {
                self.give_up(index);
            }
        }
    }

    /// Stops one of the gets.
    pub(super) fn give_up(&self, index: usize) {
        let mut state = self.lock();
        state.given_up.push(index);
        let task = state.task.take();
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Callers for Group {
    fn tell(&self, got: Vec<(usize, Result<Option<Memory>>)>) {
        let mut state = self.lock();
        let answers = got.into_iter().filter_map(|(index, object)| {
            let ticket = state.tickets.get_mut(index)?.take()?;
            let done = Done {
                outcome: object.map(Outcome::Object),
                held: Vec::new(),
            };
            Some((ticket, done))
        });
        let answers = answers.collect();
        drop(state);
        Ticket::answer_all(answers);
    }

    fn given_up(&self) -> Vec<usize> {
        mem::take(&mut self.lock().given_up)
    }
}
