//! Connections that are kept for those who need one.

use std::{
    collections::{HashMap, VecDeque},
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use proxystore_fork::PerProcess;
use proxystore_runtime::{Colour, colour};
use proxystore_stream::Address;

use crate::{
    connection::Connection,
    error::RedisError,
    options::Login,
    statistics::{Tally, UnderWay},
};

/// How many connections may be in use at once, in each colour: as many threads as wait at the same
/// time, and as many tasks as keep a server busy.
const MOST: [usize; 2] = [64, 16];

/// A connection that nobody has used for so long is ended.
const IDLE: Duration = Duration::from_mins(5);

/// Keeps connections, apart for each colour and each process.
///
/// Who comes when all are in use waits, and is served in the order of arrival.
pub(crate) struct Pool {
    stocks: [PerProcess<Mutex<Stock>>; 2],
    closed: AtomicBool,
}

/// The connections of one colour in one process.
#[derive(Default)]
struct Stock {
    resting: HashMap<Arc<Address>, Vec<Connection>>,
    in_use: usize,
    waiting: VecDeque<Arc<Turn>>,
}

/// The place of somebody who waits.
struct Turn(Mutex<TurnState>);

enum TurnState {
    Waiting(Waker),
    Come,
}

impl Pool {
    pub(crate) const fn new() -> Self {
        const fn stock() -> PerProcess<Mutex<Stock>> {
            PerProcess::new(Mutex::default)
        }
        Self {
            stocks: [stock(), stock()],
            closed: AtomicBool::new(false),
        }
    }

    /// A connection to a server, of the colour of whoever asks. One who is `careful` gets none that
    /// the server has ended, as far as can be told; others find out by using it.
    pub(crate) async fn lease(
        &self,
        address: &Arc<Address>,
        login: &Login,
        tally: &Tally,
        careful: bool,
    ) -> Result<Lease<'_>, RedisError> {
        let permit = self.permit(colour()).await;
        let resting = loop {
            match self.stock(permit.colour).take(address) {
                Some(connection) if connection.is_stale(careful) => drop(connection),
                other => break other,
            }
        };
        let connection = match resting {
            Some(connection) => connection,
            None => Connection::open(address, login, tally).await?,
        };
        Ok(Lease {
            _under_way: UnderWay::new(connection.statistics()),
            connection,
            permit,
        })
    }

    /// Ends the resting connections to a server, which has ended one.
    pub(crate) fn forget(&self, address: &Address) {
        let forgotten = self.stock(colour()).resting.remove(address);
        // Ended after the lock is released.
        drop(forgotten);
    }

    /// Ends all connections that rest, and from now on those that are given back.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        for colour in Colour::ALL {
            let resting = std::mem::take(&mut self.stock(colour).resting);
            drop(resting);
        }
    }

    async fn permit(&self, colour: Colour) -> Permit<'_> {
        let mut ticket = Ticket {
            pool: self,
            colour,
            turn: None,
        };
        poll_fn(|context| ticket.poll(context)).await
    }

    fn stock(&self, colour: Colour) -> MutexGuard<'_, Stock> {
        self.stocks[colour.index()].lock()
    }
}

impl Stock {
    fn take(&mut self, address: &Address) -> Option<Connection> {
        self.resting.get_mut(address)?.pop()
    }

    /// Lets the next one have what somebody gave back.
    fn pass_on(&mut self) {
        match self.waiting.pop_front() {
            None => self.in_use = self.in_use.saturating_sub(1),
            Some(turn) => {
                if let TurnState::Waiting(waker) = turn.set(TurnState::Come) {
                    waker.wake();
                }
            }
        }
    }
}

impl Turn {
    fn set(&self, state: TurnState) -> TurnState {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *current, state)
    }

    fn has_come(&self) -> bool {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(*state, TurnState::Come)
    }
}

/// Somebody who wants a connection.
struct Ticket<'a> {
    pool: &'a Pool,
    colour: Colour,
    turn: Option<Arc<Turn>>,
}

impl<'a> Ticket<'a> {
    fn poll(&mut self, context: &Context<'_>) -> Poll<Permit<'a>> {
        let mut stock = self.pool.stock(self.colour);
        match &self.turn {
            None if stock.in_use < MOST[self.colour.index()] => stock.in_use += 1,
            None => {
                let state = TurnState::Waiting(context.waker().clone());
                let turn = Arc::new(Turn(Mutex::new(state)));
                stock.waiting.push_back(Arc::clone(&turn));
                self.turn = Some(turn);
                return Poll::Pending;
            }
            // Under the lock of the stock, so that it does not come meanwhile.
            Some(turn) if !turn.has_come() => {
                turn.set(TurnState::Waiting(context.waker().clone()));
                return Poll::Pending;
            }
            Some(_) => self.turn = None,
        }
        Poll::Ready(Permit {
            pool: self.pool,
            colour: self.colour,
        })
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let Some(turn) = self.turn.take() else { return };
        let mut stock = self.pool.stock(self.colour);
        if turn.has_come() {
            stock.pass_on();
        } else {
            stock.waiting.retain(|waiting| !Arc::ptr_eq(waiting, &turn));
        }
    }
}

/// The right to use a connection.
struct Permit<'a> {
    pool: &'a Pool,
    colour: Colour,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.pool.stock(self.colour).pass_on();
    }
}

/// A connection in use. Whoever drops it without [`rest`](Self::rest) ends the connection.
pub(crate) struct Lease<'a> {
    pub(crate) connection: Connection,
    permit: Permit<'a>,
    _under_way: UnderWay,
}

impl Lease<'_> {
    /// Gives the connection back until the next use, or ends it if something was left half done.
    pub(crate) fn rest(self) {
        let Self {
            mut connection,
            permit,
            ..
        } = self;
        let pool = permit.pool;
        if !connection.is_clean() || pool.closed.load(Ordering::Acquire) {
            return;
        }
        connection.rest();
        let mut stock = pool.stock(permit.colour);
        let address = Arc::clone(connection.address());
        let resting = stock.resting.entry(address).or_default();
        resting.push(connection);
        // Those that have rested longest come first.
        let old = resting
            .first()
            .is_some_and(|first| first.used().elapsed() > IDLE);
        let ended = old.then(|| resting.remove(0));
        drop(stock);
        drop(ended);
    }
}
