//! Gets for callers that know nothing of each other.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    task::Waker,
};

use proxystore_core::{Deadline, ErrorKind, Memory, Result, connector::Callers};
use proxystore_node::client::{Client, NodeAddress, ObjectKey};

use crate::support::{Pair, WAYS, Way, in_task, key, now, pattern, settings};

type Got = Result<Option<Vec<u8>>>;

/// Callers that note what they are told.
#[derive(Default)]
struct Noting {
    told: Mutex<Vec<(usize, Got)>>,
    given_up: Mutex<(Vec<usize>, Option<Waker>)>,
}

impl Noting {
    /// What each was told, in the order of their keys; none was told twice.
    fn told(&self) -> Vec<(usize, Got)> {
        let mut told = std::mem::take(&mut *lock(&self.told));
        told.sort_by_key(|(index, _)| *index);
        assert!(told.windows(2).all(|pair| pair[0].0 < pair[1].0), "twice");
        told
    }

    fn give_up(&self, index: usize) {
        let mut given_up = lock(&self.given_up);
        given_up.0.push(index);
        if let Some(waker) = given_up.1.take() {
            waker.wake();
        }
    }
}

impl Callers for Noting {
    fn tell(&self, got: Vec<(usize, Result<Option<Memory>>)>) {
        let got = got.into_iter().map(|(index, object)| {
            let object = object.map(|object| object.as_ref().map(Memory::to_vec));
            (index, object)
        });
        lock(&self.told).extend(got);
    }

    fn given_up(&self) -> Vec<usize> {
        std::mem::take(&mut lock(&self.given_up).0)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gets objects in a task, which ends when all callers are told or have given up.
fn begin(
    client: &Arc<Client>,
    node: &NodeAddress,
    keys: Vec<ObjectKey>,
    callers: &Arc<Noting>,
) -> mpsc::Receiver<()> {
    let (client, node, callers) = (Arc::clone(client), node.clone(), Arc::clone(callers));
    in_task(async move {
        let mut got = pin!(client.get_each(&node, &keys, &*callers, Deadline::never()));
        poll_fn(|context| {
            lock(&callers.given_up).1 = Some(context.waker().clone());
            got.as_mut().poll(context)
        })
        .await;
    })
}

#[test]
fn each_caller_is_told_once_of_its_own_object() {
    let lens = [0, 1, 65_536, 65_537, 5_000_000, 1000, 300_000];
    for way in WAYS {
        let pair = Pair::new(way);
        let numbers = 0..2 * lens.len() as u64;
        // Every second one is not there.
        for (number, len) in numbers.clone().step_by(2).zip(lens) {
            pair.put(&key(number), &pattern(len, number)).expect("room");
        }
        let callers = Arc::<Noting>::default();
        let keys: Vec<_> = numbers.map(key).collect();
        let done = begin(&pair.client, &pair.address, keys.clone(), &callers);
        done.recv().expect("it ends");
        check(&callers.told(), &lens, way);
        let each = pair
            .client
            .get_each(&pair.address, &keys, &*callers, Deadline::never());
        let on_this_thread = async {
            each.await;
            Ok(())
        };
        now(on_this_thread).expect("it ends");
        check(&callers.told(), &lens, way);
    }
}

fn check(told: &[(usize, Got)], lens: &[usize], way: Way) {
    assert_eq!(told.len(), 2 * lens.len(), "{way:?}");
    for (index, got) in told {
        let got = got.as_ref().expect("no error");
        if index % 2 == 1 {
            assert!(got.is_none(), "{way:?} {index}");
        } else {
            let expected = pattern(lens[index / 2], *index as u64);
            assert!(got.as_ref() == Some(&expected), "{way:?} {index}");
        }
    }
}

#[test]
fn who_gives_up_is_not_waited_for() {
    let (pair, network) = Pair::apart();
    for number in 0..4 {
        pair.put(&key(number), b"bytes").expect("room");
    }
    // The task's connection is there when nothing reaches the client any more.
    let callers = Arc::<Noting>::default();
    let done = begin(&pair.client, &pair.address, vec![key(0)], &callers);
    done.recv().expect("it ends");
    assert_eq!(callers.told().len(), 1);

    network.hold();
    let sent = network.sent();
    let keys = (0..4).map(key).collect();
    let done = begin(&pair.client, &pair.address, keys, &callers);
    network.wait_beyond(sent);
    let sent = network.sent();
    callers.give_up(1);
    // The node is told, too.
    network.wait_beyond(sent);
    network.release();
    done.recv().expect("it ends");
    let told: Vec<_> = callers.told().iter().map(|(index, _)| *index).collect();
    assert_eq!(told, [0, 2, 3]);

    network.hold();
    let sent = network.sent();
    let done = begin(&pair.client, &pair.address, vec![key(0), key(1)], &callers);
    network.wait_beyond(sent);
    callers.give_up(1);
    callers.give_up(0);
    done.recv().expect("it ends when nobody waits");
    assert!(callers.told().is_empty());
    network.release();
    assert!(pair.get(&key(1)).expect("no error").is_some());
}

#[test]
fn a_lost_connection_is_made_again_for_all_that_wait() {
    let (pair, network) = Pair::apart();
    for number in 0..4 {
        pair.put(&key(number), b"bytes").expect("room");
    }
    let callers = Arc::<Noting>::default();
    let done = begin(&pair.client, &pair.address, vec![key(0)], &callers);
    done.recv().expect("it ends");
    assert_eq!(callers.told().len(), 1);

    network.hold();
    let sent = network.sent();
    let keys = (0..4).map(key).collect();
    let done = begin(&pair.client, &pair.address, keys, &callers);
    network.wait_beyond(sent);
    network.cut();
    network.release();
    done.recv().expect("it ends");
    let told = callers.told();
    assert_eq!(told.len(), 4);
    for (index, got) in told {
        let got = got.expect("the second connection");
        assert_eq!(got.as_deref(), Some(&b"bytes"[..]), "{index}");
    }
}

#[test]
fn a_node_that_is_not_there_is_an_error_for_each() {
    let client = Arc::new(Client::new(settings(Way::Tcp)));
    let pair = Pair::new(Way::Tcp);
    let address = pair.address.clone();
    drop(pair);
    let callers = Arc::<Noting>::default();
    let done = begin(&client, &address, vec![key(0), key(1)], &callers);
    done.recv().expect("it ends");
    let told = callers.told();
    assert_eq!(told.len(), 2);
    for (_, got) in told {
        let error = got.expect_err("there is no node");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("127.0.0.1"), "{error}");
    }
}

#[test]
fn nobody_to_tell_is_no_error() {
    let pair = Pair::new(Way::Tcp);
    let callers = Arc::<Noting>::default();
    let done = begin(&pair.client, &pair.address, Vec::new(), &callers);
    done.recv().expect("it ends");
    assert!(callers.told().is_empty());
}
